//! Deltas as their subscribers see them: what they put together is what was published.

use serde_json::{Value, json};
use tidegate_core::config::{CoreOptions, NamespaceOptions};

use crate::rig::{Client, Node, open_namespace, options};

fn with_deltas() -> CoreOptions {
    let mut options = options();
    let namespace = NamespaceOptions { allow_fossil_delta: true, delta_publish: true, ..open_namespace() };
    options.default_namespace = Some(namespace);
    options
}

/// What a subscriber has of a channel.
#[derive(Default)]
struct Copy {
    text: Option<Vec<u8>>,
    deltas: usize,
}

impl Copy {
    fn take(&mut self, publication: &Value) -> Value {
        let data = publication["data"].as_str().unwrap_or_else(|| panic!("no string: {publication}"));
        let text = match publication["delta"] == true {
            true => {
                self.deltas += 1;
                let base = self.text.as_ref().expect("a delta comes after something whole");
                tidegate_delta::apply(base, data.as_bytes(), 1 << 20).unwrap()
            }
            false => data.as_bytes().to_vec(),
        };
        let value = serde_json::from_slice(&text).unwrap();
        self.text = Some(text);
        value
    }
}

fn subscribe(client: &mut Client, since: Option<(u64, &str)>) -> Value {
    let since = since.map(|(offset, epoch)| format!(r#","recover":true,"offset":{offset},"epoch":"{epoch}""#));
    let since = since.unwrap_or_default();
    client.say(&format!(r#"{{"id":2,"subscribe":{{"channel":"a","delta":"fossil"{since}}}}}"#));
    let result = client.reply(2)["subscribe"].clone();
    assert_eq!(result["delta"], true);
    result
}

fn document(n: usize) -> Value {
    json!({ "n": n, "text": "the same again and again, ".repeat(20), "more": [1, 2, 3, n * 7] })
}

#[test]
fn a_stream_of_deltas_is_the_stream() {
    let node = Node::start(1, with_deltas());
    let (mut taker, mut plain) = (node.connect(), node.connect());
    subscribe(&mut taker, None);
    plain.subscribe(2, "a", None);
    let mut copy = Copy::default();
    for n in 0..100 {
        node.publish("a", &document(n).to_string());
        assert_eq!(copy.take(&taker.message()["push"]["pub"]), document(n));
        assert_eq!(plain.publication(), document(n), "who takes none gets the payload as it is");
    }
    assert_eq!(copy.deltas, 99);
}

#[test]
fn bursts_join_and_late_comers_begin_with_something_whole() {
    let node = Node::start(1, with_deltas());
    let mut early = node.connect();
    subscribe(&mut early, None);
    let (mut copy, mut late_copy) = (Copy::default(), Copy::default());
    for n in 0..50 {
        node.publish("a", &document(n).to_string());
    }
    let mut late = node.connect();
    subscribe(&mut late, None);
    for n in 50..100 {
        node.publish("a", &document(n).to_string());
    }
    for n in 0..100 {
        assert_eq!(copy.take(&early.message()["push"]["pub"]), document(n));
    }
    for n in 50..100 {
        assert_eq!(late_copy.take(&late.message()["push"]["pub"]), document(n));
    }
    assert_eq!((copy.deltas, late_copy.deltas), (99, 49));
}

#[test]
fn what_was_missed_comes_whole_and_the_rest_as_deltas() {
    let node = Node::start(1, with_deltas());
    let mut client = node.connect();
    let epoch = subscribe(&mut client, None)["epoch"].as_str().unwrap().to_owned();
    drop(client);
    for n in 0..10 {
        node.publish("a", &document(n).to_string());
    }
    let mut client = node.connect();
    let result = subscribe(&mut client, Some((0, &epoch)));
    assert_eq!(result["recovered"], true);
    let mut copy = Copy::default();
    for (n, publication) in result["publications"].as_array().unwrap().iter().enumerate() {
        assert_eq!(copy.take(publication), document(n));
    }
    for n in 10..20 {
        node.publish("a", &document(n).to_string());
        assert_eq!(copy.take(&client.message()["push"]["pub"]), document(n));
    }
    assert_eq!(copy.deltas, 9);
}

#[test]
fn payloads_that_are_no_json_or_no_text_arrive() {
    let node = Node::start(1, with_deltas());
    let mut client = node.connect();
    subscribe(&mut client, None);
    let mut text = None;
    let long = "plain text, äöü and so on; ".repeat(10);
    for payload in [format!("{long}1"), format!("{long}2"), format!("{long}ü")] {
        node.publish("a", &payload);
        let publication = client.message()["push"]["pub"].clone();
        let data = publication["data"].as_str().unwrap().as_bytes().to_vec();
        let got = match publication["delta"] == true {
            true => tidegate_delta::apply(text.as_deref().unwrap(), &data, 1 << 20).unwrap(),
            false => data,
        };
        assert_eq!(String::from_utf8_lossy(&got), payload);
        text = Some(got);
    }
}

#[test]
fn nobody_gets_deltas_where_they_are_off_or_nobody_asked_for_them_in_publishing() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    client.say(r#"{"id":2,"subscribe":{"channel":"a","delta":"fossil"}}"#);
    assert_eq!(client.reply(2)["subscribe"]["delta"], Value::Null);
    node.publish("a", r#"{"n":1}"#);
    assert_eq!(client.publication(), json!({ "n": 1 }), "as if it had not been asked for");
    let mut quiet = with_deltas();
    quiet.default_namespace.as_mut().unwrap().delta_publish = false;
    let node = Node::start(1, quiet);
    let mut client = node.connect();
    subscribe(&mut client, None);
    let mut copy = Copy::default();
    for n in 0..5 {
        node.publish("a", &document(n).to_string());
        assert_eq!(copy.take(&client.message()["push"]["pub"]), document(n));
    }
    assert_eq!(copy.deltas, 0);
}

#[test]
fn who_left_itself_out_has_no_base_for_the_next() {
    let node = Node::start(1, with_deltas());
    let (mut own, mut copy) = (node.connect(), Copy::default());
    subscribe(&mut own, None);
    let mut expected = Vec::new();
    for n in 0..30 {
        let exclude = n % 3 == 1;
        own.say(&format!(
            r#"{{"id":{},"publish":{{"channel":"a","data":{},"exclude_self":{exclude}}}}}"#,
            n + 3,
            document(n)
        ));
        if !exclude {
            expected.push(document(n));
        }
    }
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let message = own.message();
        if message["push"]["pub"].is_object() {
            got.push(copy.take(&message["push"]["pub"]));
        }
    }
    assert_eq!(got, expected);
}
