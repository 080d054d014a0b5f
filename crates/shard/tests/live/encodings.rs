//! Two encodings on one path, one channel and one shard.

use std::net::TcpStream;

use tidegate_framing::websocket::Opcode;

use crate::rig::{Client, Node, options};

/// `id` 1, `connect` empty.
const CONNECT: &[u8] = b"\x04\x08\x01\x22\x00";
/// `id` 2, `subscribe` with `channel` "news".
const SUBSCRIBE: &[u8] = b"\x0a\x08\x02\x2a\x06\x0a\x04news";

fn subscribe(node: &Node, target: &str, protocol: Option<&str>) -> Client {
    let mut client = Client::asking(TcpStream::connect(node.address).unwrap(), target, protocol);
    client.frame(Opcode::Binary, &[CONNECT, SUBSCRIBE].concat());
    let mut replies = client.binary();
    // The first reply is as long as its first byte says; the second carries the same id as its command.
    let first = 1 + usize::from(replies[0]);
    if replies.len() == first {
        replies.extend(client.binary());
    }
    let second = &replies[first..];
    assert_eq!(&replies[1..4], b"\x08\x01\x2a", "{replies:x?}");
    assert_eq!(&second[1..4], b"\x08\x02\x32", "{replies:x?}");
    client
}

#[test]
fn a_publication_reaches_everybody_in_their_encoding() {
    let node = Node::start(1, options());
    let mut json = node.connect();
    json.subscribe(2, "news", None);
    let mut named = subscribe(&node, "/connection/websocket", Some("centrifuge-protobuf"));
    let mut queried = subscribe(&node, "/connection/websocket?a=b&format=protobuf", None);
    node.publish("news", "17");
    assert_eq!(json.publication(), 17);
    // push { channel "news", pub { data "17", offset 1 } }
    let push = b"\x10\x22\x0e\x12\x04news\x22\x06\x22\x0217\x30\x01";
    assert_eq!(named.binary(), push);
    assert_eq!(queried.binary(), push);
    // Who leaves takes the encoding along, and it comes back with the next one.
    drop((named, queried));
    node.until("one is left", |hub| hub.report().subscriptions == 1);
    node.publish("news", "18");
    let mut late = subscribe(&node, "/connection/websocket", Some("centrifuge-protobuf"));
    node.publish("news", "19");
    assert_eq!(late.binary(), b"\x10\x22\x0e\x12\x04news\x22\x06\x22\x0219\x30\x03");
    assert_eq!((json.publication(), json.publication()), (18.into(), 19.into()));
}

#[test]
fn pings_are_empty_messages_and_are_answered_so() {
    let mut settings = options();
    settings.client.ping_interval = std::time::Duration::from_millis(300);
    settings.client.pong_timeout = std::time::Duration::from_millis(200);
    let node = Node::start(1, settings);
    let mut client = subscribe(&node, "/connection/websocket", Some("centrifuge-protobuf"));
    for _ in 0..3 {
        assert_eq!(client.binary(), [0]);
        client.frame(Opcode::Binary, &[0]);
    }
    assert_eq!(client.binary(), [0]);
    assert_eq!(client.close_code(), 3012, "no pong");
}

#[test]
fn what_is_no_command_ends_the_connection_and_no_other() {
    let node = Node::start(1, options());
    let mut other = subscribe(&node, "/connection/websocket", Some("centrifuge-protobuf"));
    for message in [&b"\x05\x08"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x02\x08\x09"] {
        let mut client = subscribe(&node, "/connection/websocket", Some("centrifuge-protobuf"));
        client.frame(Opcode::Binary, message);
        assert_eq!(client.close_code(), 3501, "{message:x?}");
    }
    node.publish("news", "1");
    assert_eq!(other.binary(), b"\x0f\x22\x0d\x12\x04news\x22\x05\x22\x011\x30\x01");
}
