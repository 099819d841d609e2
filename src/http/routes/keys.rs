//! One key: `/keys/{key}`, `/keys/{key}/ttl`, `POST /keys`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::Query;
use crate::client::Reply;
use crate::http::answer::{Answer, Failure, counted, json, nothing, raw};
use crate::http::body;
use crate::http::links::{Class, Commands};
use crate::http::server::Site;
use crate::http::socket::Connection;
use crate::limits::HTTP_REPLY_TIME_MAX;

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    #[default]
    Utf8,
    Base64,
}

impl Encoding {
    /// # Errors
    /// 400: not base64.
    pub(super) fn read(self, what: &str, text: String) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Utf8 => Ok(text.into_bytes()),
            Self::Base64 => STANDARD
                .decode(text)
                .map_err(|error| Failure::bad(format!("{what} is not base64: {error}"))),
        }
    }

    /// As text where that is what it is.
    pub(super) fn show(bytes: Vec<u8>) -> (String, Self) {
        match String::from_utf8(bytes) {
            Ok(text) => (text, Self::Utf8),
            Err(error) => (STANDARD.encode(error.as_bytes()), Self::Base64),
        }
    }
}

/// The parts of SET.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) expiry: Option<(&'static str, u64)>,
}

impl Set {
    pub(super) fn push_to(&self, commands: &mut Commands) {
        let (word, number) = self.expiry.unwrap_or(("", 0));
        let number = number.to_string();
        let words: [&[u8]; 5] =
            [b"SET", &self.key, &self.value, word.as_bytes(), number.as_bytes()];
        commands.push(if self.expiry.is_some() { &words[..] } else { &words[..3] });
    }
}

/// Seconds or milliseconds, not both.
pub(super) fn expiry(
    seconds: Option<u64>,
    millis: Option<u64>,
) -> Result<Option<(&'static str, u64)>, Failure> {
    match (seconds, millis) {
        (Some(_), Some(_)) => Err(Failure::bad("ttl (seconds) or px (milliseconds), not both")),
        (Some(0), _) | (_, Some(0)) => Err(Failure::bad("ttl and px must be above 0")),
        (Some(seconds), None) => Ok(Some(("EX", seconds))),
        (None, Some(millis)) => Ok(Some(("PX", millis))),
        (None, None) => Ok(None),
    }
}

/// What one command on `key` is answered; an error reply is a failure.
async fn ask(site: &Site, key: &[u8], words: &[&[u8]]) -> Result<Reply, Failure> {
    let links = site.links()?;
    done(links.ask(links.core_of(key), Class::Quick, words).await?)
}

/// # Errors
/// It is an error.
pub(super) fn done(reply: Reply) -> Result<Reply, Failure> {
    match reply {
        Reply::Error(text) => Err(Failure::of_reply(&text)),
        reply => Ok(reply),
    }
}

pub(super) fn no_key() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "no such key")
}

/// A value as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    key: String,
    #[serde(skip_serializing_if = "is_utf8")]
    key_encoding: Encoding,
    value: String,
    encoding: Encoding,
    /// `null`: it does not end.
    ttl_ms: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_utf8(encoding: &Encoding) -> bool {
    *encoding == Encoding::Utf8
}

/// The value, as its bytes, or as JSON if that is asked for (`Accept`, or `?encoding=`).
pub(super) async fn get(
    site: &Site,
    key: &[u8],
    query: Option<&str>,
    wants_json: bool,
) -> Result<Answer, Failure> {
    let query = Query::parse(query, &["encoding"])?;
    let encoding = match query.text("encoding")? {
        None => None,
        Some("utf8") => Some(Encoding::Utf8),
        Some("base64") => Some(Encoding::Base64),
        Some(_) => return Err(Failure::bad("encoding must be utf8 or base64")),
    };
    let links = site.links()?;
    if encoding.is_none() && !wants_json {
        return match ask(site, key, &[b"GET", key]).await? {
            Reply::Bulk(value) => Ok(raw(counted(value, &links.connector().ledger().output)?)),
            _ => Err(no_key()),
        };
    }
    let mut commands = Commands::default();
    commands.push(&[b"GET", key]);
    commands.push(&[b"PTTL", key]);
    let core = links.core_of(key);
    let replies = links.ask_all(core, Class::Quick, commands, HTTP_REPLY_TIME_MAX).await?;
    let [value, ttl] =
        <[Reply; 2]>::try_from(replies).map_err(|_| Failure::unavailable("a reply is missing"))?;
    let Reply::Bulk(value) = done(value)? else { return Err(no_key()) };
    let ttl_ms = done(ttl)?.integer().filter(|ttl_ms| *ttl_ms >= 0);
    let (value, encoding) = match encoding {
        Some(Encoding::Base64) => (STANDARD.encode(&value), Encoding::Base64),
        None => Encoding::show(value),
        Some(Encoding::Utf8) => match String::from_utf8(value) {
            Ok(text) => (text, Encoding::Utf8),
            Err(_) => return Err(Failure::bad("the value is not UTF-8; use encoding=base64")),
        },
    };
    let (key, key_encoding) = Encoding::show(key.to_vec());
    Ok(json(StatusCode::OK, &Shown { key, key_encoding, value, encoding, ttl_ms }))
}

