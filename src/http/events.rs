//! `/events`: the report of all cores each second, as server-sent events, to a bounded number of listeners. It is made once a
//! second whatever their number, and only while there are any.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::answer::{Answer, Content, Failure, bare};
use super::reports;
use super::server::Site;
use crate::limits::{HTTP_EVENTS_WAITING_MAX, HTTP_LISTENERS_MAX};

const INTERVAL: Duration = Duration::from_secs(1);

/// Who listens.
#[derive(Debug, Default)]
pub(super) struct Events {
    listeners: RefCell<Vec<mpsc::Sender<Bytes>>>,
    is_ticking: Cell<bool>,
}

impl Events {
    /// Nobody is told anything any more: the streams end.
    pub(super) fn end(&self) {
        self.listeners.borrow_mut().clear();
    }

    /// Whoever is behind misses it: the next one says all.
    fn tell(&self, event: &Bytes) {
        let is_there = |listener: &mpsc::Sender<Bytes>| {
            !matches!(listener.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        };
        self.listeners.borrow_mut().retain(is_there);
    }

    fn is_heard(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }
}

/// # Errors
/// 429: too many listen; 503.
pub(super) fn answer(site: &Rc<Site>) -> Result<Answer, Failure> {
    site.links()?;
    let events = &site.events;
    let (listener, told) = mpsc::channel(HTTP_EVENTS_WAITING_MAX);
    {
        let mut listeners = events.listeners.borrow_mut();
        listeners.retain(|listener| !listener.is_closed());
        if listeners.len() >= HTTP_LISTENERS_MAX {
            let text = format!("{HTTP_LISTENERS_MAX} listen to events already");
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        listeners.push(listener);
    }
    if !events.is_ticking.replace(true) {
        tokio::task::spawn_local(tick(Rc::clone(site)));
    }
    let mut answer = bare(StatusCode::OK, Content::events(told));
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

async fn tick(site: Rc<Site>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while site.events.is_heard() {
        ticks.tick().await;
        let event = match reports::fresh(&site).await {
            Ok(json) => [b"event: report\ndata: ", json.as_slice(), b"\n\n"].concat(),
            Err(failure) => {
                let text = serde_json::Value::from(failure.text.into_owned());
                format!("event: trouble\ndata: {{\"error\":{text}}}\n\n").into_bytes()
            }
        };
        site.events.tell(&event.into());
    }
    site.events.is_ticking.set(false);
}
