//! A refusal is read by the one who is refused, also when it still sends.

use crate::common::{Options, Reply, Server, encode, is_stand_in};

const SENT_BYTES: usize = 32 << 20;

#[test]
fn a_refused_value_is_taken_off_the_wire_so_that_the_error_is_read() {
    if is_stand_in() {
        return;
    }
    let options = Options { more: &["--set", "proto_max_bulk_len=64KB"], ..Options::default() };
    let server = Server::start(&options);
    let refused = [
        (encode(&[b"SET".as_slice(), b"k", &vec![b'v'; SENT_BYTES]]), "invalid bulk length"),
        (vec![b'x'; SENT_BYTES], "too big inline request"),
        (
            [b"*99999999\r\n".as_slice(), &vec![b'x'; SENT_BYTES]].concat(),
            "invalid multibulk length",
        ),
    ];
    for (request, error) in refused {
        let mut client = server.client();
        // As redis-cli does: everything is written before anything is read.
        client.send(&request).unwrap();
        let said = client.rest().unwrap();
        assert_eq!(String::from_utf8_lossy(&said), format!("-ERR Protocol error: {error}\r\n"));
    }
    // What came before it on the connection is answered and stands; what came after is not run.
    let mut client = server.client();
    let mut input = encode(&["SET", "before", "1"]);
    input.extend(encode(&[b"SET".as_slice(), b"k", &vec![b'v'; SENT_BYTES]]));
    input.extend(encode(&["SET", "after", "1"]));
    client.send(&input).unwrap();
    assert_eq!(client.reply().unwrap(), Reply::ok());
    assert!(client.reply().unwrap().is_error());
    let mut client = server.client();
    assert_eq!(
        client.say("MGET before k after"),
        Reply::Array(vec![Reply::bulk("1"), Reply::Nil, Reply::Nil,])
    );
}

/// Whoever goes on and on is closed all the same.
#[test]
fn a_refused_client_that_never_ends_is_closed() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options::default());
    let mut client = server.client();
    client.send(b"*1\r\n:1\r\n").unwrap();
    assert!(client.reply().unwrap().is_error());
    let chunk = vec![b'x'; 1 << 20];
    while client.send(&chunk).is_ok() {}
    // One that says nothing more, and does not close, does not hold up the end.
    let mut silent = server.client();
    silent.send(b"*1\r\n:1\r\n").unwrap();
    assert!(silent.reply().unwrap().is_error());
    assert_eq!(server.terminate().code, Some(0));
}
