//! Which channels clients may name: paths with a pattern, and what an expression matches.

use serde_json::json;
use tidegate_core::config::NamespaceOptions;

use crate::rig::{Client, Node, open_namespace, options};

fn node() -> Node {
    let mut options = options();
    let users = NamespaceOptions { pattern: Some("/users/:id".parse().unwrap()), ..open_namespace() };
    let numbers = NamespaceOptions { channel_regex: Some("^[0-9]+$".parse().unwrap()), ..open_namespace() };
    options.namespaces = vec![("users".into(), users), ("numbers".into(), numbers)];
    Node::start(2, options)
}

fn ask(client: &mut Client, id: u64, command: &str, channel: &str) -> serde_json::Value {
    client.say(&json!({"id": id, command: {"channel": channel, "data": {}}}).to_string());
    client.reply(id)["error"]["code"].clone()
}

#[test]
fn a_path_is_a_channel_of_its_pattern() {
    let node = node();
    let mut client = node.connect();
    assert_eq!(ask(&mut client, 2, "subscribe", "/users/42"), json!(null));
    node.publish("/users/42", "1");
    assert_eq!(client.publication(), 1);
    for (id, none) in [(3, "/users"), (4, "/users/1/2"), (5, "/nobody")] {
        assert_eq!(ask(&mut client, id, "subscribe", none), 102, "{none}");
    }
    assert_eq!(ask(&mut client, 6, "history", "/users/7"), json!(null));
    // Its namespace has no other names, and is private where a name says so.
    assert_eq!(ask(&mut client, 7, "subscribe", "users:42"), 102);
    assert_eq!(ask(&mut client, 8, "subscribe", "$/users/42"), 103);
}

#[test]
fn what_the_expression_does_not_match_is_a_bad_request() {
    let node = node();
    let mut client = node.connect();
    for (id, command) in [(2, "subscribe"), (4, "publish"), (6, "history"), (8, "presence_stats")] {
        assert_eq!(ask(&mut client, id, command, "numbers:x"), 107, "{command}");
        let fits = ask(&mut client, id + 1, command, &format!("numbers:{id}"));
        assert_eq!(fits, if command == "presence_stats" { json!(108) } else { json!(null) }, "{command}");
    }
    // A connect leaves out what the client could not subscribe to; a backend may publish anything.
    node.publish("numbers:x", "1");
    let mut client = Client::open(node.address);
    client.say(r#"{"id":1,"connect":{"subs":{"numbers:x":{},"numbers:7":{}}}}"#);
    let subs = client.reply(1)["connect"]["subs"].clone();
    assert!(subs["numbers:7"].is_object() && subs["numbers:x"].is_null(), "{subs}");
}
