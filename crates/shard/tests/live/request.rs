//! Requests that a shard answers itself, and those that it hands over.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_framing::http::Head;
use tidegate_shard::{RequestHandler, Response};

use tokio::sync::watch;

use crate::rig::{Node, options};

/// Answers `POST /echo` with its body: at once, or when the gate has opened. A body that begins with `now` does not wait.
#[derive(Default)]
struct Echo {
    gate: Option<watch::Receiver<bool>>,
}

impl RequestHandler for Echo {
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize> {
        (head.path() == "/echo").then(|| head.header("content-length")?.parse().ok())?
    }

    fn handle(&self, _: &Head<'_>, body: Bytes) -> Response {
        let gate = self.gate.clone().filter(|_| !body.starts_with(b"now"));
        Box::pin(async move {
            if let Some(mut gate) = gate {
                gate.wait_for(|open| *open).await.unwrap();
            }
            [&b"<"[..], &body, b">"].concat()
        })
    }
}

fn node() -> Node {
    Node::start_with(1, options(), |options| options.handler = Some(Arc::new(Echo::default())))
}

/// A node that answers nothing until the gate is opened.
fn gated() -> (Node, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let handler = Arc::new(Echo { gate: Some(gate) });
    (Node::start_with(1, options(), |options| options.handler = Some(handler.clone())), open)
}

fn connect(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(node.address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn hear(socket: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

fn echo(body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn requests_are_answered_whole_or_in_pieces_or_several_at_once() {
    let node = node();
    let mut socket = connect(&node);
    socket.write_all(echo("one").as_bytes()).unwrap();
    hear(&mut socket, "<one>");
    socket.write_all([echo("two"), echo(""), echo("three")].concat().as_bytes()).unwrap();
    hear(&mut socket, "<two><><three>");
    for byte in echo("four").as_bytes() {
        socket.write_all(&[*byte]).unwrap();
    }
    hear(&mut socket, "<four>");
    let large = "x".repeat(30_000);
    socket.write_all(echo(&large).as_bytes()).unwrap();
    hear(&mut socket, &format!("<{large}>"));
    assert!(node.handed_over.lock().unwrap().is_empty());
}

#[test]
fn the_first_other_request_is_handed_over_with_its_bytes_and_after_the_answers() {
    let node = node();
    let mut socket = connect(&node);
    let other = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(format!("{}{}{other}{}", echo("one"), echo("two"), echo("three")).as_bytes()).unwrap();
    hear(&mut socket, "<one><two>");
    node.until("handed over", |_| node.handed_over.lock().unwrap().len() == 1);
    let handed = node.handed_over.lock().unwrap().pop().unwrap();
    assert_eq!(String::from_utf8(handed.head).unwrap(), format!("{other}{}", echo("three")));
}

#[test]
fn an_answer_that_is_ready_goes_before_a_later_one_that_becomes_ready() {
    let (node, open) = gated();
    for round in 0..50 {
        let mut socket = connect(&node);
        open.send_replace(false);
        socket.write_all([echo("now"), echo("gated"), echo("now too")].concat().as_bytes()).unwrap();
        if round % 2 == 0 {
            hear(&mut socket, "<now>");
            open.send_replace(true);
            hear(&mut socket, "<gated><now too>");
        } else {
            open.send_replace(true);
            hear(&mut socket, "<now><gated><now too>");
        }
    }
}

#[test]
fn a_connection_can_become_a_websocket_after_a_request() {
    let node = node();
    let mut socket = connect(&node);
    let upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(format!("{}{upgrade}", echo("one")).as_bytes()).unwrap();
    hear(&mut socket, "<one>HTTP/1.1 101 ");
}

#[test]
fn garbage_after_a_request_is_refused_after_its_answer() {
    let node = node();
    let mut socket = connect(&node);
    socket.write_all(format!("{}\u{1}\r\n\r\n", echo("one")).as_bytes()).unwrap();
    let mut heard = String::new();
    socket.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("<one>HTTP/1.1 400 Bad Request\r\n"), "{heard}");
}

#[test]
fn who_asks_on_without_reading_answers_is_cut_off_and_others_go_on() {
    let node = node();
    let mut deaf = connect(&node);
    deaf.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let flood = echo(&"x".repeat(20_000)).repeat(10);
    let refused = (0..2_000).any(|_| deaf.write_all(flood.as_bytes()).is_err());
    assert!(refused, "400 MB of answers are not kept");
    let mut other = connect(&node);
    other.write_all(echo("hello").as_bytes()).unwrap();
    hear(&mut other, "<hello>");
}

#[test]
fn what_waits_is_answered_later_and_in_order() {
    let (node, open) = gated();
    let mut first = connect(&node);
    let mut second = connect(&node);
    first.write_all([echo("one"), echo("two"), echo("three")].concat().as_bytes()).unwrap();
    second.write_all(echo("other").as_bytes()).unwrap();
    // A client on the same shard is served meanwhile.
    node.connect();
    first.write_all(echo("four").as_bytes()).unwrap();
    open.send_replace(true);
    hear(&mut first, "<one><two><three><four>");
    hear(&mut second, "<other>");
}

#[test]
fn who_leaves_before_the_answer_is_forgotten() {
    let (node, open) = gated();
    let mut gone = connect(&node);
    gone.write_all(echo("one").as_bytes()).unwrap();
    node.until("begun", |_| open.receiver_count() == 2);
    drop(gone);
    open.send_replace(true);
    node.until("forgotten", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn what_is_under_way_is_answered_before_a_shard_ends() {
    let (mut node, open) = gated();
    let mut socket = connect(&node);
    socket.write_all(echo("one").as_bytes()).unwrap();
    node.until("begun", |_| open.receiver_count() == 2);
    let shards = node.shards.take().unwrap();
    shards.drain();
    std::thread::sleep(Duration::from_millis(300));
    open.send_replace(true);
    let mut heard = String::new();
    socket.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "<one>");
    shards.join();
}
