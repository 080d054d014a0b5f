//! Readers that do not keep up: bounded, in order, and nobody else's problem.

use std::collections::HashMap;
use std::time::Duration;

use crate::rig::{Client, Node, open_namespace, options};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tidegate_core::config::{NamespaceOptions, OnLag};
use tidegate_testkit::hole_log::HoleLog;
use tidegate_types::limits::SLOW_AFTER;

/// A client whose kernel takes next to nothing, so that it lags soon.
fn lazy(node: &Node) -> Client {
    with_buffer(node, 4 << 10)
}

/// A client for whom the kernel keeps so many bytes.
pub(crate) fn with_buffer(node: &Node, bytes: usize) -> Client {
    let mut client = unconnected(node, bytes);
    client.say(r#"{"id":1,"connect":{}}"#);
    client.reply(1);
    client
}

fn unconnected(node: &Node, bytes: usize) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    socket.connect(&node.address.into()).unwrap();
    Client::over(socket.into())
}

fn payload(n: usize) -> String {
    format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(2_000))
}

fn check_all(client: &mut Client, count: usize) {
    for n in 0..count {
        assert_eq!(client.publication()["n"], json!(n));
    }
}

#[test]
fn a_reader_that_pauses_gets_everything_in_order_afterwards() {
    let node = Node::start(1, options());
    let (mut slow, mut fast) = (lazy(&node), node.connect());
    slow.subscribe(2, "big", None);
    fast.subscribe(2, "big", None);
    for n in 0..2_000 {
        node.publish("big", &payload(n));
    }
    check_all(&mut fast, 2_000);
    node.until("the slow one is behind", |hub| hub.shard_metrics()[0].behind.get() == 1);
    check_all(&mut slow, 2_000);
    node.until("nobody is behind", |hub| hub.shard_metrics()[0].behind.get() == 0);
    node.publish("big", &payload(7));
    assert_eq!(slow.publication()["n"], 7);
}

#[test]
fn what_the_window_no_longer_holds_comes_from_the_log() {
    let mut options = options();
    options.window.payload_bytes_max = 100_000;
    let node = Node::start(1, options);
    let mut slow = lazy(&node);
    slow.subscribe(2, "big", None);
    for n in 0..2_000 {
        node.publish("big", &payload(n));
    }
    check_all(&mut slow, 2_000);
    assert!(node.hub.metrics().log_reads.get() > 0);
}

#[test]
fn what_nobody_holds_any_more_is_told_as_insufficient_state() {
    let mut options = options();
    options.window.payload_bytes_max = 50_000;
    options.default_namespace.as_mut().unwrap().history_size = 20;
    let node = Node::start(1, options);
    let mut slow = lazy(&node);
    slow.subscribe(2, "big", None);
    for n in 0..3_000 {
        node.publish("big", &payload(n));
    }
    let mut expected = 0;
    loop {
        let message = slow.message();
        match message["push"]["pub"]["data"]["n"].as_u64() {
            Some(n) => {
                assert_eq!(n, expected, "no hole before it is told");
                expected += 1;
            }
            None => {
                assert_eq!(message["push"]["unsubscribe"]["code"], 2500, "{message}");
                break;
            }
        }
    }
    assert!(expected < 3_000);
}

/// A node whose channels `strict:...` disconnect who lags.
fn with_a_strict_namespace() -> Node {
    let strict = NamespaceOptions { on_lag: OnLag::Disconnect, ..open_namespace() };
    let mut options = options();
    options.namespaces = vec![("strict".into(), strict)];
    Node::start(1, options)
}

#[test]
fn a_namespace_may_disconnect_slow_readers() {
    let node = with_a_strict_namespace();
    let (mut slow, mut fast) = (lazy(&node), node.connect());
    slow.subscribe(2, "strict:a", None);
    fast.subscribe(2, "strict:a", None);
    for n in 0..2_000 {
        node.publish("strict:a", &payload(n));
        if n % 100 == 99 {
            (n - 99..=n).for_each(|n| assert_eq!(fast.publication()["n"], json!(n)));
        }
    }
    node.until("the slow one is closed", |hub| hub.shard_metrics()[0].closed_slow.get() == 1);
    assert_eq!(slow.close_code(), 3008);
}

#[test]
fn who_lags_is_disconnected_where_its_namespace_says_so_whatever_blocked_its_socket() {
    let node = with_a_strict_namespace();
    let mut slow = lazy(&node);
    slow.subscribe(2, "strict:a", None);
    slow.subscribe(3, "big", None);
    (0..2_000).for_each(|n| drop(node.publish("big", &payload(n))));
    node.until("it is behind", |hub| hub.shard_metrics()[0].behind.get() == 1);
    node.publish("strict:a", "1");
    node.until("it is closed", |hub| hub.shard_metrics()[0].closed_slow.get() == 1);
}

