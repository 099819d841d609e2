//! The one table of paths, and what is looked at before a path does anything, in the order that a refusal costs least.

mod admin;
mod batch;
mod keys;
mod search;
mod status;

use std::borrow::Cow;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::{Answer, Failure};
use super::guard::{self, Identity, Right};
use super::server::{Ends, Site};
use super::socket::Connection;
use super::{events, metrics, openapi};

/// What a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Page,
    Health,
    Ready,
    OpenApi,
    Metrics,
    Stats,
    Events,
    Slowlog,
    Keys,
    Search,
    Key,
    KeyTtl,
    Batch,
    Backup,
}

/// A path. `{key}` stands for one part of it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) target: Target,
    /// As 405 lists them. HEAD is GET without a body.
    pub(super) methods: &'static str,
    /// What it shows is no secret: nobody has to log in.
    pub(super) is_open: bool,
    /// What the read-only user may not see.
    pub(super) is_admin: bool,
}

const fn route(path: &'static str, target: Target, methods: &'static str) -> Route {
    Route { path, target, methods, is_open: false, is_admin: false }
}

const fn open(path: &'static str, target: Target) -> Route {
    Route { path, target, methods: "GET, HEAD", is_open: true, is_admin: false }
}

pub(super) const ROUTES: &[Route] = &[
    open("/", Target::Page),
    open("/healthz", Target::Health),
    open("/readyz", Target::Ready),
    open("/openapi.json", Target::OpenApi),
    route("/metrics", Target::Metrics, "GET, HEAD"),
    route("/stats_all", Target::Stats, "GET, HEAD"),
    route("/events", Target::Events, "GET"),
    Route {
        path: "/slowlog",
        target: Target::Slowlog,
        methods: "GET, HEAD",
        is_open: false,
        is_admin: true,
    },
    route("/keys", Target::Keys, "POST"),
    route("/keys/search", Target::Search, "GET, HEAD"),
    route("/keys/{key}", Target::Key, "GET, HEAD, PUT, DELETE"),
    route("/keys/{key}/ttl", Target::KeyTtl, "POST"),
    route("/batch", Target::Batch, "POST"),
    route("/backup", Target::Backup, "POST"),
];

/// The route of a path as it was sent, and the part of it that is a key.
fn find(path: &str) -> Option<(&'static Route, &str)> {
    ROUTES.iter().find_map(|route| match route.path.split_once("{key}") {
        None => (route.path == path).then_some((route, "")),
        Some((before, after)) => {
            let key = path.strip_prefix(before)?.strip_suffix(after)?;
            (!key.contains('/')).then_some((route, key))
        }
    })
}

/// Decoded once. Any bytes can be a key.
fn decoded(part: &str) -> Cow<'_, [u8]> {
    percent_decode_str(part).into()
}

/// The parameters of a query, decoded once; `+` is a blank, as forms write it.
#[derive(Debug, Default)]
struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// # Errors
    /// One that is not among `known`, or is there twice: a misspelt one must not be ignored.
    fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Failure> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) || found.iter().any(|(other, _)| other == name) {
                let name: String = name.chars().take(64).collect();
                let text = format!(
                    "'{name}' is no parameter here, or twice; there are: {}",
                    known.join(", ")
                );
                return Err(Failure::bad(text));
            }
            let value = value.replace('+', " ");
            found.push((name.to_owned(), percent_decode_str(&value).collect()));
        }
        Ok(Self(found))
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let text = self.bytes(name).map(std::str::from_utf8).transpose();
        text.map_err(|_| Failure::bad(format!("{name} is not text")))
    }

    /// A whole number from `least` to `most`.
    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let problem =
            || Failure::bad(format!("{name} must be a whole number from {least} to {most}"));
        number.map(Some).ok_or_else(problem)
    }
}

/// Whether the client would rather have JSON than bytes.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    })
}

/// Answers a request, whatever comes of it.
pub(super) async fn answer(
    site: &Rc<Site>,
    connection: &Connection,
    ends: Ends,
    request: Request<Incoming>,
) -> Answer {
    match serve(site, connection, ends, request).await {
        Ok(answer) => answer,
        Err(failure) => failure.answer(),
    }
}

