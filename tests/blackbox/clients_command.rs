//! CLIENT: what operators see of connections, and do to them, on all cores at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::common::{Client, Options, Peer, Reply, Server, encode, transcript};

fn started() -> Server {
    Server::start(&Options { shards: Some(4), memtable: Some("16MB"), ..Options::default() })
}

fn id(client: &mut Client) -> i64 {
    match client.say("CLIENT ID") {
        Reply::Integer(id) => id,
        other => panic!("{other:?}"),
    }
}

/// The lines of CLIENT LIST as maps.
fn listed(text: &str) -> Vec<HashMap<String, String>> {
    let fields = |line: &str| {
        let pairs = line.split(' ').map(|field| field.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    text.lines().map(fields).collect()
}

fn names(text: &str) -> Vec<&str> {
    text.lines().next().unwrap().split(' ').map(|it| it.split('=').next().unwrap()).collect()
}

#[test]
fn the_list_has_all_connections_and_the_fields_of_redis() {
    let server = started();
    let mut clients: Vec<Client> = (0..9).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.say(&format!("CLIENT SETNAME client-{index}"));
    }
    clients[3].say("SUBSCRIBE a b");
    clients[3].reply().unwrap();
    clients[3].say("PSUBSCRIBE p*");
    clients[4].say("CLIENT NO-EVICT on");
    clients[4].say("GET x");
    let text = clients[0].say("CLIENT LIST").text();
    let lines = listed(&text);
    assert_eq!(lines.len(), 9, "{text}");
    let ids: Vec<u64> = lines.iter().map(|line| line["id"].parse().unwrap()).collect();
    assert!(ids.is_sorted());
    let of =
        |index: usize| lines.iter().find(|it| it["name"] == format!("client-{index}")).unwrap();
    assert_eq!((&*of(3)["flags"], &*of(3)["sub"], &*of(3)["psub"]), ("P", "2", "1"));
    assert_eq!((&*of(4)["flags"], &*of(4)["cmd"]), ("e", "get"));
    assert_eq!((&*of(0)["flags"], &*of(0)["cmd"]), ("N", "client|list"));
    assert_eq!(of(2)["laddr"], format!("127.0.0.1:{}", server.port()));
    let pubsub = clients[1].say("CLIENT LIST TYPE pubsub").text();
    assert_eq!(listed(&pubsub)[0]["name"], "client-3");
    let two = format!("CLIENT LIST ID {} {} 999999", ids[5], ids[2]);
    let two = listed(&clients[1].say(&two).text());
    assert_eq!(
        two.iter().map(|it| it["id"].parse().unwrap()).collect::<Vec<u64>>(),
        [ids[2], ids[5]]
    );
    let own = clients[7].say("CLIENT INFO").text();
    assert_eq!(listed(&own)[0]["name"], "client-7");
    if let Some(peer) = Peer::start() {
        let theirs = Client::connect(peer.port()).unwrap().say("CLIENT LIST").text();
        let mut wanted = names(&theirs);
        wanted.extend(["lib-name", "lib-ver"]);
        assert_eq!(names(&text), wanted);
    }
}

fn is_closed(client: &mut Client) -> bool {
    client.try_command(&["PING"]).is_err()
}

#[test]
fn kill_closes_those_that_are_meant_on_every_core() {
    let server = started();
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let mut operator = server.client();
    clients[1].say("SUBSCRIBE a");
    clients[6].say("SUBSCRIBE a");
    assert_eq!(operator.say("CLIENT KILL TYPE pubsub"), Reply::Integer(2));
    assert!(is_closed(&mut clients[1]) && is_closed(&mut clients[6]));
    let third = id(&mut clients[3]);
    assert_eq!(operator.say(&format!("CLIENT KILL ID {third}")), Reply::Integer(1));
    assert_eq!(operator.say(&format!("CLIENT KILL ID {third}")), Reply::Integer(0));
    assert!(is_closed(&mut clients[3]));
    let address = |client: &Client| client.stream().local_addr().unwrap().to_string();
    let second = address(&clients[2]);
    assert_eq!(operator.command(&["CLIENT", "KILL", &second]), Reply::ok());
    let error = operator.command(&["CLIENT", "KILL", &second]).text();
    assert_eq!(error, "ERR No such client");
    assert!(is_closed(&mut clients[2]));
    // Itself, when asked to: with the reply.
    let own = id(&mut operator);
    assert_eq!(operator.say(&format!("CLIENT KILL ID {own}")), Reply::Integer(0));
    let laddr = format!("127.0.0.1:{}", server.port());
    let all = operator.command(&["CLIENT", "KILL", "LADDR", &laddr, "SKIPME", "no"]);
    assert_eq!(all, Reply::Integer(5));
    assert!(is_closed(&mut operator) && is_closed(&mut clients[0]));
    assert_eq!(listed(&server.client().say("CLIENT LIST").text()).len(), 1);
}

#[test]
fn a_pause_holds_commands_back_on_every_core() {
    let server = started();
    let mut operator = server.client();
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    assert_eq!(operator.say("CLIENT PAUSE 60000 WRITE"), Reply::ok());
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.say("GET a"), Reply::Nil);
        client.send(&encode(&["SET", &format!("a{index}"), "1"])).unwrap();
        client.send(&encode(&["GET", &format!("a{index}")])).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(operator.say("MGET a0 a1 a2 a3 a4 a5"), Reply::Array(vec![Reply::Nil; 6]));
    assert_eq!(operator.say("CLIENT UNPAUSE"), Reply::ok());
    for client in &mut clients {
        assert_eq!(client.reply().unwrap(), Reply::ok());
        assert_eq!(client.reply().unwrap(), Reply::bulk("1"));
    }
    // All commands, until the time is up.
    let began = Instant::now();
    assert_eq!(operator.say("CLIENT PAUSE 300"), Reply::ok());
    for client in &mut clients {
        assert_eq!(client.say("PING").text(), "PONG");
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
    // A server that stops lets go of whom it holds back.
    assert_eq!(operator.say("CLIENT PAUSE 60000"), Reply::ok());
    clients[0].send(&encode(&["SET", "last", "1"])).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let mut server = server;
    let began = Instant::now();
    server.terminate();
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(clients[0].reply().unwrap(), Reply::ok());
}

/// Byte for byte what redis-server says.
#[test]
fn client_is_answered_as_by_redis() {
    let Some(peer) = Peer::start() else { return };
    let server = started();
    for lines in [
        "CLIENT REPLY OFF|PING|GET a|nosuch|CLIENT REPLY ON|PING",
        "CLIENT REPLY SKIP|PING|ECHO 1|CLIENT REPLY SKIP|CLIENT REPLY SKIP|ECHO 2|ECHO 3",
        "CLIENT REPLY SKIP|SUBSCRIBE a|PING|CLIENT REPLY OFF|CLIENT REPLY ON",
        "CLIENT REPLY OFF|SUBSCRIBE a|RESET|PING",
        "CLIENT REPLY OFF|PING|RESET|PING",
        "CLIENT REPLY SKIP|RESET|PING",
        "CLIENT REPLY x|CLIENT REPLY|CLIENT REPLY SKIP|CLIENT REPLY x|ECHO 1",
        "CLIENT KILL|CLIENT KILL 1.2.3.4:5|CLIENT KILL ID 9999|CLIENT KILL ID x|CLIENT KILL ID 0|CLIENT KILL ID",
        "CLIENT KILL foo bar|CLIENT KILL TYPE bad|CLIENT KILL TYPE master|CLIENT KILL ID 1 ADDR|CLIENT KILL USER none",
        "CLIENT KILL TYPE pubsub SKIPME x|CLIENT KILL ADDR 1.1.1.1:1 ID 3|CLIENT KILL LADDR 1:1|CLIENT KILL SKIPME",
        "CLIENT KILL SKIPME no|PING",
        "CLIENT LIST TYPE foo|CLIENT LIST ID|CLIENT LIST ID x|CLIENT LIST foo|CLIENT LIST ID 99999|CLIENT LIST ID 0",
        "CLIENT LIST TYPE pubsub|CLIENT LIST TYPE replica|CLIENT LIST TYPE|CLIENT LIST TYPE normal x",
        "CLIENT PAUSE x|CLIENT PAUSE -1|CLIENT PAUSE 10 foo|CLIENT PAUSE|CLIENT PAUSE 0|CLIENT UNPAUSE x|CLIENT UNPAUSE",
        "CLIENT NO-EVICT x|CLIENT NO-EVICT|CLIENT NO-EVICT on|CLIENT NO-EVICT OFF",
        "CLIENT TRACKING x|CLIENT TRACKING|CLIENT TRACKING off|CLIENT TRACKING OFF foo|CLIENT TRACKINGINFO|CLIENT GETREDIR",
        "CLIENT CACHING yes|CLIENT CACHING x|CLIENT CACHING|CLIENT UNBLOCK 9999|CLIENT UNBLOCK x|CLIENT UNBLOCK",
        "CLIENT UNBLOCK 1 foo|CLIENT UNBLOCK 9999 ERROR|CLIENT UNBLOCK 9999 timeout|CLIENT UNBLOCK 1 TIMEOUT x",
        "CLIENT MAINT_NOTIFICATIONS ON|CLIENT foo|CLIENT",
    ] {
        let pieces: Vec<Vec<u8>> =
            lines.split('|').map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let [ours, theirs] = [server.port(), peer.port()]
            .map(|port| String::from_utf8(transcript(port, &pieces).unwrap()).unwrap());
        assert_eq!(ours, theirs, "{lines}");
        let one = pieces.concat();
        let whole = transcript(server.port(), &[one.as_slice()]).unwrap();
        assert_eq!(String::from_utf8(whole).unwrap(), theirs, "in one piece: {lines}");
    }
    let mut client = server.client();
    assert!(client.say("CLIENT TRACKING on").is_error());
    assert_eq!(client.say("CLIENT NO-TOUCH on"), Reply::ok());
}
