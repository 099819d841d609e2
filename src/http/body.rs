//! The body of a request: its kind and length are looked at before the first byte is, and it takes memory as it comes.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;

use super::answer::{BYTES, Failure, JSON};
use super::server::Site;
use super::socket::Connection;
use crate::ledger::Holding;
use crate::limits::HTTP_BODY_TIME;

/// What was sent, counted among the requests that the server holds.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    holding: Holding,
}

impl Sent {
    /// The bytes, and what counts them: to be kept as long as they are.
    pub(super) fn take(self) -> (Vec<u8>, Holding) {
        (self.bytes, self.holding)
    }
}

/// The kind of a body, without its parameters.
fn kind(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(value.split(';').next().unwrap_or_default().trim())
}

fn wrong_kind(wanted: &str, found: Option<&str>) -> Failure {
    let text = format!(
        "content-type must be {wanted}, not {}: a form of a foreign page could send that, too",
        found.unwrap_or("absent")
    );
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
}

/// The bytes of a value. Without a kind they are taken, too: no page can send PUT without asking first.
///
/// # Errors
/// 408, 413, 415, 503; 400 if it breaks off.
pub(super) async fn value(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Sent, Failure> {
    match kind(request.headers()) {
        None | Some(BYTES) => read(site, connection, request).await,
        other => Err(wrong_kind(BYTES, other)),
    }
}

/// # Errors
/// As of [`value`], and 400 if it is not `T`.
pub(super) async fn json<T: DeserializeOwned>(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<(T, Sent), Failure> {
    match kind(request.headers()) {
        Some(JSON) => {}
        other => return Err(wrong_kind(JSON, other)),
    }
    let sent = read(site, connection, request).await?;
    // The types are flat: what is nested deeper is refused where it begins, however deep it goes.
    let value = serde_json::from_slice(&sent.bytes)
        .map_err(|error| Failure::bad(format!("the body is not what is expected: {error}")))?;
    Ok((value, sent))
}

async fn read(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Sent, Failure> {
    let most = site.body_bytes_max();
    let too_large = || {
        let text = format!("the body is longer than {most} bytes (http_body_max)");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let mut body = request.into_body();
    let announced = hyper::body::Body::size_hint(&body).exact();
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(too_large());
    }
    let account = &site.links()?.connector().ledger().input;
    let mut sent = Sent::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(connection, &error))?;
        let Ok(data) = frame.into_data() else { continue };
        if sent.bytes.len() + data.len() > most {
            return Err(too_large());
        }
        if account.is_full() {
            return Err(Failure::unavailable("the memory for requests is used up; try again"));
        }
        sent.bytes.extend_from_slice(&data);
        sent.holding.set(account, sent.bytes.capacity());
    }
    Ok(sent)
}

fn broken(connection: &Connection, error: &hyper::Error) -> Failure {
    if connection.is_late.get() {
        let text = format!("the body came too slowly: {HTTP_BODY_TIME:?} and a second each 16 KB");
        return Failure::new(StatusCode::REQUEST_TIMEOUT, text);
    }
    Failure::bad(format!("the body broke off: {error}"))
}
