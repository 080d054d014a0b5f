//! HTTP streaming and server-sent events: the same connection in another framing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::response::{CONNECT, Response};
use crate::rig::{Node, options};

#[test]
fn a_stream_carries_what_a_socket_would() {
    let node = Node::start(1, options());
    let mut client = Response::stream(&node, &format!("{CONNECT}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"a\"}}}}\n"));
    assert!(client.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", client.head);
    assert!(client.head.contains("\r\nContent-Type: application/json\r\n") && client.head.contains("\r\nDate: "));
    assert!(client.head.contains("\r\nX-Accel-Buffering: no\r\n"));
    client.connected();
    assert_eq!(client.message()["subscribe"]["recoverable"], true);
    for n in 0..100 {
        node.publish("a", &n.to_string());
    }
    for n in 0..100 {
        assert_eq!(client.publication(), n);
    }
    client.say(&node, r#"{"id":3,"publish":{"channel":"a","data":"mine"}}"#);
    let (first, second) = (client.message(), client.message());
    let reply = [&first, &second].into_iter().find(|m| m["id"] == 3).expect("a reply");
    assert_eq!(reply["publish"], json!({}));
    assert!([&first, &second].into_iter().any(|m| m["push"]["pub"]["data"] == "mine"));
}

#[test]
fn events_open_by_query_and_by_body() {
    let node = Node::start(1, options());
    let query = "%7B%22id%22:1,%22connect%22:%7B%22name%22:%22a+b%22%7D%7D";
    let mut client = Response::events(&node, query);
    assert!(client.head.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"), "{}", client.head);
    assert_eq!(client.chunk().unwrap(), b":\n\n", "something at once, for readers that open with it");
    client.connected();
    client.subscribe(&node, "a");
    node.publish("a", "1");
    assert_eq!(client.line(), r#"data: {"push":{"channel":"a","pub":{"data":1,"offset":1}}}"#);
    let head =
        format!("POST /connection/sse HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{CONNECT}", CONNECT.len());
    let mut client = Response::ask(TcpStream::connect(node.address).unwrap(), head.as_bytes());
    client.chunk();
    client.connected();
}

#[test]
fn protobuf_streams_are_asked_for_by_type() {
    let node = Node::start(1, options());
    let head = "POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nContent-Length: 16\r\n\r\n";
    let commands = b"\x04\x08\x01\x22\x00\x0a\x08\x02\x2a\x06\x0a\x04news";
    let mut client = Response::ask(TcpStream::connect(node.address).unwrap(), &[head.as_bytes(), commands].concat());
    assert!(client.head.contains("\r\nContent-Type: application/octet-stream\r\n"), "{}", client.head);
    let mut replies = client.chunk().unwrap();
    // Its length takes two bytes, because the answer to connect is padded.
    assert!(replies[0] >= 0x80 && replies[1] < 0x80);
    let first = 2 + usize::from(replies[0] & 0x7f) + (usize::from(replies[1]) << 7);
    if replies.len() == first {
        replies.extend(client.chunk().unwrap());
    }
    assert_eq!(replies[first + 1..first + 4], *b"\x08\x02\x32", "the reply to the subscribe command");
    node.publish("news", "17");
    let push = b"\x10\x22\x0e\x12\x04news\x22\x06\x22\x0217\x30\x01";
    assert_eq!(client.chunk().unwrap(), push);
}

#[test]
fn a_request_that_comes_in_pieces_is_waited_for() {
    let node = Node::start(1, options());
    let mut socket = TcpStream::connect(node.address).unwrap();
    let head = format!("POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", CONNECT.len());
    for byte in head.as_bytes().iter().chain(&CONNECT.as_bytes()[..CONNECT.len() - 1]) {
        socket.write_all(&[*byte]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let mut client = Response::ask(socket, b"}");
    client.connected();
}

#[test]
fn a_disconnect_is_told_and_ends_the_response() {
    let mut settings = options();
    settings.client.ping_interval = Duration::from_millis(300);
    settings.client.pong_timeout = Duration::from_millis(200);
    let node = Node::start(1, settings);
    let mut client = Response::stream(&node, CONNECT);
    client.connected();
    assert_eq!(client.message(), json!({}), "a ping");
    client.say(&node, "{}");
    assert_eq!(client.message(), json!({}), "another, because the pong came");
    let told = client.message();
    assert_eq!(told["push"]["disconnect"]["code"], 3012, "{told}");
    assert_eq!(client.chunk(), None, "the last chunk");
    assert_eq!(client.reader.read(&mut [0]).unwrap(), 0, "and the end of the connection");
    node.until("it is gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
    client.say(&node, CONNECT);
}

#[test]
fn wrong_first_commands_are_told_over_the_stream() {
    let node = Node::start(1, options());
    for (commands, code) in [("{", 3501), ("", 3501), (r#"{"id":1,"subscribe":{"channel":"a"}}"#, 3501)] {
        let mut client = Response::stream(&node, commands);
        assert_eq!(client.message()["push"]["disconnect"]["code"], code, "{commands:?}");
        assert_eq!(client.chunk(), None);
    }
}

#[test]
fn what_is_no_plain_opening_goes_to_the_http_side() {
    let node = Node::start(1, options());
    for (request, taken) in [
        ("GET /connection/http_stream HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("GET /connection/sse HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("OPTIONS /connection/sse HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("POST /connection/sse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("POST /connection/sse HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1", false),
        ("POST /connection/sse HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1", false),
        ("POST /connection/sse HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1", false),
    ] {
        let mut socket = TcpStream::connect(node.address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        node.until(request, |_| !node.handed_over.lock().unwrap().is_empty() || taken);
        let handed = node.handed_over.lock().unwrap().remove(0);
        assert_eq!(handed.head, request.as_bytes());
    }
}

#[test]
fn too_long_or_foreign_openings_are_refused() {
    let mut settings = options();
    settings.client.message_bytes_max = 1_000;
    let node = Node::start(1, settings);
    for (headers, status) in [
        ("Content-Length: 1001\r\n", "413"),
        ("Origin: https://evil.example\r\nContent-Length: 21\r\n", "403"),
        ("Origin: http://a\r\nOrigin: http://a\r\nContent-Length: 21\r\n", "403"),
    ] {
        let request = format!("POST /connection/sse HTTP/1.1\r\nHost: a\r\n{headers}\r\n{CONNECT}");
        let answer = Response::ask(TcpStream::connect(node.address).unwrap(), request.as_bytes());
        assert!(answer.head.starts_with(&format!("HTTP/1.1 {status} ")), "{}", answer.head);
    }
}

#[test]
fn who_is_refused_while_it_sends_reads_why_and_no_error() {
    let node = Node::start(1, options());
    let mut socket = TcpStream::connect(node.address).unwrap();
    let body = "x".repeat(200_000);
    write!(socket, "POST /connection/sse HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    drop(socket);
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
    // Who stays all the same is ended.
    let mut socket = TcpStream::connect(node.address).unwrap();
    socket.write_all(b"no request\r\n\r\n").unwrap();
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn who_is_turned_away_while_it_sends_reads_when_to_come_again() {
    let node = Node::start_with(1, options(), |shards| shards.hand_over = Arc::new(Err));
    let mut socket = TcpStream::connect(node.address).unwrap();
    let head = "POST /api/broadcast HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n";
    socket.write_all(format!("{head}{}", "x".repeat(30_000_000)).as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
    drop(socket);
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn an_opening_in_many_pieces_is_whole_in_the_end() {
    let node = Node::start(1, options());
    let mut socket = TcpStream::connect(node.address).unwrap();
    socket.set_nodelay(true).unwrap();
    let length = 60_000 + CONNECT.len();
    let request = format!(
        "POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}{CONNECT}",
        " ".repeat(60_000)
    );
    request.as_bytes().chunks(37).for_each(|piece| socket.write_all(piece).unwrap());
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_slow_reader_of_a_stream_is_a_cursor_too() {
    let node = Node::start(1, options());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&node.address.into()).unwrap();
    let mut slow = Response::stream_over(socket.into(), CONNECT);
    slow.connected();
    slow.subscribe(&node, "big");
    let payload = |n: usize| format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(2_000));
    for n in 0..2_000 {
        node.publish("big", &payload(n));
    }
    node.until("it is behind", |hub| hub.shard_metrics()[0].behind.get() == 1);
    for n in 0..2_000 {
        assert_eq!(slow.publication()["n"], json!(n));
    }
    node.until("nobody is behind", |hub| hub.shard_metrics()[0].behind.get() == 0);
}

#[test]
fn a_session_that_ended_or_was_never_is_nobodys() {
    let node = Node::start(1, options());
    let mut client = Response::stream(&node, CONNECT);
    client.connected();
    let (name, session) = client.uplink.clone();
    let say = |name: &str, session: &str| node.uplink(name, session, "{}");
    assert!(say("another", &session).is_err(), "an unknown node");
    for unknown in ["", "0", &"0".repeat(32), &"+".repeat(32), &"f".repeat(33)] {
        say(&name, unknown).unwrap();
    }
    drop(client);
    node.until("it is gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
    say(&name, &session).unwrap();
}

#[test]
fn two_who_speak_for_one_session_are_one_client() {
    const EACH: u64 = 50;
    let node = Node::start(1, options());
    let (mut client, mut other) = (Response::stream(&node, CONNECT), Response::stream(&node, CONNECT));
    client.connected();
    other.connected();
    assert_eq!(other.subscribe(&node, "b")["recoverable"], true);
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (client, node) = (&client, &node);
            scope.spawn(move || {
                for id in 1..=EACH {
                    client.say(
                        node,
                        &format!(r#"{{"id":{},"publish":{{"channel":"b","data":1}}}}"#, 100 * (who + 1) + id),
                    );
                }
            });
        }
    });
    // Each is carried out and answered once, in the order of whoever sent it, to the one who hears.
    let mut answered: Vec<u64> = (0..2 * EACH).map(|_| client.message()["id"].as_u64().unwrap()).collect();
    assert!(
        [100, 200].iter().all(|from| answered.iter().filter(|id| **id / 100 == from / 100).is_sorted()),
        "{answered:?}"
    );
    answered.sort_unstable();
    assert_eq!(answered, (101..=100 + EACH).chain(201..=200 + EACH).collect::<Vec<_>>());
    (0..2 * EACH).for_each(|_| assert_eq!(other.publication(), 1));
    // Who connects once more breaks the protocol for both; nobody else notices.
    client.say(&node, CONNECT);
    assert_eq!(client.message()["push"]["disconnect"]["code"], 3501);
    assert_eq!(client.chunk(), None);
    node.publish("b", "2");
    assert_eq!(other.publication(), 2);
}