async fn serve(
    site: &Rc<Site>,
    connection: &Connection,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let uri = request.uri().clone();
    let host = guard::host(request.headers(), &uri, ends.local, &site.options.hosts)?;
    let Some((route, key)) = find(uri.path()) else {
        let text = "no such path; /openapi.json lists them (a slash in a key is written %2F)";
        return Err(Failure::new(StatusCode::NOT_FOUND, text));
    };
    let method = request.method().clone();
    if !route.methods.split(", ").any(|allowed| allowed == method.as_str()) {
        let text = format!("{} takes {}", route.path, route.methods);
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, text);
        return Err(Failure { allow: route.methods, ..failure });
    }
    if !route.is_open {
        guard::origin(request.headers(), host)?;
        let right = log_in(site, request.headers(), ends).await?;
        if !guard::allows(right, &method) || (route.is_admin && right == Right::Read) {
            return Err(Failure::new(StatusCode::FORBIDDEN, "this user may only read"));
        }
    }
    let query = uri.query();
    match route.target {
        Target::Page => Ok(site.page.answer()),
        Target::Health => Ok(status::health()),
        Target::Ready => Ok(status::ready(site).await),
        Target::OpenApi => Ok(openapi::answer()),
        Target::Metrics => metrics::respond(site).await,
        Target::Stats => status::stats(site).await,
        Target::Events => events::answer(site),
        Target::Slowlog => status::slowlog(site).await,
        Target::Keys => keys::create(site, connection, request).await,
        Target::Search => search::page(site, query).await,
        Target::Key => {
            let key = decoded(key);
            match method {
                Method::PUT => keys::put(site, connection, &key, request).await,
                Method::DELETE => keys::delete(site, &key).await,
                Method::HEAD => keys::head(site, &key).await,
                _ => keys::get(site, &key, query, wants_json(request.headers())).await,
            }
        }
        Target::KeyTtl => keys::set_ttl(site, connection, &decoded(key), request).await,
        Target::Batch => batch::run(site, connection, request).await,
        Target::Backup => admin::backup(site, connection, request).await,
    }
}

/// # Errors
/// 401 for who is not known, after a delay that grows with each wrong try; 403; 503 as long as the shards are not open.
async fn log_in(site: &Site, headers: &HeaderMap, ends: Ends) -> Result<Right, Failure> {
    let connector = site.links()?.connector();
    match guard::identity(headers, ends.peer, site.options.token, connector.live()) {
        Identity::Known(right) => {
            if headers.contains_key(header::AUTHORIZATION) {
                connector.login_succeeded(&ends.peer.to_string());
            }
            Ok(right)
        }
        Identity::Silent => Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "send 'Authorization: Bearer TOKEN', or Basic with a user and password of the Redis protocol",
        )),
        Identity::Wrong => {
            tokio::time::sleep(connector.login_failed(&ends.peer.to_string())).await;
            Err(Failure::new(StatusCode::UNAUTHORIZED, "wrong token, user or password"))
        }
        Identity::Shut => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "other machines are not served without a token (http_token_file) or a password (requirepass_file)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_as_they_were_sent() {
        let found = |path| find(path).map(|(route, key)| (route.target, key));
        assert_eq!(found("/keys/a"), Some((Target::Key, "a")));
        assert_eq!(found("/keys/"), Some((Target::Key, "")));
        assert_eq!(found("/keys/a%2Fb"), Some((Target::Key, "a%2Fb")));
        assert_eq!(found("/keys/a/ttl"), Some((Target::KeyTtl, "a")));
        assert_eq!(found("/keys/search"), Some((Target::Search, "")));
        // A key of that name has a way to say so.
        assert_eq!(found("/keys/%73earch"), Some((Target::Key, "%73earch")));
        assert_eq!(found("/keys/ttl"), Some((Target::Key, "ttl")));
        for path in ["/keys/a/b", "/keys/a/b/ttl", "/key", "/keys/a/", "", "/Healthz", "//"] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(&*decoded("%00%ff%2525+"), b"\x00\xff%25+");
    }

    #[test]
    fn queries_are_decoded_once_and_known() {
        let query =
            Query::parse(Some("q=a%2520+b&limit=7&&next"), &["q", "limit", "next"]).unwrap();
        assert_eq!(query.bytes("q"), Some(&b"a%20 b"[..]));
        assert_eq!(query.number("limit", 1, 9).unwrap(), Some(7));
        assert!(query.number("limit", 1, 6).is_err());
        assert_eq!(query.text("next").unwrap(), Some(""));
        assert!(Query::parse(Some("Q=a"), &["q"]).is_err());
        assert!(Query::parse(Some("q=a&q=b"), &["q"]).is_err());
        assert!(Query::parse(None, &[]).unwrap().0.is_empty());
    }
}
