//! Clients that ask for much and take little: what they cost stays theirs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tidegate_framing::websocket::{Opcode, write_masked_frame};
use tidegate_testkit::hole_log::HoleLog;
use tidegate_types::limits::SHARD_INBOX_MAX;

use crate::rig::{Client, Heard, Node, options};

#[test]
fn pings_to_a_socket_that_reads_nothing_are_answered_when_it_reads() {
    const PINGS: usize = 200_000;
    let node = Node::start(1, options());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&node.address.into()).unwrap();
    let mut client = Client::over(socket.into());
    let mut pings = Vec::new();
    for n in 0..PINGS {
        write_masked_frame(&mut pings, Opcode::Ping, &n.to_be_bytes()[5..], [1, 2, 3, 4]);
    }
    client.socket.write_all(&pings).unwrap();
    for n in 0..PINGS {
        assert_eq!(client.hear(), Heard::Pong(n.to_be_bytes()[5..].to_vec()));
    }
}

#[test]
fn a_long_request_head_is_refused_however_it_comes() {
    let node = Node::start(1, options());
    let head = format!("GET /sse?channel={} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    for pieces in [head.len(), 5_000] {
        let mut socket = TcpStream::connect(node.address).unwrap();
        head.as_bytes().chunks(pieces).for_each(|piece| socket.write_all(piece).unwrap());
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[test]
fn subscriptions_that_are_given_up_before_they_begin_are_bounded() {
    let log = HoleLog::default();
    log.put("a", "1");
    // Nothing begins: the partition cannot be read to its end.
    log.hold_back(true);
    let node = Node::on_log(&log, options());
    let mut client = node.connect();
    let pair = |n: u64| {
        let subscribe = json!({"id": 2 * n, "subscribe": {"channel": "a"}});
        format!("{subscribe}\n{}", json!({"id": 2 * n + 1, "unsubscribe": {"channel": "a"}}))
    };
    client.say(&(10..310).map(pair).collect::<Vec<_>>().join("\n"));
    let mut refused = 0;
    for n in 10..310 {
        refused += usize::from(client.reply(2 * n)["error"]["code"] == 111);
        client.reply(2 * n + 1);
    }
    assert_eq!(refused, 300 - 64);
    log.hold_back(false);
    let begun = Instant::now();
    let mut id = 1_000;
    while client.subscribe(id, "a", None).is_null() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it may subscribe again");
        id += 1;
    }
}

#[test]
fn what_an_inbox_left_out_reaches_also_a_subscription_that_has_not_begun() {
    // Of "b" nothing is known, so a connect with "a" and "b" waits with "a" at its place.
    let log = HoleLog::with_partitions(2);
    log.put("b", "1");
    log.hold_back_beside("b", true);
    let (busy, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
    let (is_busy, holds) = (busy.clone(), gate.clone());
    let node = Node::on_log_with(&log, options(), move |shards| {
        let (is_busy, holds) = (is_busy.clone(), holds.clone());
        shards.hand_over = Arc::new(move |handed| {
            is_busy.store(true, Relaxed);
            drop(holds.lock());
            Err(handed)
        });
    });
    let mut crowd = node.connect();
    crowd.subscribe(2, "c", None);
    crowd.subscribe(3, "a", None);
    let mut client = Client::open(node.address);
    client.say(r#"{"id":1,"connect":{"subs":{"a":{},"b":{}}}}"#);
    node.until("both are asked for", |hub| hub.partitions().iter().all(|partition| partition.listeners > 0));
    // While the shard is busy more comes than its inbox holds.
    let held = gate.lock().unwrap();
    let mut other = TcpStream::connect(node.address).unwrap();
    other.write_all(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    node.until("busy", |_| busy.load(Relaxed));
    for _ in 0..SHARD_INBOX_MAX {
        log.put("c", "1");
    }
    log.put("a", "1");
    drop(held);
    node.until("something was left out", |hub| hub.shard_metrics()[0].inbox_overflows.get() == 1);
    log.hold_back_beside("b", false);
    assert!(client.reply(1)["connect"]["subs"]["a"].is_object());
    log.put("a", "2");
    assert_eq!((client.publication(), client.publication()), (json!(1), json!(2)));
}
