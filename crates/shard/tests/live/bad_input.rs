//! Input that breaks a rule: the one who sent it is told, everybody else goes on.

use std::io::Write;
use std::time::Duration;

use crate::rig::{Client, Heard, Node, options};
use tidegate_core::config::CoreOptions;
use tidegate_framing::websocket::Opcode;

fn check(name: &str, code: u16, act: impl FnOnce(&mut Client)) {
    check_with(options(), name, code, act);
}

fn check_with(options: CoreOptions, name: &str, code: u16, act: impl FnOnce(&mut Client)) {
    let node = Node::start(1, options);
    let mut witness = node.connect();
    witness.subscribe(2, "news", None);
    let mut client = node.connect();
    act(&mut client);
    assert_eq!(client.close_code(), code, "{name}");
    node.publish("news", "1");
    assert_eq!(witness.publication(), 1, "{name}: others go on");
}

#[test]
fn broken_frames_close_with_the_code_of_rfc_6455() {
    check("unmasked", 1002, |c| c.socket.write_all(&[0x81, 2, b'{', b'}']).unwrap());
    check("reserved bits", 1002, |c| c.socket.write_all(&[0xf1, 0x80, 0, 0, 0, 0]).unwrap());
    check("unknown opcode", 1002, |c| c.socket.write_all(&[0x83, 0x80, 0, 0, 0, 0]).unwrap());
    check("invalid utf-8", 1007, |c| c.frame(Opcode::Text, b"\xff\xfe"));
    check("too long", 1009, |c| c.frame(Opcode::Text, &vec![b' '; 65_537]));
    check("a binary message in a text dialect", 1003, |c| c.frame(Opcode::Binary, b"{}"));
}

#[test]
fn nothing_follows_the_close_of_a_broken_connection() {
    let node = Node::start(1, options());
    for broken in [&[0x81, 2, b'{', b'}'][..], &[0x83, 0x80, 0, 0, 0, 0], &[0x81, 0x81, 0, 0, 0, 0, 0xff]] {
        let mut client = node.connect();
        // Less than the peer is given to answer a close: the end has to come by itself.
        client.socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        client.socket.write_all(broken).unwrap();
        client.close_code();
        assert_eq!(client.hear(), Heard::End);
    }
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn broken_commands_close_with_3501() {
    check("invalid json", 3501, |c| c.say("{\"id\":"));
    check("an empty message", 3501, |c| c.say(""));
    check("unknown command", 3501, |c| c.say(r#"{"id":2,"frobnicate":{}}"#));
    check("a pong that nobody asked for", 3501, |c| c.say("{}"));
    check("a second connect", 3501, |c| c.say(r#"{"id":2,"connect":{}}"#));
    check("no channel", 3501, |c| c.say(r#"{"id":2,"subscribe":{"channel":""}}"#));
    check("a wrong token", 3500, |c| c.say(r#"{"id":2,"refresh":{"token":"nonsense"}}"#));
}

#[test]
fn ten_thousand_commands_in_a_frame_close_with_3501() {
    let mut options = options();
    options.client.message_bytes_max = 1 << 20;
    let commands = [r#"{"id":2,"ping":{}}"#; 10_000].join("\n");
    check_with(options, "10,000 commands in a frame", 3501, |c| c.say(&commands));
}

#[test]
fn errors_that_keep_the_connection() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    let mut error = |id: u64, command: &str| {
        client.say(&format!(r#"{{"id":{id},{command}}}"#));
        client.reply(id)["error"]["code"].as_u64().unwrap()
    };
    assert_eq!(error(2, &format!(r#""subscribe":{{"channel":"{}"}}"#, "x".repeat(256))), 107);
    assert_eq!(error(3, r#""rpc":{"method":"m","data":{}}"#), 108);
    assert_eq!(error(4, r#""sub_refresh":{"channel":"a","token":"t"}"#), 103);
    assert_eq!(error(5, r#""subscribe":{"channel":"a","token":"nonsense"}"#), 103);
    assert_eq!(error(6, r#""subscribe":{"channel":"$private"}"#), 103);
}

#[test]
fn commands_before_connect_are_refused() {
    let node = Node::start(1, options());
    let mut client = Client::open(node.address);
    client.say(r#"{"id":1,"subscribe":{"channel":"a"}}"#);
    assert_eq!(client.close_code(), 3501);
}