#[test]
fn who_is_given_what_it_missed_does_not_lag() {
    let node = with_a_strict_namespace();
    let channels = ["strict:a", "strict:b", "strict:c"];
    channels.iter().for_each(|channel| (0..250).for_each(|n| drop(node.publish(channel, &payload(n)))));
    let mut slow = unconnected(&node, 4 << 10);
    // An answer has room for two of them.
    let since = json!({"recover": true, "offset": 0, "epoch": ""});
    slow.say(&json!({"id": 1, "connect": {"subs": channels.map(|channel| (channel, &since)).into_iter().collect::<HashMap<_, _>>()}}).to_string());
    let connect = slow.reply(1);
    let subs = channels.map(|channel| &connect["connect"]["subs"][channel]);
    assert!(subs.iter().all(|sub| sub["recovered"] == true), "{subs:?}");
    assert_eq!(subs.iter().filter(|sub| sub["publications"].is_array()).count(), 2);
    std::thread::sleep(2 * SLOW_AFTER);
    check_all(&mut slow, 250);
}

#[test]
fn a_socket_that_takes_nothing_for_too_long_is_closed_and_counted_once() {
    let mut options = options();
    options.client.write_stall_max = Duration::from_secs(1);
    let node = Node::start(1, options);
    let (mut slow, mut fast) = (lazy(&node), node.connect());
    slow.subscribe(2, "big", None);
    for n in 0..2_000 {
        node.publish("big", &payload(n));
    }
    let metrics = || &node.hub.shard_metrics()[0];
    node.until("it is gone", |hub| hub.shard_metrics()[0].connections.get() == 1);
    assert_eq!((metrics().closed_slow.get(), metrics().closed_no_pong.get()), (1, 0));
    fast.subscribe(2, "big", None);
    node.publish("big", "7");
    assert_eq!((fast.publication(), metrics().closed_slow.get()), (json!(7), 1), "nobody else");
}

#[test]
fn channels_that_are_behind_take_turns() {
    let node = Node::start(1, options());
    let mut slow = lazy(&node);
    slow.subscribe(2, "busy", None);
    slow.subscribe(3, "rare", None);
    (0..2_000).for_each(|n| drop(node.publish("busy", &payload(n))));
    node.until("it is behind", |hub| hub.shard_metrics()[0].behind.get() == 1);
    node.publish("rare", "1");
    let mut before = 0;
    while slow.message()["push"]["channel"] == "busy" {
        before += 1;
    }
    assert!(before < 1_000, "after {before} of 2,000 of another channel");
    (before..2_000).for_each(|n| assert_eq!(slow.publication()["n"], json!(n)));
}

#[test]
fn a_reader_behind_the_window_of_a_shared_partition_reads_on_to_the_live_stream() {
    let mut options = options();
    options.window.payload_bytes_max = 100_000;
    let log = HoleLog::default();
    let node = Node::on_log(&log, options);
    let mut slow = lazy(&node);
    slow.subscribe(2, "big", None);
    for n in 0..2_000 {
        log.put("big", &payload(n));
        log.put("noise", "1");
    }
    for _ in 0..20 {
        log.put("noise", &payload(0));
    }
    check_all(&mut slow, 2_000);
    node.until("nobody is behind", |hub| hub.shard_metrics()[0].behind.get() == 0);
    let reads = node.hub.metrics().log_reads.get();
    assert!((1..400).contains(&reads), "{reads} reads: pages of the log, and none over and over");
    // Seven records each: what was published, once.
    assert!(log.reads() < 1_500, "{} pages of the log: no page begins at the beginning", log.reads());
}

#[test]
fn a_quiet_subscriber_in_a_busy_partition_is_within_reach_when_its_socket_blocks() {
    let mut options = options();
    options.window.payload_bytes_max = 10_000_000;
    options.client.recovery_scan_records_max = 50;
    let log = HoleLog::default();
    let node = Node::on_log(&log, options);
    let mut slow = lazy(&node);
    slow.subscribe(2, "big", None);
    for _ in 0..500 {
        log.put("noise", "1");
    }
    for n in 0..2_000 {
        log.put("big", &payload(n));
    }
    check_all(&mut slow, 2_000);
    assert_eq!(node.hub.metrics().log_reads.get(), 0, "the window has it all");
}
