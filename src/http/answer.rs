//! What goes back: responses with the headers that all have, errors as JSON, and the body that knows when it has left.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use super::links::LinkError;
use super::socket::Connection;
use crate::ledger::{Account, Holding};

/// A page of someone else may not even load what comes from here.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
pub(super) const JSON: &str = "application/json";
pub(super) const BYTES: &str = "application/octet-stream";

pub(super) type Answer = Response<Content>;

enum Source {
    Whole(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

/// A response's body.
pub(super) struct Content {
    source: Source,
    /// Whose connection is busy as long as this is not sent.
    connection: Option<Rc<Connection>>,
}

impl Content {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self {
            source: Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            connection: None,
        }
    }

    pub(super) fn events(events: mpsc::Receiver<Bytes>) -> Self {
        Self { source: Source::Events(events), connection: None }
    }

    pub(super) fn sent_over(&mut self, connection: Rc<Connection>) {
        self.connection = Some(connection);
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.is_busy.set(false);
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Events(events) => {
                events.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Events(_) => SizeHint::default(),
        }
    }
}

/// A value on its way out, which is counted until the last of it is with the kernel.
struct Counted {
    bytes: Vec<u8>,
    _holding: Holding,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// `bytes`, written down in `account` until they have left.
///
/// # Errors
/// The replies of all connections already hold what they may.
pub(super) fn counted(bytes: Vec<u8>, account: &std::sync::Arc<Account>) -> Result<Bytes, Failure> {
    if bytes.len() <= crate::ledger::HOLDING_BYTES_FREE {
        return Ok(bytes.into());
    }
    if account.is_full() {
        return Err(Failure::unavailable("the memory for replies is used up; try again"));
    }
    let holding = Holding::of(account, bytes.len());
    Ok(Bytes::from_owner(Counted { bytes, _holding: holding }))
}

/// A response of that kind.
pub(super) fn answer(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = bare(status, Content::of(bytes.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A response without a kind.
pub(super) fn bare(status: StatusCode, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// 204.
pub(super) fn nothing() -> Answer {
    bare(StatusCode::NO_CONTENT, Content::of(Bytes::new()))
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(status, JSON, bytes),
        Err(error) => unreachable!("plain data: {error}"),
    }
}

/// Bytes of a value: never anything that a browser would run or show as a page.
pub(super) fn raw(bytes: Bytes) -> Answer {
    let mut answer = answer(StatusCode::OK, BYTES, bytes);
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

/// Why a request is not answered as it wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) text: Cow<'static, str>,
    /// Of 405: what is allowed.
    pub(super) allow: &'static str,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), allow: "" }
    }

    pub(super) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// Of an error reply: what its first word says of it.
    pub(super) fn of_reply(text: &str) -> Self {
        let status = match text.split(' ').next().unwrap_or_default() {
            "NOPERM" | "DENIED" => StatusCode::FORBIDDEN,
            "NOAUTH" => StatusCode::UNAUTHORIZED,
            "MISCONF" | "LOADING" | "OOM" | "BUSY" | "TRYAGAIN" => StatusCode::SERVICE_UNAVAILABLE,
            _ if text == "ERR the server is shutting down" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, text.to_owned())
    }

    pub(super) fn answer(&self) -> Answer {
        #[derive(Serialize)]
        struct Shown<'a> {
            error: &'a str,
            code: u16,
        }
        let mut answer =
            json(self.status, &Shown { error: &self.text, code: self.status.as_u16() });
        let headers = answer.headers_mut();
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static(self.allow));
            }
            StatusCode::UNAUTHORIZED => {
                // Not Basic: a browser would ask by itself, and send it from then on whoever makes the request.
                let how = HeaderValue::from_static("Bearer realm=\"rusty-lsm\"");
                headers.insert(header::WWW_AUTHENTICATE, how);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        answer
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Busy => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests are under way; try again",
            ),
            LinkError::Unreachable => {
                Self::unavailable("the server cannot be asked now; try again")
            }
            LinkError::Broken => Self::unavailable(
                "the connection to the core broke: whether it was done is not known",
            ),
            LinkError::Late => {
                Self::unavailable("no answer in time: whether it will be done is not known")
            }
        }
    }
}
