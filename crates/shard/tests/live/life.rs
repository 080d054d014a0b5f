//! Handshakes, pings, deadlines, draining.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::rig::{Client, Heard, Node, options};
use serde_json::json;
use tidegate_framing::websocket::{Opcode, write_masked_frame};
use tidegate_testkit::hole_log::HoleLog;

fn answer_to(node: &Node, request: &str) -> String {
    let mut socket = TcpStream::connect(node.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

const UPGRADE: &str = "GET /connection/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_refused_handshake_says_why() {
    let node = Node::start(1, options());
    let check = |request: &str, status: &str, text: &str| {
        let answer = answer_to(&node, request);
        assert!(answer.starts_with(status), "{answer}");
        assert!(answer.contains(text), "{answer}");
    };
    check("GET /connection/websocket HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 426", "WebSocket");
    check(&format!("{UPGRADE}Sec-WebSocket-Version: 8\r\n\r\n"), "HTTP/1.1 426", "13");
    check(
        &format!("{UPGRADE}Sec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n\r\n"),
        "HTTP/1.1 403",
        "client.allowed_origins",
    );
    check("NONSENSE\r\n\r\n", "HTTP/1.1 400", "malformed");
    check(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)), "HTTP/1.1 431", "16384");
}

#[test]
fn other_requests_are_handed_over_with_their_bytes() {
    let node = Node::start(1, options());
    let mut socket = TcpStream::connect(node.address).unwrap();
    let request = "POST /api/publish HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    let (head, rest) = request.split_at(20);
    socket.write_all(head.as_bytes()).unwrap();
    node.until("accepted", |hub| hub.shard_metrics()[0].connections.get() == 1);
    socket.write_all(rest.as_bytes()).unwrap();
    node.until("handed over", |_| !node.handed_over.lock().unwrap().is_empty());
    let handed = node.handed_over.lock().unwrap().pop().unwrap();
    assert_eq!(String::from_utf8_lossy(&handed.head), request);
    node.until("forgotten", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn slow_handshakes_and_silent_clients_are_dropped_by_deadline() {
    let mut options = options();
    options.client.stale_close_delay = Duration::from_millis(400);
    let node = Node::start(1, options);
    let mut loris = TcpStream::connect(node.address).unwrap();
    loris.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    loris.write_all(b"GET /conn").unwrap();
    let mut silent = Client::open(node.address);
    let mut good = node.connect();
    assert_eq!(silent.close_code(), 3502);
    assert_eq!(loris.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!(good.subscribe(2, "a", None).is_object(), "who has connected stays");
}

#[test]
fn pings_must_be_answered() {
    let mut options = options();
    options.client.ping_interval = Duration::from_millis(800);
    options.client.pong_timeout = Duration::from_millis(500);
    let node = Node::start(1, options);
    let (mut polite, mut deaf) = (node.connect(), node.connect());
    for _ in 0..3 {
        assert_eq!(polite.message(), serde_json::json!({}));
        polite.say("{}");
    }
    assert_eq!(deaf.close_code(), 3012);
    node.until("counted", |hub| hub.shard_metrics()[0].closed_no_pong.get() == 1);
}

#[test]
fn clients_without_a_library_are_pinged_by_frames() {
    let mut options = options();
    options.client.ping_interval = Duration::from_millis(800);
    options.client.pong_timeout = Duration::from_millis(500);
    let node = Node::start(1, options);
    for target in ["/connection/websocket", "/connection/uni_websocket"] {
        let connect = || {
            let socket = TcpStream::connect(node.address).unwrap();
            let mut client = Client::asking(socket, &format!("{target}?cf_ws_frame_ping_pong=true"), None);
            let one_way = target.contains("uni");
            client.say(if one_way { "{}" } else { r#"{"id":1,"connect":{}}"# });
            let answer = client.message();
            let connect = &answer["connect"];
            assert!(
                connect["client"].is_string() && connect["ping"].is_null() && connect["pong"].is_null(),
                "{answer}"
            );
            client
        };
        let (mut polite, mut deaf) = (connect(), connect());
        for _ in 0..3 {
            assert_eq!(polite.hear(), Heard::Ping);
            // The second was asked for by nobody.
            polite.frame(Opcode::Pong, b"");
            polite.frame(Opcode::Pong, b"");
        }
        assert_eq!(deaf.close_code(), 3012);
    }
}

#[test]
fn close_and_ping_frames_are_answered() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    client.frame(Opcode::Ping, b"are you there");
    assert_eq!(client.hear(), Heard::Pong(b"are you there".to_vec()));
    client.frame(Opcode::Close, &[0x0f, 0xa0]);
    assert_eq!(client.hear(), Heard::Close(4000, String::new()));
    assert_eq!(client.hear(), Heard::End);
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn who_says_something_and_hangs_up_is_gone() {
    let node = Node::start(1, options());
    // Words and end come together more often than not, and nothing is answered that would bring an error later.
    for _ in 0..100 {
        let mut client = node.connect();
        client.frame(Opcode::Pong, b"last words");
        drop(client);
    }
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn nothing_follows_a_close() {
    let node = Node::start(1, options());
    for wrong in [&[0x81u8, 2, b'{', b'}'][..], &[0x82, 0x80, 0, 0, 0, 0]] {
        let mut client = node.connect();
        // An answer is in the making when the framing breaks.
        let mut bytes = Vec::new();
        write_masked_frame(&mut bytes, Opcode::Text, br#"{"id":2,"rpc":{}}"#, [1, 2, 3, 4]);
        bytes.extend_from_slice(wrong);
        client.socket.write_all(&bytes).unwrap();
        assert_eq!(client.message()["id"], 2);
        assert!(matches!(client.hear(), Heard::Close(..)));
        assert_eq!(client.hear(), Heard::End);
    }
}

#[test]
fn a_client_has_its_time_from_when_it_opens() {
    let mut settings = options();
    settings.client.stale_close_delay = Duration::from_secs(6);
    let node = Node::start(1, settings);
    let socket = TcpStream::connect(node.address).unwrap();
    std::thread::sleep(Duration::from_millis(3_500));
    let mut client = Client::over(socket);
    std::thread::sleep(Duration::from_millis(3_500));
    client.say(r#"{"id":1,"connect":{}}"#);
    assert!(client.reply(1)["connect"]["client"].is_string());
}

#[test]
fn draining_closes_everybody_with_3001_and_ends() {
    let mut node = Node::start(2, options());
    let mut clients: Vec<_> = (0..20).map(|_| node.connect()).collect();
    clients[0].subscribe(2, "a", None);
    let shards = node.shards.take().unwrap();
    shards.drain();
    for client in &mut clients {
        assert_eq!(client.close_code(), 3001);
        client.frame(Opcode::Close, &3001u16.to_be_bytes());
    }
    shards.join();
    let report = node.hub.report();
    assert_eq!((report.clients, report.subscriptions, report.channels), (0, 0, 0));
    assert!(TcpStream::connect(node.address).is_err() || answer_is_empty(&node));
}

#[test]
fn shards_drain_at_the_pace_of_the_node_and_whoever_is_left_is_told_too() {
    let mut node = Node::start_with(4, options(), |options| options.drain_per_second = 8);
    let mut clients: Vec<_> = (0..12).map(|_| node.connect()).collect();
    let begun = Instant::now();
    let shards = node.shards.take().unwrap();
    shards.drain();
    let stop = shards.stopper();
    // Two at once, then eight a second.
    node.until("four are closed", |hub| hub.report().clients <= 8);
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_millis(200), "{elapsed:?}");
    stop.stop();
    shards.join();
    clients.iter_mut().for_each(|client| assert_eq!(client.close_code(), 3001));
}

/// The listener is closed with its last shard; until the kernel has done so a connect may still get through.
fn answer_is_empty(node: &Node) -> bool {
    TcpStream::connect(node.address).map(|mut s| s.read(&mut [0; 1]).unwrap_or(0) == 0).unwrap_or(true)
}

/// A client that has asked for a subscription which waits for the tail.
fn waiting(log: &HoleLog) -> (Node, Client) {
    log.put("job", "1");
    log.hold_back(true);
    let node = Node::on_log(log, options());
    let mut client = node.connect();
    client.say(r#"{"id":2,"subscribe":{"channel":"job"}}"#);
    (node, client)
}

#[test]
fn a_subscription_that_waits_when_its_log_is_made_anew_is_refused_and_can_be_tried_again() {
    let log = HoleLog::default();
    let (_node, mut client) = waiting(&log);
    client.say(r#"{"id":3,"ping":{}}"#);
    assert_eq!(client.message()["id"], 3, "the subscription waits for the tail");
    log.recreate();
    let refused = client.reply(2);
    assert_eq!((&refused["error"]["code"], &refused["error"]["temporary"]), (&json!(100), &json!(true)));
    log.hold_back(false);
    assert_eq!(client.subscribe(4, "job", None)["epoch"], "1");
    log.put("job", "2");
    assert_eq!(client.publication(), 2);
}

#[test]
fn who_unsubscribes_from_what_has_not_begun_gets_both_answers() {
    let log = HoleLog::default();
    let (_node, mut client) = waiting(&log);
    client.say(r#"{"id":3,"unsubscribe":{"channel":"job"}}"#);
    assert_eq!(client.reply(2)["error"]["code"], 100);
    assert!(client.reply(3)["unsubscribe"].is_object());
    log.hold_back(false);
    assert!(client.subscribe(4, "job", None).is_object());
}
