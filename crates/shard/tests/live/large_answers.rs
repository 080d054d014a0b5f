//! Answers that are large: in pages, in turns, and for nobody who does not read them.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::config::CoreOptions;
use tidegate_protocol::History;
use tidegate_testkit::hole_log::HoleLog;

use crate::lag::with_buffer;
use crate::rig::{Client, Node, options};

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
    let mut client = with_buffer(&node, 64 << 10);
    for n in 0..20 {
        client.say(&format!("{}{}", reads(2 * n + 2..2 * n + 3), MARK.replace("999", &(2 * n + 3).to_string())));
        // Every message is read by itself.
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = node.publish("mark", "2").offset.0 - 1;
    assert!((1..16).contains(&done), "{done} were done, and more than 8 MiB wait nowhere");
    for n in 0..20 {
        assert_eq!(client.reply(2 * n + 2)["history"]["publications"].as_array().unwrap().len(), 9);
        assert!(client.reply(2 * n + 3)["publish"].is_object());
    }
    assert_eq!(node.hub.shard_metrics()[0].closed_slow.get(), 0);
}

/// A node whose log has 30 channels `c0` to `c29` of 600 KiB, and the first offset of each. Nothing of it is read yet.
fn on_log_with_channels() -> (HoleLog, Node, Vec<u64>) {
    let log = HoleLog::default();
    let pad = format!("\"{}\"", "x".repeat(100 << 10));
    let first = (0..30).map(|n| (0..6).map(|_| log.put(&format!("c{n}"), &pad)).min().unwrap() + 1).collect();
    log.hold_back(true);
    let node = Node::on_log(&log, options());
    (log, node, first)
}

/// What a client that recovers those channels gets of each.
struct Seen {
    offsets: Vec<Vec<u64>>,
    pushed: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { offsets: vec![Vec::new(); 30], pushed: 0 }
    }
}

impl Seen {
    fn note(&mut self, channel: &str, publication: &Value) {
        self.offsets[channel[1..].parse::<usize>().unwrap()].push(publication["offset"].as_u64().unwrap());
    }

    /// With the answer. Returns how many.
    fn recovered(&mut self, channel: &str, subscribe: &Value) -> usize {
        assert_eq!(subscribe["recovered"], true, "{subscribe}");
        let publications = subscribe["publications"].as_array().cloned().unwrap_or_default();
        publications.iter().for_each(|publication| self.note(channel, publication));
        publications.len()
    }

    /// After it.
    fn push(&mut self, push: &Value) {
        self.note(push["channel"].as_str().unwrap(), &push["pub"]);
        self.pushed += 1;
    }

    fn is_whole(&self) -> bool {
        self.offsets.iter().all(|seen| seen.len() >= 5)
    }

    fn check(&self, first: &[u64]) {
        for (seen, first) in self.offsets.iter().zip(first) {
            assert!(seen.len() == 5 && seen[0] > *first && seen.is_sorted_by(|a, b| a < b), "{seen:?} after {first}");
        }
    }
}

#[test]
fn questions_that_are_answered_all_at_once_are_asked_again_where_a_socket_takes_no_more() {
    let (log, node, _) = on_log_with_channels();
    let mut client = with_buffer(&node, 64 << 10);
    let ask = |id: u32| format!(r#"{{"id":{id},"history":{{"channel":"c{}","limit":-1}}}}"#, id - 2);
    client.say(&(2..32).map(|id| ask(id) + "\n").collect::<String>());
    // None of them waits for another: all wait for the log.
    node.until("they are asked", |hub| hub.shard_metrics()[0].commands.get() == 31);
    log.hold_back(false);
    std::thread::sleep(Duration::from_millis(500));
    let mut answers: Vec<_> = (2..32).map(|_| client.message()).collect();
    let refused: Vec<_> = answers.extract_if(.., |answer| answer["error"].is_object()).collect();
    assert!(refused.iter().all(|answer| answer["error"]["code"] == 111) && !answers.is_empty());
    assert!(!refused.is_empty(), "18 MiB wait nowhere");
    for answer in refused {
        let id = u32::try_from(answer["id"].as_u64().unwrap()).unwrap();
        client.say(&ask(id));
        answers.push(client.reply(id.into()));
    }
    for answer in answers {
        assert_eq!(answer["history"]["publications"].as_array().unwrap().len(), 6);
    }
}

#[test]
fn recoveries_that_begin_all_at_once_are_read_by_and_by_where_a_socket_takes_no_more() {
    let (log, node, first) = on_log_with_channels();
    let mut client = with_buffer(&node, 64 << 10);
    let ask = |n: usize, first: u64| {
        let position = format!(r#""recover":true,"epoch":"0","offset":{first}"#);
        format!("{{\"id\":{},\"subscribe\":{{\"channel\":\"c{n}\",{position}}}}}\n", n + 2)
    };
    client.say(&first.iter().enumerate().map(|(n, first)| ask(n, *first)).collect::<String>());
    node.until("they are asked", |hub| hub.shard_metrics()[0].commands.get() == 31);
    log.hold_back(false);
    std::thread::sleep(Duration::from_millis(500));
    let (mut seen, mut replies) = (Seen::default(), 0);
    while replies < 30 || !seen.is_whole() {
        let message = client.message();
        if let Some(id) = message["id"].as_u64() {
            seen.recovered(&format!("c{}", id - 2), &message["subscribe"]);
            replies += 1;
        } else {
            seen.push(&message["push"]);
        }
    }
    assert!(seen.pushed > 0, "18 MiB wait nowhere");
    seen.check(&first);
}

#[test]
fn the_answer_to_a_connect_is_bounded_however_much_was_missed() {
    let (log, node, first) = on_log_with_channels();
    log.hold_back(false);
    let position =
        |(n, offset): (usize, &u64)| (format!("c{n}"), json!({"recover": true, "epoch": "0", "offset": offset}));
    let subs: serde_json::Map<_, _> = first.iter().enumerate().map(position).collect();
    let mut client = Client::open(node.address);
    client.say(&json!({"id": 1, "connect": {"subs": subs}}).to_string());
    let reply = client.reply(1);
    let mut seen = Seen::default();
    let subs = reply["connect"]["subs"].as_object().unwrap();
    let told: usize = subs.iter().map(|(channel, subscribe)| seen.recovered(channel, subscribe)).sum();
    assert!((5..=10).contains(&told), "{told} publications of 100 KiB in an answer");
    while !seen.is_whole() {
        seen.push(&client.message()["push"]);
    }
    seen.check(&first);
}
