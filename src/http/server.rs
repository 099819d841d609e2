//! Accepts connections, within their limits, and serves each with hyper until it ends or all do.

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::HttpOptions;
use super::answer::Failure;
use super::events::Events;
use super::links::Links;
use super::page::Page;
use super::reports::Readiness;
use super::routes;
use super::socket::{Connection, Scratch, Socket, scratch};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_STOP_TIME_MAX};
use crate::server::Connector;

/// How long no connection is accepted after one could not be: without descriptors, at once is too early.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two complaints about that.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// What one connection too many is told.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
    Content-Length: 48\r\nRetry-After: 1\r\n\r\n{\"error\":\"too many connections now\",\"code\":503}\n";

/// What all connections share.
pub(super) struct Site {
    pub(super) options: HttpOptions,
    pub(super) page: Page,
    pub(super) events: Events,
    pub(super) readiness: Readiness,
    connector: Arc<OnceLock<Connector>>,
    links: OnceCell<Links>,
    connections: Cell<usize>,
    is_stopping: Cell<bool>,
    complained: Cell<Option<Instant>>,
    scratch: Scratch,
}

impl Site {
    /// The way to the shards.
    ///
    /// # Errors
    /// 503: they are not open yet, or no longer.
    pub(super) fn links(&self) -> Result<&Links, Failure> {
        if self.is_stopping.get() {
            return Err(Failure::unavailable("the server stops"));
        }
        match (self.links.get(), self.connector.get()) {
            (Some(links), _) => Ok(links),
            (None, Some(connector)) => Ok(self.links.get_or_init(|| Links::new(connector.clone()))),
            (None, None) => Err(Failure::unavailable("the server is recovering its data")),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    pub(super) fn body_bytes_max(&self) -> usize {
        self.options.body_bytes_max
    }

    fn complain(&self, error: &io::Error) {
        let is_due = self.complained.get().is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL);
        if is_due {
            self.complained.set(Some(Instant::now()));
            tracing::warn!(%error, "HTTP cannot accept a connection; trying again");
        }
    }
}

/// Serves until it is told to stop.
pub(super) async fn run(
    listener: TcpListener,
    options: HttpOptions,
    connector: Arc<OnceLock<Connector>>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "HTTP cannot listen");
            return;
        }
    };
    let site = Rc::new(Site {
        options,
        page: Page::default(),
        events: Events::default(),
        readiness: Readiness::default(),
        connector,
        links: OnceCell::new(),
        connections: Cell::new(0),
        is_stopping: Cell::new(false),
        complained: Cell::new(None),
        scratch: scratch(),
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => accept(&site, stream, peer, &stopped),
            Err(error) => {
                site.complain(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    site.is_stopping.set(true);
    site.events.end();
    let until = tokio::time::Instant::now() + HTTP_STOP_TIME_MAX;
    while site.connections.get() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn accept(site: &Rc<Site>, stream: TcpStream, peer: SocketAddr, stopped: &watch::Receiver<bool>) {
    if site.connections.get() >= site.options.connections_max {
        // Its socket buffer is empty: all of it fits. What it sent is not read, so it may see a reset instead.
        let _ = stream.try_write(TOO_MANY);
        return;
    }
    // What could fail is a socket that has gone already.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    site.connections.set(site.connections.get() + 1);
    let serving = serve(Rc::clone(site), stream, Ends { peer, local }, stopped.clone());
    tokio::task::spawn_local(serving);
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

async fn serve(site: Rc<Site>, stream: TcpStream, ends: Ends, mut stopped: watch::Receiver<bool>) {
    let connection = Rc::new(Connection::default());
    let socket = Socket::new(stream, Rc::clone(&connection), Rc::clone(&site.scratch));
    let service = service_fn(|request| {
        let (site, connection) = (Rc::clone(&site), Rc::clone(&connection));
        async move {
            connection.is_busy.set(true);
            connection.is_late.set(false);
            let verdict = connection.verdicts.borrow_mut().pop_front();
            let mut answer = match verdict {
                Some(Err(refusal)) => Failure::new(refusal.status, refusal.text).answer(),
                _ => routes::answer(&site, &connection, ends, request).await,
            };
            answer.body_mut().sent_over(connection);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    // Who says that nothing more comes still wants its answers.
    http.half_close(true)
        .pipeline_flush(true)
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(4 * HTTP_HEAD_BYTES_MAX)
        .header_read_timeout(None);
    let mut serving = pin!(http.serve_connection(socket, service));
    let is_told = tokio::select! {
        _ = serving.as_mut() => false,
        _ = stopped.changed() => true,
    };
    if is_told {
        serving.as_mut().graceful_shutdown();
        // It ends when its request is answered, or with the thread.
        let _ = serving.await;
    }
    site.connections.set(site.connections.get() - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_well_formed() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
