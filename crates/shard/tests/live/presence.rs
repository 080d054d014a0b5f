//! Presence, joins and leaves as clients of one node see them.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_auth::Overrides;
use tidegate_core::config::{ControlOptions, CoreOptions, NamespaceOptions};
use tidegate_core::{Action, Order, OrderedSubscription};

use crate::rig::{Client, Node, open_namespace, options, session, signed};

fn with_presence(grace: Duration) -> CoreOptions {
    let mut options = options();
    options.token.hmac_secret = Some(b"secret".to_vec());
    options.control = Some(ControlOptions { grace, ..Default::default() });
    options.default_namespace = Some(NamespaceOptions {
        presence: true,
        join_leave: true,
        allow_presence_for_client: true,
        allow_presence_for_anonymous: true,
        ..open_namespace()
    });
    options
}

fn node() -> Node {
    Node::start(2, with_presence(Duration::from_millis(300)))
}

fn presence(client: &mut Client, channel: &str) -> Value {
    client.say(&format!(r#"{{"id":90,"presence":{{"channel":"{channel}"}}}}"#));
    client.reply(90)["presence"]["presence"].clone()
}

fn stats(client: &mut Client, channel: &str) -> (u64, u64) {
    client.say(&format!(r#"{{"id":91,"presence_stats":{{"channel":"{channel}"}}}}"#));
    let reply = client.reply(91)["presence_stats"].clone();
    (reply["num_clients"].as_u64().unwrap_or(0), reply["num_users"].as_u64().unwrap_or(0))
}

/// Subscribes and asks to be told of joins and leaves.
fn watch(client: &mut Client, channel: &str) {
    client.say(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}","join_leave":true}}}}"#));
    assert!(client.reply(2)["subscribe"].is_object());
}

/// `join` or `leave`, and who.
fn change(client: &mut Client) -> (String, String) {
    let push = client.message()["push"].clone();
    let which = ["join", "leave"].into_iter().find(|w| push[w].is_object()).unwrap_or_else(|| panic!("{push}"));
    (which.to_owned(), push[which]["info"]["client"].as_str().unwrap().to_owned())
}

#[test]
fn who_subscribes_is_present_at_once_and_until_it_goes() {
    let node = node();
    let (mut one, mut two) = (node.connect(), node.connect());
    assert_eq!((presence(&mut one, "a"), stats(&mut one, "a")), (json!({}), (0, 0)));
    one.subscribe(2, "a", None);
    let members = presence(&mut one, "a");
    let members = members.as_object().unwrap();
    assert_eq!(members.len(), 1);
    let (id, info) = members.iter().next().unwrap();
    assert_eq!(info["client"], **id);
    two.subscribe(2, "a", None);
    assert_eq!((stats(&mut two, "a"), stats(&mut one, "a")), ((2, 1), (2, 1)), "nameless clients are one user");
    two.say(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    two.reply(3);
    assert_eq!(stats(&mut two, "a"), (1, 1), "who unsubscribes is gone at once");
}

#[test]
fn joins_and_leaves_are_told_to_those_who_ask() {
    let node = node();
    let (mut watcher, mut other) = (node.connect(), node.connect());
    watch(&mut watcher, "a");
    let (which, own) = change(&mut watcher);
    assert_eq!(which, "join", "its own too");
    other.subscribe(2, "a", None);
    let (which, id) = change(&mut watcher);
    assert_eq!(which, "join");
    assert_ne!(id, own);
    other.say(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
    assert_eq!(change(&mut watcher), ("leave".to_owned(), id));
    assert!(other.reply(3)["unsubscribe"].is_object(), "who did not ask is told nothing");
}

#[test]
fn whose_connection_breaks_is_present_for_a_while_longer() {
    let node = node();
    let mut watcher = node.connect();
    watch(&mut watcher, "a");
    change(&mut watcher);
    let (mut other, id) = session(&node, "u");
    other.subscribe(2, "a", None);
    assert_eq!(change(&mut watcher), ("join".to_owned(), id.clone()));
    drop(other);
    node.until("it is gone", |hub| hub.report().clients == 1);
    assert_eq!(stats(&mut watcher, "a").0, 2);
    assert_eq!(change(&mut watcher), ("leave".to_owned(), id));
    assert_eq!(stats(&mut watcher, "a").0, 1);
    let mut nameless = node.connect();
    nameless.subscribe(2, "a", None);
    change(&mut watcher);
    drop(nameless);
    assert_eq!(change(&mut watcher).0, "leave", "nobody could know it again");
}

#[test]
fn presence_is_for_those_who_may_and_where_it_is_on() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    client.say(r#"{"id":2,"presence":{"channel":"a"}}"#);
    assert_eq!(client.reply(2)["error"]["code"], 108);
    let mut closed = with_presence(Duration::from_secs(1));
    closed.default_namespace.as_mut().unwrap().allow_presence_for_client = false;
    let node = Node::start(1, closed);
    let mut client = node.connect();
    for command in ["presence", "presence_stats"] {
        client.say(&format!(r#"{{"id":2,"{command}":{{"channel":"a"}}}}"#));
        assert_eq!(client.reply(2)["error"]["code"], 103);
        client.say(&format!(r#"{{"id":3,"{command}":{{"channel":"none:a"}}}}"#));
        assert_eq!(client.reply(3)["error"]["code"], 102);
    }
    watch(&mut client, "a");
    node.publish("a", "1");
    assert_eq!(client.publication(), 1, "no join was told");
}

#[test]
fn who_is_present_is_what_a_token_or_a_backend_says_over_what_the_namespace_says() {
    for on in [false, true] {
        let mut options = with_presence(Duration::from_secs(1));
        options.default_namespace.as_mut().unwrap().presence = on;
        let node = Node::start(1, options);
        let (mut client, _) = session(&node, "u");
        let other = json!({"presence": {"value": !on}});
        let token = signed(&json!({"sub": "u", "channel": "$a", "override": other}));
        client.say(&json!({"id": 2, "subscribe": {"channel": "$a", "token": token}}).to_string());
        assert!(client.reply(2)["subscribe"].is_object());
        let overrides = Overrides { presence: Some(!on), ..Default::default() };
        let ordered = OrderedSubscription { channel: "b".into(), overrides, ..Default::default() };
        let action = Action::Subscribe(Box::new(ordered));
        node.order(Order { user: "u".into(), action, ..Default::default() });
        assert_eq!(client.message()["push"]["channel"], "b");
        client.subscribe(3, "c", None);
        let present = ["$a", "b", "c"].map(|channel| node.present(channel));
        assert_eq!(present, [!on, !on, on], "the namespace says {on}");
    }
}
