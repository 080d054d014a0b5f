//! Requests that a shard answers itself, and those that it hands over.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tidegate_framing::http::Head;
use tidegate_shard::AnswerAtOnce;

use crate::rig::{Node, options};

/// Answers `POST /echo` with its body.
struct Echo;

impl AnswerAtOnce for Echo {
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize> {
        (head.path() == "/echo").then(|| head.header("content-length")?.parse().ok())?
    }

    fn answer(&self, _: &Head<'_>, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"<");
        out.extend_from_slice(body);
        out.extend_from_slice(b">");
    }
}

fn node() -> Node {
    Node::start_with(1, options(), |options| options.at_once = Some(Arc::new(Echo)))
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
