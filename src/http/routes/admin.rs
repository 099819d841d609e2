//! `POST /backup`: a copy of all data beside it, under a name.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::Query;
use super::keys::done;
use crate::client::Reply;
use crate::http::answer::{Answer, Failure, json};
use crate::http::body;
use crate::http::links::{Class, Commands};
use crate::http::server::Site;
use crate::http::socket::Connection;
use crate::limits::HTTP_BACKUP_TIME_MAX;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    name: String,
}

/// Runs CHECKPOINT with that name, and waits for it.
pub(super) async fn backup(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Done<'a> {
        name: &'a str,
        reply: String,
    }
    Query::parse(request.uri().query(), &[])?;
    let (backup, _sent) = body::json::<Backup>(site, connection, request).await?;
    let links = site.links()?;
    let asked = Commands::one(&["CHECKPOINT", &backup.name]);
    let mut replies =
        links.ask_all(links.any_core(), Class::Slow, asked, HTTP_BACKUP_TIME_MAX).await?;
    let reply = done(replies.pop().unwrap_or(Reply::Nil))?;
    let reply = match &reply {
        Reply::Integer(number) => number.to_string(),
        other => String::from_utf8_lossy(other.bytes().unwrap_or(b"OK")).into_owned(),
    };
    Ok(json(StatusCode::OK, &Done { name: &backup.name, reply }))
}
