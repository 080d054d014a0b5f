//! How many connections, and clients that take nothing.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tidegate_server::http::BODIES_MAX;

use crate::rig::{Answer, Connection, Node, handshake};

#[tokio::test]
async fn past_the_bound_of_connections_tls_offers_http_1_and_others_are_told_to_go() {
    let node = Node::start(true, "[http2]\nconnections_max = 1\n");
    let first = Connection::open(&node).await;
    let offered: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let chosen = async || {
        let socket = tokio::net::TcpStream::connect(&node.address).await.unwrap();
        handshake(socket, &offered).await.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    };
    let begun = std::time::Instant::now();
    while chosen().await.as_deref() != Some(b"http/1.1") {
        assert!(begun.elapsed() < crate::rig::DEADLINE, "it was not counted");
    }
    drop(first.ended().await);
    while chosen().await.as_deref() != Some(b"h2") {
        assert!(begun.elapsed() < crate::rig::DEADLINE, "its place was not given back");
    }
    let node = Node::start(false, "[http2]\nconnections_max = 1\n");
    let mut first = Connection::open(&node).await;
    assert_eq!(first.get("/health").await.status, 200);
    let second = Connection::open(&node).await;
    assert!(second.ended().await.is_ok(), "a GOAWAY without an error");
    assert_eq!(node.metric("tidegate_http2_connections"), 1);
    assert_eq!(first.get("/health").await.status, 200);
}

#[tokio::test]
async fn where_it_is_off_it_is_not_spoken() {
    let node = Node::start(true, "[http2]\nenabled = false\n");
    let socket = tokio::net::TcpStream::connect(&node.address).await.unwrap();
    let tls = handshake(socket, &[b"h2", b"http/1.1"]).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_client_keeps_streams_back_that_are_too_many() {
    let node = Node::start(false, "[http2]\nstreams_per_connection_max = 2\n");
    let mut connection = Connection::open(&node).await;
    let (mut one, two) = (connection.listen("news").await, connection.listen("news").await);
    let third = connection.begin(Method::GET, "/sse?channel=news", &[], "").await.unwrap();
    node.publish("news", 0..1, 0).await;
    assert_eq!(one.number().await, 0);
    assert_eq!(node.metric("tidegate_clients"), 2);
    drop(two);
    assert_eq!(crate::rig::Answer::of(third).await.status, 200);
}

#[tokio::test]
async fn bodies_that_do_not_come_leave_room_for_others() {
    const STREAMS: usize = 64;
    let node = Node::start(false, "");
    let mut connections = Vec::new();
    let mut held: Vec<(_, h2::SendStream<bytes::Bytes>)> = Vec::new();
    for path in ["/emulation", "/connection/http_stream"].iter().cycle().take(BODIES_MAX / STREAMS + 1) {
        let mut connection = Connection::open(&node).await;
        // None of them is given up before all are there.
        held.iter_mut().for_each(|(_, sending)| drop(sending.send_data(" ".into(), false)));
        for _ in 0..STREAMS {
            held.push(connection.begin_body(path, "{").await.unwrap());
        }
        // Answered after what was sent before it has come.
        assert_eq!(connection.get("/health").await.status, 200);
        connections.push(connection);
    }
    let mut other = Connection::open(&node).await;
    for path in ["/emulation", "/connection/http_stream"] {
        let (pending, _sending) = other.begin_body(path, "{").await.unwrap();
        let mut refused = Answer::of(pending).await;
        assert_eq!(refused.status, 503, "{path}");
        assert_eq!(refused.headers["retry-after"], "1");
        assert!(refused.rest().await.unwrap().contains("too many bodies"));
    }
    assert_eq!(other.get("/health").await.status, 200);
    assert_eq!(other.get("/ready").await.status, 200);
    // Backends have places of their own.
    let (pending, mut sending) = other.begin_body("/api/info", "{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sending.send_data("}".into(), true).unwrap();
    assert_eq!(Answer::of(pending).await.status, 200);
    let mut waited_for = 0;
    for (pending, _sending) in held {
        match Answer::of(pending).await.status.as_u16() {
            408 => waited_for += 1,
            status => assert_eq!(status, 503),
        }
    }
    assert!(waited_for >= BODIES_MAX, "{waited_for}");
    assert_eq!(other.post("/emulation", "no commands").await.0, 400);
}

const PUBLICATIONS: usize = 10_000;
/// The publications themselves, which the window and the memory log keep, are 5 MiB; 20 streams that queued would be 40.
const GROWTH_KIB: u64 = 20 << 10;

#[tokio::test]
async fn readers_who_take_nothing_cost_nothing_and_miss_nothing() {
    let node = Node::start(false, "");
    let mut slow = Connection::wide(&node).await;
    let mut quick = Connection::open(&node).await;
    let mut slow_streams = Vec::new();
    for _ in 0..20 {
        slow_streams.push(slow.listen("news").await);
    }
    let mut stream = quick.listen("news").await;
    node.publish("news", 0..1, 100).await;
    assert_eq!(stream.number().await, 0);
    let before = node.rss_kib();
    tokio::join!(node.publish("news", 1..PUBLICATIONS, 100), async {
        for n in 1..PUBLICATIONS {
            assert_eq!(stream.number().await, n);
        }
    });
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "it grew by {grown} KiB");
    assert_eq!(node.metric("tidegate_behind"), 20);
    for stream in &mut slow_streams {
        for n in 0..PUBLICATIONS {
            assert_eq!(stream.number().await, n);
        }
    }
    assert_eq!(node.metric("tidegate_clients"), 21);
    node.until("tidegate_behind", 0).await;
}

#[tokio::test]
async fn a_reader_whose_namespace_disconnects_the_slow_is_told() {
    let node = Node::start(false, "on_lag = \"disconnect\"\n");
    let mut connection = Connection::wide(&node).await;
    let mut slow = connection.listen("news").await;
    node.publish("news", 0..3_000, 100).await;
    node.until("tidegate_closed_slow_total", 1).await;
    let text = slow.rest().await.unwrap();
    assert!(text.contains(r#""disconnect":{"code":3008"#), "{}", &text[text.len().saturating_sub(300)..]);
}

#[tokio::test]
async fn streams_that_nobody_takes_are_reset_and_the_connection_goes_on() {
    let node = Node::start(false, "[client]\nwrite_stall_max = \"1s\"\n");
    let mut connection = Connection::wide(&node).await;
    let mut quick = connection.listen("other").await;
    let mut stream = connection.listen("news").await;
    node.publish("news", 0..1_000, 1_000).await;
    let request = json!({"channel": "news", "limit": 300}).to_string();
    let mut answer = connection.ask(Method::POST, "/api/history", &[], &request).await;
    assert_eq!(answer.status, 200);
    node.until("tidegate_clients", 1).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for unread in [&mut stream, &mut answer] {
        let error = unread.rest().await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    }
    node.publish("other", 0..1, 0).await;
    assert_eq!(quick.number().await, 0);
}
