//! How the server is: `/healthz`, `/readyz`, `/stats_all`, `/slowlog`.

use hyper::StatusCode;
use serde::Serialize;

use super::keys::done;
use crate::client::Reply;
use crate::http::answer::{Answer, Failure, JSON, answer, json};
use crate::http::links::Class;
use crate::http::reports;
use crate::http::server::Site;
use crate::limits::HTTP_SLOWLOG_ENTRIES;

#[derive(Debug, Serialize)]
struct Status {
    status: &'static str,
}

/// The process lives and answers.
pub(super) fn health() -> Answer {
    json(StatusCode::OK, &Status { status: "ok" })
}

pub(super) async fn ready(site: &Site) -> Answer {
    match site.readiness.look(site).await {
        Ok(()) => json(StatusCode::OK, &Status { status: "ready" }),
        Err(status) => json(StatusCode::SERVICE_UNAVAILABLE, &Status { status }),
    }
}

/// All telemetry, as STATS JSON has it.
pub(super) async fn stats(site: &Site) -> Result<Answer, Failure> {
    Ok(answer(StatusCode::OK, JSON, reports::fresh(site).await?))
}

/// One slow command.
#[derive(Debug, Serialize)]
struct Slow {
    id: i64,
    /// Seconds since 1970.
    at_s: i64,
    took_us: i64,
    /// What is no text is shown in escapes.
    command: Vec<String>,
    client: String,
}

/// The newest first.
pub(super) async fn slowlog(site: &Site) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Slowlog {
        entries: Vec<Slow>,
    }
    let links = site.links()?;
    let count = HTTP_SLOWLOG_ENTRIES.to_string();
    let reply = links.ask(links.any_core(), Class::Slow, &["SLOWLOG", "GET", &count]).await?;
    let Reply::Array(items) = done(reply)? else {
        return Err(Failure::unavailable("a slow log of an unknown form"));
    };
    let entries = items.iter().filter_map(slow).collect();
    Ok(json(StatusCode::OK, &Slowlog { entries }))
}

fn slow(entry: &Reply) -> Option<Slow> {
    let parts = entry.items()?;
    let number = |index: usize| parts.get(index)?.integer();
    let text = |reply: &Reply| match std::str::from_utf8(reply.bytes().unwrap_or_default()) {
        Ok(text) => text.to_owned(),
        Err(_) => reply.bytes().unwrap_or_default().escape_ascii().to_string(),
    };
    Some(Slow {
        id: number(0)?,
        at_s: number(1)?,
        took_us: number(2)?,
        command: parts.get(3)?.items()?.iter().map(text).collect(),
        client: parts.get(4).map(text).unwrap_or_default(),
    })
}
