//! `/keys/search`: pages of keys that begin with, or contain, some bytes. SCAN does the work, so what it promises holds: a key
//! that is there from the first page to the last is on one of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::Serialize;

use super::Query;
use super::keys::done;
use crate::client::Reply;
use crate::glob::push_literal;
use crate::http::answer::{Answer, Failure, json};
use crate::http::links::Class;
use crate::http::server::Site;
use crate::limits::{
    GLOB_BYTES_MAX, HTTP_SEARCH_LIMIT_DEFAULT, HTTP_SEARCH_LIMIT_MAX, HTTP_SEARCH_ROUNDS_MAX,
};

/// A key: text, or where it is none, base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Text(String),
    Bytes { base64: String },
}

#[derive(Debug, Serialize)]
struct Page {
    keys: Vec<Found>,
    /// `null`: there are no more.
    next: Option<String>,
}

/// A page. It may have fewer keys than `limit`, or none, and still a `next`: one page looks at so many keys only.
pub(super) async fn page(site: &Site, query: Option<&str>) -> Result<Answer, Failure> {
    let query = Query::parse(query, &["q", "prefix", "limit", "next"])?;
    let is_prefix = match query.text("prefix")? {
        None | Some("" | "true" | "1") => true,
        Some("false" | "0") => false,
        Some(_) => return Err(Failure::bad("prefix must be true or false")),
    };
    let limit =
        query.number("limit", 1, HTTP_SEARCH_LIMIT_MAX)?.unwrap_or(HTTP_SEARCH_LIMIT_DEFAULT);
    let mut cursor = query.number("next", 0, u64::MAX)?.unwrap_or(0);
    let pattern = pattern(query.bytes("q").unwrap_or_default(), is_prefix)?;
    let links = site.links()?;
    let core = links.any_core();
    let mut keys = Vec::new();
    for _ in 0..HTTP_SEARCH_ROUNDS_MAX {
        // No more is looked at than may still be shown: what SCAN has found, it does not find again.
        let count = (limit - keys.len() as u64).to_string();
        let at = cursor.to_string();
        let words: [&[u8]; 6] =
            [b"SCAN", at.as_bytes(), b"MATCH", &pattern, b"COUNT", count.as_bytes()];
        let reply = done(links.ask(core, Class::Slow, &words).await?)?;
        cursor = take(reply, &mut keys)
            .ok_or_else(|| Failure::unavailable("a page of an unknown form"))?;
        if cursor == 0 || keys.len() as u64 >= limit {
            break;
        }
    }
    let next = (cursor != 0).then(|| cursor.to_string());
    Ok(json(StatusCode::OK, &Page { keys, next }))
}

/// Appends the keys of a reply; answers its cursor.
fn take(reply: Reply, keys: &mut Vec<Found>) -> Option<u64> {
    let Reply::Array(parts) = reply else { return None };
    let [cursor, found] = <[Reply; 2]>::try_from(parts).ok()?;
    let Reply::Array(found) = found else { return None };
    for key in found {
        let Reply::Bulk(key) = key else { return None };
        keys.push(match String::from_utf8(key) {
            Ok(text) => Found::Text(text),
            Err(error) => Found::Bytes { base64: STANDARD.encode(error.as_bytes()) },
        });
    }
    std::str::from_utf8(cursor.bytes()?).ok()?.parse().ok()
}

/// A glob of plain bytes.
fn pattern(wanted: &[u8], is_prefix: bool) -> Result<Vec<u8>, Failure> {
    let mut pattern = if is_prefix { Vec::new() } else { vec![b'*'] };
    push_literal(&mut pattern, wanted);
    pattern.push(b'*');
    if pattern.len() > GLOB_BYTES_MAX {
        let text = format!("q is longer than {GLOB_BYTES_MAX} bytes, escapes counted");
        return Err(Failure::bad(text));
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_is_taken_word_by_word() {
        use crate::glob::{Case, matches};
        for (wanted, is_prefix, key, is_found) in [
            ("us", true, "user", true),
            ("se", true, "user", false),
            ("se", false, "user", true),
            ("*", true, "user", false),
            ("*", false, "a*b", true),
            ("a?", true, "ab", false),
            ("[a]", true, "a", false),
            ("[a-z]", true, "[a-z]x", true),
            ("\\", false, "a\\b", true),
            ("", true, "", true),
        ] {
            let pattern = pattern(wanted.as_bytes(), is_prefix).unwrap();
            let found = matches(&pattern, key.as_bytes(), Case::Sensitive);
            assert_eq!(found, is_found, "{wanted} in {key}");
        }
        assert!(pattern(&[b'a'; GLOB_BYTES_MAX], true).is_err());
        assert!(pattern(&[b'a'; GLOB_BYTES_MAX - 1], true).is_ok());
    }
}
