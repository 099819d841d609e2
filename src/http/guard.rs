//! Who may ask, and from where. A server on loopback is reached by every page that this machine's browser shows: so the name
//! that is asked for, the page that asks, and who it is are looked at before anything else.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, StatusCode, Uri};

use super::answer::Failure;
use crate::access::{self, DEFAULT_USER, Login, PasswordDigest};
use crate::live::Live;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Names of this machine that nobody else can own.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The name that is asked for is one of ours (else 421: a name that someone else has pointed at this machine), and there is
/// one (else 400). Answers it with its port.
pub(super) fn host<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    local: SocketAddr,
    further: &[String],
) -> Result<&'a str, Failure> {
    let mut names = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (names.next(), names.next()) else {
        return Err(Failure::bad("there must be one Host header"));
    };
    let host = host.to_str().map_err(|_| Failure::bad("the Host header is no text"))?;
    let is_ours = |host: &str| {
        let name = without_port(host).map(str::to_ascii_lowercase);
        name.is_some_and(|name| {
            LOCAL_NAMES.contains(&name.as_str())
                || further.contains(&name)
                || name == address_name(local)
        })
    };
    // A whole address in the first line has the same right to name the host.
    let asked = uri.authority().map_or(host, |authority| authority.as_str());
    if is_ours(host) && is_ours(asked) {
        return Ok(host);
    }
    let text = "this server is not known by that name; add it to http_hosts if it is";
    Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, text))
}

fn address_name(local: SocketAddr) -> String {
    match local.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// `None`: not of the form `name` or `name:port`.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(end);
    let is_port = |port: &str| {
        let digits = port.strip_prefix(':')?;
        (digits.len() <= 5 && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(())
    };
    (port.is_empty() || is_port(port).is_some()).then_some(name)
}

/// A page of someone else asks: browsers say so.
///
/// # Errors
/// 403.
pub(super) fn origin(headers: &HeaderMap, host: &str) -> Result<(), Failure> {
    let foreign =
        || Failure::new(StatusCode::FORBIDDEN, "a page of another origin may not ask this server");
    for site in headers.get_all(FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(foreign());
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().map_err(|_| foreign())?;
        let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !name.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
            return Err(foreign());
        }
    }
    Ok(())
}

/// What a client may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    All,
    Read,
}

/// What came of a look at who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Known(Right),
    /// It said nothing, and has to.
    Silent,
    /// It said something wrong.
    Wrong,
    /// Nobody may ask from there while there is no secret.
    Shut,
}

/// Who asks: by the token, or by name and password as in the Redis protocol; without either secret whoever is on this
/// machine may do all.
pub(super) fn identity(
    headers: &HeaderMap,
    peer: SocketAddr,
    token: Option<PasswordDigest>,
    live: &Live,
) -> Identity {
    let mut said = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (said.next(), said.next());
    if token.is_none() && !live.requires_password() {
        let is_local = peer.ip().to_canonical().is_loopback();
        return if is_local { Identity::Known(Right::All) } else { Identity::Shut };
    }
    let Some(first) = first else { return Identity::Silent };
    let right = if second.is_some() { None } else { right_of(first.as_bytes(), token, live) };
    right.map_or(Identity::Wrong, Identity::Known)
}

fn right_of(said: &[u8], token: Option<PasswordDigest>, live: &Live) -> Option<Right> {
    let space = memchr::memchr(b' ', said)?;
    let (scheme, secret) = (&said[..space], said[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return token?.matches(secret).then_some(Right::All);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(secret).ok()?;
    let colon = memchr::memchr(b':', &pair)?;
    let (name, password) = (&pair[..colon], &pair[colon + 1..]);
    // The default user without a password would be let in by any.
    if name == DEFAULT_USER.as_bytes() && !live.requires_password() {
        return None;
    }
    match access::log_in(live, name, password)? {
        Login::Default => Some(Right::All),
        Login::ReadOnly => Some(Right::Read),
        Login::None => None,
    }
}

/// Who may only read may only ask what changes nothing.
pub(super) fn allows(right: Right, method: &Method) -> bool {
    right == Right::All || method == Method::GET || method == Method::HEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_names_are_answered() {
        let local: SocketAddr = "192.168.1.5:8081".parse().unwrap();
        let further = ["db.example".to_owned()];
        let status = |hosts: &[&str], uri: &str| {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let uri = uri.parse().unwrap();
            host(&headers(&lines), &uri, local, &further)
                .map_err(|failure| failure.status.as_u16())
                .err()
        };
        for known in [
            "localhost",
            "LocalHost:8081",
            "127.0.0.1:1",
            "[::1]:8081",
            "192.168.1.5",
            "db.example:443",
        ] {
            assert_eq!(status(&[known], "/"), None, "{known}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "192.168.1.6",
            "localhost:80:80",
            "localhost:x",
            "[::1",
            "[::1]x",
            "",
            "db.example.",
            "localhost@evil.example",
        ] {
            assert_eq!(status(&[foreign], "/"), Some(421), "{foreign}");
        }
        assert_eq!(status(&[], "/"), Some(400));
        assert_eq!(status(&["localhost", "localhost"], "/"), Some(400));
        assert_eq!(status(&["localhost"], "http://evil.example/"), Some(421));
        assert_eq!(status(&["localhost"], "http://localhost/"), None);
    }

    #[test]
    fn pages_of_others_are_refused() {
        for (name, value, is_taken) in [
            ("origin", "http://localhost:8081", true),
            ("origin", "https://LOCALHOST:8081", true),
            ("origin", "http://localhost", false),
            ("origin", "http://localhost:8082", false),
            ("origin", "null", false),
            ("origin", "file://localhost:8081", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
        ] {
            let result = origin(&headers(&[(name, value)]), "localhost:8081");
            assert_eq!(result.is_ok(), is_taken, "{name}: {value}");
        }
        let two = [("origin", "http://localhost:8081"), ("origin", "http://evil.example")];
        assert!(origin(&headers(&two), "localhost:8081").is_err());
    }
}