/// As GET, without the value.
pub(super) async fn head(site: &Site, key: &[u8]) -> Result<Answer, Failure> {
    let links = site.links()?;
    let mut commands = Commands::default();
    commands.push(&[b"EXISTS", key]);
    commands.push(&[b"STRLEN", key]);
    let core = links.core_of(key);
    let replies = links.ask_all(core, Class::Quick, commands, HTTP_REPLY_TIME_MAX).await?;
    let mut numbers = Vec::new();
    for reply in replies {
        numbers.push(done(reply)?.integer().unwrap_or(0));
    }
    let [1, bytes] = numbers[..] else { return Err(no_key()) };
    let mut answer = raw(bytes::Bytes::new());
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(answer)
}

pub(super) async fn delete(site: &Site, key: &[u8]) -> Result<Answer, Failure> {
    match ask(site, key, &[b"DEL", key]).await? {
        Reply::Integer(0) => Err(no_key()),
        _ => Ok(nothing()),
    }
}

/// The body is the value, whatever its bytes are.
pub(super) async fn put(
    site: &Site,
    connection: &Connection,
    key: &[u8],
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let query = Query::parse(request.uri().query(), &["ttl", "px"])?;
    let most = i64::MAX.unsigned_abs();
    let expiry = expiry(query.number("ttl", 1, most)?, query.number("px", 1, most)?)?;
    let sent = body::value(site, connection, request).await?;
    let (value, _holding) = sent.take();
    set(site, &Set { key: key.to_vec(), value, expiry }).await?;
    Ok(nothing())
}

async fn set(site: &Site, set: &Set) -> Result<(), Failure> {
    let links = site.links()?;
    let mut commands = Commands::default();
    set.push_to(&mut commands);
    let core = links.core_of(&set.key);
    let replies = links.ask_all(core, Class::Quick, commands, HTTP_REPLY_TIME_MAX).await?;
    for reply in replies {
        done(reply)?;
    }
    Ok(())
}

/// What `POST /keys` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    key: String,
    value: String,
    ttl: Option<u64>,
    px: Option<u64>,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    key_encoding: Encoding,
}

pub(super) async fn create(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Created<'a> {
        key: &'a str,
    }
    Query::parse(request.uri().query(), &[])?;
    let (create, _sent) = body::json::<Create>(site, connection, request).await?;
    let shown = create.key.clone();
    let wanted = Set {
        key: create.key_encoding.read("key", create.key)?,
        value: create.encoding.read("value", create.value)?,
        expiry: expiry(create.ttl, create.px)?,
    };
    set(site, &wanted).await?;
    Ok(json(StatusCode::CREATED, &Created { key: &shown }))
}

/// What `POST /keys/{key}/ttl` takes; `{}` or `null`: the key shall not end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ttl {
    ttl: Option<u64>,
    px: Option<u64>,
}

pub(super) async fn set_ttl(
    site: &Site,
    connection: &Connection,
    key: &[u8],
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Left {
        ttl_ms: Option<i64>,
    }
    Query::parse(request.uri().query(), &[])?;
    let (ttl, _sent) = body::json::<Ttl>(site, connection, request).await?;
    let mut commands = Commands::default();
    match expiry(ttl.ttl, ttl.px)? {
        None => commands.push(&[b"PERSIST", key]),
        Some((word, number)) => {
            let number = number.to_string();
            let command: &[u8] = if word == "EX" { b"EXPIRE" } else { b"PEXPIRE" };
            commands.push(&[command, key, number.as_bytes()]);
        }
    }
    commands.push(&[b"PTTL", key]);
    let links = site.links()?;
    let core = links.core_of(key);
    let replies = links.ask_all(core, Class::Quick, commands, HTTP_REPLY_TIME_MAX).await?;
    let mut left = None;
    for reply in replies {
        left = done(reply)?.integer();
    }
    match left {
        None | Some(-2) => Err(no_key()),
        Some(ttl_ms) => {
            Ok(json(StatusCode::OK, &Left { ttl_ms: Some(ttl_ms).filter(|ms| *ms >= 0) }))
        }
    }
}
