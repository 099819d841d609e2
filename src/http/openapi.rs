//! `/openapi.json`: what the paths take and answer, for programs that make clients. A test holds it against the table of routes.

use std::sync::OnceLock;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, JSON, answer as answer_of};

pub(super) fn answer() -> Answer {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string().into());
    answer_of(StatusCode::OK, JSON, text.clone())
}

/// By path and method: what it does, its parameters, its body and its answers.
fn document() -> Value {
    let mut paths = Map::new();
    for (path, method, operation) in operations() {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rusty-lsm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A persistent key-value server. Keys and values are any bytes. In a path a key is percent-encoded \
                once: a slash is %2F, and the key 'search' is %73earch."
        },
        "security": [{}, { "token": [] }, { "user": [] }],
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "user": { "type": "http", "scheme": "basic" }
            },
            "schemas": { "Error": {
                "type": "object",
                "required": ["error", "code"],
                "properties": { "error": { "type": "string" }, "code": { "type": "integer" } }
            } }
        },
        "paths": paths
    })
}

/// One operation: answers are pairs of a status and what it means.
fn operation(summary: &str, answers: &[(&str, &str)]) -> Value {
    let mut responses = Map::new();
    for (status, meaning) in answers {
        responses.insert((*status).to_owned(), json!({ "description": meaning }));
    }
    responses.insert(
        "default".into(),
        json!({
            "description": "400, 401, 403, 404, 405, 408, 413, 415, 421, 429, 431 or 503",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } }
        }),
    );
    json!({ "summary": summary, "responses": responses })
}

fn with(mut operation: Value, name: &str, value: Value) -> Value {
    operation[name] = value;
    operation
}

fn query(name: &str, kind: &str, what: &str) -> Value {
    json!({ "name": name, "in": "query", "description": what, "schema": { "type": kind } })
}

fn key() -> Value {
    json!({ "name": "key", "in": "path", "required": true, "schema": { "type": "string" } })
}

fn body(properties: &Value, required: &[&str]) -> Value {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    });
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 1 })
}

fn encoding() -> Value {
    json!({ "type": "string", "enum": ["utf8", "base64"], "default": "utf8" })
}

fn operations() -> Vec<(&'static str, &'static str, Value)> {
    let mut operations = of_keys();
    operations.extend(of_the_server());
    operations
}

fn of_keys() -> Vec<(&'static str, &'static str, Value)> {
    let get = operation(
        "The value: its bytes, or JSON by Accept or encoding",
        &[("200", "the value; JSON: key, value, encoding, ttl_ms")],
    );
    let get = with(
        get,
        "parameters",
        json!([key(), query("encoding", "string", "utf8 or base64: answer JSON")]),
    );
    let head =
        operation("Whether it is there, and how long", &[("200", "Content-Length is its length")]);
    let put = operation("Store the body, whatever its bytes are", &[("204", "stored")]);
    let put = with(
        put,
        "parameters",
        json!([key(), query("ttl", "integer", "seconds"), query("px", "integer", "milliseconds")]),
    );
    let bytes = json!({ "required": true, "content": { "application/octet-stream": {} } });
    let delete = operation("Delete it", &[("204", "deleted")]);
    let set = json!({ "key": text(), "value": text(), "ttl": number(), "px": number(), "encoding": encoding(),
        "key_encoding": encoding() });
    let ttl = operation("When it ends; {} for never", &[("200", "ttl_ms, null for never")]);
    let ttl_body = body(&json!({ "ttl": number(), "px": number() }), &[]);
    let search = operation("A page of keys", &[("200", "keys, and next: null at the end")]);
    let search = with(
        search,
        "parameters",
        json!([
            query("q", "string", "what keys begin with, or contain"),
            query("prefix", "boolean", "false: anywhere in the key; true is the default"),
            query("limit", "integer", "keys of one page, 1 to 1000; 100 is the default"),
            query("next", "string", "of the page before")
        ]),
    );
    let batch = operation(
        "Operations in one request, those on one key in their order; not atomic",
        &[("200", "results: a status each, and value, encoding or error")],
    );
    let operation_of_batch = json!({
        "type": "object",
        "required": ["op", "key"],
        "additionalProperties": false,
        "properties": { "op": { "type": "string", "enum": ["get", "set", "delete"] }, "key": text(), "value": text(),
            "ttl": number(), "px": number(), "encoding": encoding(), "key_encoding": encoding() }
    });
    let many = json!({ "required": true, "content": { "application/json": { "schema": {
        "type": "array", "maxItems": crate::limits::HTTP_BATCH_OPS_MAX, "items": operation_of_batch } } } });
    let of_key = |operation| with(operation, "parameters", json!([key()]));
    let create = operation("Store a value given as text or base64", &[("201", "stored")]);
    vec![
        ("/keys", "post", with(create, "requestBody", body(&set, &["key", "value"]))),
        ("/keys/search", "get", search),
        ("/keys/{key}", "get", get),
        ("/keys/{key}", "head", of_key(head)),
        ("/keys/{key}", "put", with(put, "requestBody", bytes)),
        ("/keys/{key}", "delete", of_key(delete)),
        ("/keys/{key}/ttl", "post", of_key(with(ttl, "requestBody", ttl_body))),
        ("/batch", "post", with(batch, "requestBody", many)),
    ]
}

fn of_the_server() -> Vec<(&'static str, &'static str, Value)> {
    let open = |operation| with(operation, "security", json!([]));
    let ready =
        [("200", "it is"), ("503", "recovering, stalled, read-only, stopping or unreachable")];
    let backup = operation("A checkpoint of all data under that name", &[("200", "done")]);
    let backup = with(backup, "requestBody", body(&json!({ "name": text() }), &["name"]));
    vec![
        ("/", "get", open(operation("The dashboard", &[("200", "HTML")]))),
        ("/healthz", "get", open(operation("Whether the process answers", &[("200", "it does")]))),
        ("/readyz", "get", open(operation("Whether it is ready for work", &ready))),
        ("/openapi.json", "get", open(operation("This", &[("200", "JSON")]))),
        ("/metrics", "get", operation("Telemetry for Prometheus", &[("200", "OpenMetrics text")])),
        ("/stats_all", "get", operation("All telemetry", &[("200", "per shard and in sum")])),
        ("/events", "get", operation("The same each second", &[("200", "server-sent events")])),
        ("/slowlog", "get", operation("Commands that took long", &[("200", "the newest first")])),
        ("/backup", "post", backup),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn it_names_the_routes_that_there_are() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let mut told: Vec<String> = Vec::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                told.push(format!("{} {path}", method.to_uppercase()));
                let needs_key = path.contains("{key}");
                let parameters = operation["parameters"].to_string();
                assert_eq!(parameters.contains("\"path\""), needs_key, "{method} {path}");
            }
        }
        let mut there: Vec<String> = ROUTES
            .iter()
            .flat_map(|route| route.methods.split(", ").map(move |method| (method, route.path)))
            // HEAD goes without saying, but where it does something of its own.
            .filter(|(method, path)| *method != "HEAD" || *path == "/keys/{key}")
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        told.sort();
        there.sort();
        assert_eq!(told, there);
    }
}
