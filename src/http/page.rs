//! The dashboard: one file, part of the program, which asks for all else by `fetch` from the same origin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::answer::{Content, answer};

const PAGE: &str = include_str!("dashboard.html");
const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");

/// What a browser may do for this page: run its one script and its one style, by their hashes, and ask where it came from.
/// Made once.
#[derive(Debug)]
pub(super) struct Page {
    policy: HeaderValue,
}

impl Default for Page {
    fn default() -> Self {
        let script = hash(between(PAGE, "<script>", "</script>"));
        let style = hash(between(PAGE, "<style>", "</style>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::from_str(&policy).expect("letters and signs");
        Self { policy }
    }
}

impl Page {
    pub(super) fn answer(&self) -> Response<Content> {
        let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer
    }
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).map_or("", |(_, rest)| rest);
    rest.split_once(to).map_or("", |(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nobody_else_and_shows_values_as_text() {
        assert_eq!(PAGE.matches("<script").count(), 1, "one script, named by its hash");
        assert_eq!(PAGE.matches("<style").count(), 1);
        assert!(!between(PAGE, "<script>", "</script>").trim().is_empty());
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=\"",
            " src=",
            "onclick=",
        ] {
            assert!(!PAGE.contains(word), "{word}");
        }
        let links = PAGE.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http://") && !links.contains("https://"));
    }
}
