//! `POST /batch`: many operations in one request. Those on one key are done in their order; all together are not atomic.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::Query;
use super::keys::{Encoding, Set, expiry};
use crate::client::Reply;
use crate::http::answer::{Answer, Failure, JSON, answer, counted};
use crate::http::body;
use crate::http::links::{Class, Commands, LinkError};
use crate::http::server::Site;
use crate::http::socket::Connection;
use crate::limits::{HTTP_BATCH_OPS_MAX, HTTP_BATCH_REPLY_BYTES_MAX, HTTP_REPLY_TIME_MAX};

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Set,
    Delete,
}

/// One operation, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    op: Kind,
    key: String,
    value: Option<String>,
    ttl: Option<u64>,
    px: Option<u64>,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    key_encoding: Encoding,
}

/// What came of one.
#[derive(Debug, Serialize)]
struct Outcome {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

/// What goes to one core.
#[derive(Debug, Default)]
struct Share {
    commands: Commands,
    /// By command: which operation it is.
    operations: Vec<usize>,
}

pub(super) async fn run(
    site: &Site,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    Query::parse(request.uri().query(), &[])?;
    let (operations, _sent) = body::json::<Vec<Operation>>(site, connection, request).await?;
    if operations.len() > HTTP_BATCH_OPS_MAX {
        let text = format!("{} operations; {HTTP_BATCH_OPS_MAX} are taken", operations.len());
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let links = site.links()?;
    let kinds: Vec<Kind> = operations.iter().map(|operation| operation.op).collect();
    let mut shares: Vec<Share> =
        (0..links.connector().shards()).map(|_| Share::default()).collect();
    // All are read before the first is sent.
    for (index, operation) in operations.into_iter().enumerate() {
        let in_it = |failure: Failure| Failure::bad(format!("operation {index}: {}", failure.text));
        let key = operation.key_encoding.read("key", operation.key).map_err(in_it)?;
        let share = &mut shares[links.core_of(&key)];
        share.operations.push(index);
        let expiry = expiry(operation.ttl, operation.px).map_err(in_it)?;
        match (operation.op, operation.value) {
            (Kind::Set, Some(value)) => {
                let value = operation.encoding.read("value", value).map_err(in_it)?;
                Set { key, value, expiry }.push_to(&mut share.commands);
            }
            (Kind::Set, None) => return Err(in_it(Failure::bad("set needs a value"))),
            (Kind::Get | Kind::Delete, None) if expiry.is_none() => {
                let command: &[u8] =
                    if matches!(operation.op, Kind::Get) { b"GET" } else { b"DEL" };
                share.commands.push(&[command, &key]);
            }
            _ => return Err(in_it(Failure::bad("only set takes value, ttl and px"))),
        }
    }
    let results = ask(site, &kinds, shares).await?;
    let bytes = serde_json::to_vec(&Outcomes { results })
        .unwrap_or_else(|error| unreachable!("plain data: {error}"));
    let bytes = counted(bytes, &links.connector().ledger().output)?;
    Ok(answer(StatusCode::OK, JSON, bytes))
}

/// To all cores at once; the outcomes in the order of the operations.
async fn ask(site: &Site, kinds: &[Kind], shares: Vec<Share>) -> Result<Vec<Outcome>, Failure> {
    let links = site.links()?;
    let mut replies: Vec<Option<Result<Reply, LinkError>>> = kinds.iter().map(|_| None).collect();
    let mut asked = Vec::new();
    for (core, share) in
        shares.into_iter().enumerate().filter(|(_, share)| !share.commands.is_empty())
    {
        let answered = links.ask_all(core, Class::Slow, share.commands, HTTP_REPLY_TIME_MAX);
        asked.push((share.operations, answered));
    }
    for (operations, result) in all(asked).await {
        match result {
            Ok(answers) => {
                for (index, reply) in operations.into_iter().zip(answers) {
                    replies[index] = Some(Ok(reply));
                }
            }
            Err(error) => {
                for index in operations {
                    replies[index] = Some(Err(error));
                }
            }
        }
    }
    let mut left_bytes = HTTP_BATCH_REPLY_BYTES_MAX;
    let outcomes = kinds.iter().zip(replies).map(|(kind, reply)| {
        let reply = reply.unwrap_or(Err(LinkError::Broken));
        outcome(*kind, reply, &mut left_bytes)
    });
    Ok(outcomes.collect())
}

/// Waits for all of them, which run side by side.
async fn all<A, F: Future>(futures: Vec<(A, F)>) -> Vec<(A, F::Output)> {
    let mut running: Vec<_> =
        futures.into_iter().map(|(of, future)| (of, Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut is_done = true;
        for (_, future, output) in &mut running {
            if output.is_some() {
                continue;
            }
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(result) => *output = Some(result),
                std::task::Poll::Pending => is_done = false,
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(of, _, output)| Some((of, output?))).collect()
}

fn outcome(kind: Kind, reply: Result<Reply, LinkError>, left_bytes: &mut usize) -> Outcome {
    let plain = |status: StatusCode| Outcome {
        status: status.as_u16(),
        value: None,
        encoding: None,
        error: None,
    };
    let failed = |failure: Failure| Outcome {
        error: Some(failure.text.into_owned()),
        ..plain(failure.status)
    };
    match (kind, reply) {
        (_, Err(error)) => failed(error.into()),
        (_, Ok(Reply::Error(text))) => failed(Failure::of_reply(&text)),
        (Kind::Get, Ok(Reply::Bulk(value))) => {
            let Some(left) = left_bytes.checked_sub(value.len()) else {
                let text = format!(
                    "the values of one batch are {HTTP_BATCH_REPLY_BYTES_MAX} bytes at most; ask for this key by itself"
                );
                return failed(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            };
            *left_bytes = left;
            let (value, encoding) = Encoding::show(value);
            Outcome { value: Some(value), encoding: Some(encoding), ..plain(StatusCode::OK) }
        }
        (Kind::Get, Ok(_)) | (Kind::Delete, Ok(Reply::Integer(0))) => plain(StatusCode::NOT_FOUND),
        (Kind::Set | Kind::Delete, Ok(_)) => plain(StatusCode::NO_CONTENT),
    }
}
