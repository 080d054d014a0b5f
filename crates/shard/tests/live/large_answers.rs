//! Answers that are large: in pages, in turns, and for nobody who does not read them.

use std::fmt::Write;
use std::time::Duration;

use tidegate_core::config::CoreOptions;
use tidegate_protocol::History;

use crate::rig::{Node, options};

/// A node with a channel `big` of so many publications of so many KiB, and room for all of them in one answer.
fn node(count: usize, kib: usize) -> Node {
    let mut options = options();
    options.client.recovery_bytes_max = 64 << 20;
    with_publications(options, count, kib)
}

fn with_publications(options: CoreOptions, count: usize, kib: usize) -> Node {
    let node = Node::start(1, options);
    for _ in 0..count {
        node.publish("big", &format!("\"{}\"", "x".repeat((kib << 10) - 2)));
    }
    // From now on its history is read on the shard, without waiting for anything.
    let all = History { channel: "big".into(), limit: -1, ..History::default() };
    assert_eq!(node.wait_for(node.hub.history(&all)).unwrap().publications.len(), count);
    node
}

/// Commands of one message that read all of `big`, from one id to before another.
fn reads(ids: std::ops::Range<u64>) -> String {
    ids.fold(String::new(), |mut text, id| {
        writeln!(text, r#"{{"id":{id},"history":{{"channel":"big","limit":-1}}}}"#).unwrap();
        text
    })
}

const MARK: &str = r#"{"id":999,"publish":{"channel":"mark","data":1}}"#;

#[test]
fn a_history_answer_is_a_page_of_bytes() {
    let mut options = options();
    options.client.recovery_bytes_max = 256 << 10;
    let node = with_publications(options, 10, 100);
    let mut client = node.connect();
    let mut offsets = Vec::new();
    for id in 2..20 {
        let since = offsets.last().copied().unwrap_or(0);
        client.say(&format!(
            r#"{{"id":{id},"history":{{"channel":"big","limit":-1,"since":{{"offset":{since},"epoch":""}}}}}}"#
        ));
        let reply = client.reply(id);
        let page = reply["history"]["publications"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2, "{} of 100 KiB in 256 KiB", page.len());
        offsets.extend(page.iter().map(|p| p["offset"].as_u64().unwrap()));
    }
    assert_eq!(offsets, (1..11).collect::<Vec<_>>());
}

#[test]
fn the_commands_behind_large_answers_go_on_in_order_when_those_are_read() {
    // 16 answers of 600 KiB: nine times what may wait for a socket.
    let node = node(6, 100);
    let mut client = node.connect();
    client.say(&format!("{}{MARK}", reads(2..18)));
    client.say(r#"{"id":1000,"history":{"channel":"mark"}}"#);
    std::thread::sleep(Duration::from_millis(200));
    let mut other = node.connect();
    assert!(other.subscribe(2, "mark", None).is_object());
    for id in 2..18 {
        assert_eq!(client.reply(id)["history"]["publications"].as_array().unwrap().len(), 6);
    }
    client.reply(999);
    assert_eq!(client.reply(1000)["history"]["offset"], 1, "what the next message asks for comes after it");
    assert_eq!(other.publication(), 1);
}

#[test]
fn what_is_no_command_ends_the_connection_after_what_was_put_off() {
    let node = node(6, 100);
    let mut client = node.connect();
    client.say(&format!("{}{{\"id\":", reads(2..10)));
    for id in 2..10 {
        client.reply(id);
    }
    assert_eq!(client.close_code(), 3501);
}

#[test]
fn nothing_more_is_done_for_who_has_too_many_answers_unread() {
    // Each answer is somewhat less than what has the next command wait.
    let node = node(9, 100);
    let mut client = node.connect();
    let is_ended = || node.hub.shard_metrics()[0].closed_slow.get() > 0;
    let mut said = 0;
    while !is_ended() {
        assert!(said < 20, "{said} answers wait for who reads none");
        said += 1;
        client.say(&format!("{}{MARK}", reads(said + 1..said + 2)));
        // Every message is read by itself.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(node.publish("mark", "2").offset.0, said, "the last message went too far, and no further");
    assert_eq!(node.hub.shard_metrics()[0].closed_slow.get(), 1);
}
