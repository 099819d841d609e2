//! Publish and subscribe, over several cores: connections are dealt to the cores in turn.

use std::io::Read;

use crate::common::{Client, Options, Peer, Reply, Server, encode, transcript};

fn started() -> Server {
    Server::start(&Options { shards: Some(4), memtable: Some("16MB"), ..Options::default() })
}

/// Reads exactly so many bytes; nothing was read beyond the last reply.
fn said(client: &Client, len: usize) -> String {
    let mut bytes = vec![0; len];
    let mut stream = client.stream();
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Waits for these very bytes.
fn hear(client: &Client, wanted: &str) {
    let wanted = wanted.replace('|', "\r\n");
    assert_eq!(said(client, wanted.len()), wanted);
}

fn message(channel: &str, text: &str) -> Reply {
    Reply::Array(["message", channel, text].map(Reply::bulk).to_vec())
}

fn confirmed(verb: &str, name: &str, left: i64) -> Reply {
    Reply::Array(vec![Reply::bulk(verb), Reply::bulk(name), Reply::Integer(left)])
}

#[test]
fn a_message_reaches_the_subscribers_of_all_cores() {
    let server = started();
    let mut listeners: Vec<Client> = (0..12).map(|_| server.client()).collect();
    for (index, client) in listeners.iter_mut().enumerate() {
        assert_eq!(client.say("SUBSCRIBE news"), confirmed("subscribe", "news", 1));
        if index % 3 == 0 {
            assert_eq!(client.say("PSUBSCRIBE n[a-f]*"), confirmed("psubscribe", "n[a-f]*", 2));
        }
    }
    // From each core in turn.
    for round in 0..8 {
        let mut publisher = server.client();
        let text = format!("text {round}");
        assert_eq!(publisher.command(&["PUBLISH", "news", &text]), Reply::Integer(16));
        assert_eq!(publisher.command(&["PUBLISH", "none", &text]), Reply::Integer(0));
        assert_eq!(publisher.command(&["SPUBLISH", "news", &text]), Reply::Integer(0));
        for (index, client) in listeners.iter_mut().enumerate() {
            assert_eq!(client.reply().unwrap(), message("news", &text));
            if index % 3 == 0 {
                let wanted = ["pmessage", "n[a-f]*", "news", &text].map(Reply::bulk);
                assert_eq!(client.reply().unwrap(), Reply::Array(wanted.to_vec()));
            }
        }
        let names = |names: &[&str]| Reply::Array(names.iter().map(Reply::bulk).collect());
        assert_eq!(publisher.say("PUBSUB CHANNELS"), names(&["news"]));
        assert_eq!(publisher.say("PUBSUB CHANNELS x*"), names(&[]));
        assert_eq!(publisher.say("PUBSUB NUMPAT"), Reply::Integer(1));
        // Once for each core that has a listener.
        let info = publisher.say("INFO stats").text();
        assert!(info.contains("pubsub_channels:4\r\n"), "{info}");
        let counts =
            vec![Reply::bulk("news"), Reply::Integer(12), Reply::bulk("none"), Reply::Integer(0)];
        assert_eq!(publisher.say("PUBSUB NUMSUB news none"), Reply::Array(counts));
    }
    drop(listeners);
    let mut publisher = server.client();
    for _ in 0..500 {
        if publisher.say("PUBLISH news gone") == Reply::Integer(0) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("connections that are gone are still counted");
}

/// Pipelines of messages, writes between them: one order, whoever listens where.
#[test]
fn the_messages_of_one_publisher_arrive_in_order() {
    const MESSAGES: usize = 3_000;
    for sync in ["always", "everysec"] {
        let options = Options { shards: Some(4), sync: Some(sync), ..Options::default() };
        let server = Server::start(&options);
        let mut listeners: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for client in &mut listeners {
            client.say("SUBSCRIBE a b");
            client.reply().unwrap();
        }
        let mut publisher = server.client();
        let mut pipeline = Vec::new();
        for index in 0..MESSAGES {
            let channel = if index % 2 == 0 { "a" } else { "b" };
            pipeline.extend(encode(&["PUBLISH", channel, &index.to_string()]));
            if index % 7 == 0 {
                pipeline.extend(encode(&["SET", &format!("key:{index}"), "1"]));
                pipeline.extend(encode(&["GET", &format!("key:{index}")]));
            }
        }
        publisher.send(&pipeline).unwrap();
        for index in 0..MESSAGES {
            assert_eq!(publisher.reply().unwrap(), Reply::Integer(8));
            if index % 7 == 0 {
                assert_eq!(publisher.reply().unwrap(), Reply::ok());
                assert_eq!(publisher.reply().unwrap(), Reply::bulk("1"));
            }
        }
        for client in &mut listeners {
            for index in 0..MESSAGES {
                let channel = if index % 2 == 0 { "a" } else { "b" };
                assert_eq!(client.reply().unwrap(), message(channel, &index.to_string()));
            }
        }
    }
}

/// What a message tells of has happened, whichever shard it is on.
#[test]
fn what_was_written_before_a_message_is_seen_after_it() {
    let server = started();
    let mut listener = server.client();
    listener.say("SUBSCRIBE told");
    let mut reader = server.client();
    let mut publisher = server.client();
    for index in 0..300 {
        let key = format!("key:{index}");
        let mut pipeline = encode(&["SET", &key, "new"]);
        pipeline.extend(encode(&["PUBLISH", "told", &key]));
        publisher.send(&pipeline).unwrap();
        assert_eq!(listener.reply().unwrap(), message("told", &key));
        assert_eq!(reader.command(&["GET", &key]), Reply::bulk("new"));
        assert_eq!(publisher.reply().unwrap(), Reply::ok());
        assert_eq!(publisher.reply().unwrap(), Reply::Integer(1));
    }
}

/// In RESP3 a message is a push: it stands between replies, and its reader may ask what it likes.
#[test]
fn a_subscriber_in_resp3_may_send_any_command() {
    let server = started();
    let hello = "%7|$6|server|$5|redis|$7|version|$5|7.4.0|$5|proto|:3|$2|id|:";
    let mut client = server.client();
    client.send(&encode(&["HELLO", "3"])).unwrap();
    hear(&client, hello);
    let mut byte = String::new();
    while !byte.ends_with("modules\r\n*0\r\n") {
        byte.push_str(&said(&client, 1));
    }
    client.send(&encode(&["SUBSCRIBE", "a", "b"])).unwrap();
    hear(&client, ">3|$9|subscribe|$1|a|:1|>3|$9|subscribe|$1|b|:2|");
    client.send(&encode(&["PUBLISH", "a", "hi"])).unwrap();
    hear(&client, ">3|$7|message|$1|a|$2|hi|:1|");
    client.send(&encode(&["GET", "none"])).unwrap();
    hear(&client, "_|");
    // A reply that waits for another shard or for the log is not split by what is published meanwhile.
    let mut publisher = server.client();
    for index in 0..200 {
        client.send(&encode(&["MSET", &format!("k{index}"), "1", "other", "2"])).unwrap();
        assert_eq!(publisher.say("PUBLISH b x"), Reply::Integer(1));
        let push = ">3|$7|message|$1|b|$1|x|".replace('|', "\r\n");
        let both = said(&client, push.len() + 5);
        assert!(both == format!("{push}+OK\r\n") || both == format!("+OK\r\n{push}"), "{both:?}");
    }
    client.send(&encode(&["UNSUBSCRIBE", "a"])).unwrap();
    hear(&client, ">3|$11|unsubscribe|$1|a|:1|");
    client.send(&encode(&["RESET"])).unwrap();
    hear(&client, "+RESET|");
    assert_eq!(publisher.say("PUBLISH b x"), Reply::Integer(0));
}

/// Byte for byte what redis-server says.
#[test]
fn a_subscriber_is_answered_as_by_redis() {
    let Some(peer) = Peer::start() else { return };
    let server = started();
    for lines in [
        "SUBSCRIBE a b a|PSUBSCRIBE p*|UNSUBSCRIBE b|UNSUBSCRIBE x|PING|PING x|PING x y|GET a|CLIENT ID|INFO|HELLO 3",
        "UNSUBSCRIBE|PUNSUBSCRIBE|SUNSUBSCRIBE|UNSUBSCRIBE nothing",
        "SUBSCRIBE a|UNSUBSCRIBE|PING|UNSUBSCRIBE|SUBSCRIBE|PUBLISH a|PUBLISH a b c",
        "SSUBSCRIBE s1 s2|SUBSCRIBE a|SUNSUBSCRIBE s1|SPUBLISH s2 x|PUBLISH a y",
        "SUBSCRIBE a|RESET|GET a|PING",
        "SUBSCRIBE a|QUIT|PING",
        "SUBSCRIBE a|nosuch b|SUBSCRIBE b",
        "PUBSUB CHANNELS|PUBSUB NUMSUB|PUBSUB NUMSUB a b|PUBSUB NUMPAT|PUBSUB SHARDCHANNELS|PUBSUB SHARDNUMSUB a",
        "PUBSUB foo|PUBSUB|PUBSUB NUMPAT x|PUBLISH a b|SPUBLISH a b",
    ] {
        let pieces: Vec<Vec<u8>> =
            lines.split('|').map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let [ours, theirs] = [server.port(), peer.port()]
            .map(|port| String::from_utf8(transcript(port, &pieces).unwrap()).unwrap());
        assert_eq!(ours, theirs, "{lines}");
        let one = [pieces.concat()];
        let whole = transcript(server.port(), &[one[0].as_slice()]).unwrap();
        assert_eq!(String::from_utf8(whole).unwrap(), theirs, "in one piece: {lines}");
    }
}

/// Who does not read is closed, and nobody else notices.
#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    let server = started();
    let mut slow = server.client();
    slow.say("SUBSCRIBE flood");
    let mut quick: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut quick {
        client.say("SUBSCRIBE flood");
    }
    let mut publisher = server.client();
    let text = "x".repeat(1 << 20);
    let mut counts = Vec::new();
    for _ in 0..60 {
        counts.push(publisher.command(&["PUBLISH", "flood", &text]));
        for client in &mut quick {
            assert_eq!(client.reply().unwrap(), message("flood", &text));
        }
    }
    assert_eq!(counts[0], Reply::Integer(4));
    assert_eq!(counts[59], Reply::Integer(3), "it is gone");
    assert!(slow.rest().unwrap().len() < 60 << 20);
    let told = server.stderr().matches("it does not read what it listens to").count();
    assert_eq!(told, 1, "{}", server.stderr());
}

#[test]
fn names_are_bounded() {
    let server = started();
    let mut client = server.client();
    let limit = 64 << 10;
    let name = "n".repeat(limit + 1);
    let error = client.command(&["SUBSCRIBE", &name]).text();
    assert_eq!(error, "ERR a channel's name is 65537 bytes long, the limit is 65536");
    let error = client.command(&["PUBLISH", &name, "x"]).text();
    assert_eq!(error, "ERR a channel's name is 65537 bytes long, the limit is 65536");
    assert!(!client.command(&["SUBSCRIBE", &name[..limit]]).is_error());
    let error = client.command(&["PSUBSCRIBE", "ok", &"p".repeat(1025)]).text();
    assert_eq!(error, "ERR a pattern is 1025 bytes long, the limit is 1024");
    let mut many = vec!["SUBSCRIBE".to_owned()];
    many.extend((0..limit).map(|index| index.to_string()));
    assert!(client.command(&many).text().starts_with("ERR a connection listens to at most 65536"));
    // Nothing of what was refused was taken.
    assert_eq!(client.command(&["UNSUBSCRIBE"]), confirmed("unsubscribe", &name[..limit], 0));
    many.truncate(limit);
    client.send(&encode(&many)).unwrap();
    for index in 1..limit {
        let Reply::Array(parts) = client.reply().unwrap() else { panic!("a confirmation") };
        assert_eq!(parts[2], Reply::Integer(i64::try_from(index).unwrap()));
    }
    drop(client);
    let mut other = server.client();
    assert_eq!(other.say("PING").text(), "PONG");
}
