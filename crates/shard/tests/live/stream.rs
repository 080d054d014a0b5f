//! Order, recovery, commands.

use serde_json::json;
use tidegate_core::config::{NamespaceOptions, RecoveryMode, RulesOptions};

use crate::rig::{Node, open_namespace, options};

#[test]
fn publications_arrive_in_order_on_every_shard() {
    let node = Node::start(2, options());
    let mut clients: Vec<_> = (0..40).map(|_| node.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.subscribe(2, "news", None)["recoverable"], true);
    }
    for n in 0..300 {
        assert_eq!(node.publish("news", &n.to_string()).offset.0, n + 1);
    }
    for client in &mut clients {
        for n in 0..300 {
            assert_eq!(client.publication(), n);
        }
    }
    node.until("all counted", |hub| hub.report().subscriptions == 40);
}

#[test]
fn a_client_recovers_what_it_missed_and_goes_on() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    let result = client.subscribe(2, "job", None);
    let epoch = result["epoch"].as_str().unwrap().to_owned();
    node.publish("job", "1");
    assert_eq!(client.publication(), 1);
    drop(client);
    for n in 2..=50 {
        node.publish("job", &n.to_string());
    }
    let mut client = node.connect();
    let result = client.subscribe(2, "job", Some((1, &epoch)));
    assert_eq!(
        (&result["recovered"], &result["was_recovering"], &result["offset"]),
        (&json!(true), &json!(true), &json!(1))
    );
    let recovered: Vec<_> =
        result["publications"].as_array().unwrap().iter().map(|p| p["data"].as_u64().unwrap()).collect();
    assert_eq!(recovered, (2..=50).collect::<Vec<_>>());
    node.publish("job", "51");
    assert_eq!(client.publication(), 51);
}

#[test]
fn a_thousand_channels_are_subscribed_to_in_one_message_and_answered_in_few() {
    let mut wide = options();
    wide.client.channel_limit = 1_000;
    let node = Node::start(1, wide);
    let mut client = node.connect();
    let subscribe = |n: usize| format!(r#"{{"id":{},"subscribe":{{"channel":"c{n}"}}}}"#, n + 2);
    client.say(&(0..1_000).map(subscribe).collect::<Vec<_>>().join("\n"));
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 1_000 {
        let reply = client.message();
        assert!(reply["subscribe"].is_object() && answered.insert(reply["id"].as_u64().unwrap()), "{reply}");
    }
    assert!(client.frames <= 10, "{} frames", client.frames);
    for n in [0, 500, 999] {
        node.publish(&format!("c{n}"), "1");
        assert_eq!(client.publication(), 1);
    }
}

#[test]
fn from_the_beginning_is_a_position() {
    let node = Node::start(1, options());
    node.publish("job", "1");
    node.publish("job", "2");
    let mut client = node.connect();
    let result = client.subscribe(2, "job", Some((0, "")));
    assert_eq!((result["publications"].as_array().unwrap().len(), &result["recovered"]), (2, &json!(true)));
    let result = client.subscribe(3, "empty", Some((0, "")));
    assert_eq!((&result["recovered"], &result["publications"]), (&json!(true), &json!(null)));
}

#[test]
fn another_epoch_or_a_position_beyond_the_end_is_not_recovered() {
    let node = Node::start(1, options());
    let epoch = node.publish("job", "1").epoch.to_string();
    let mut client = node.connect();
    let result = client.subscribe(2, "job", Some((1, "other")));
    assert_eq!(
        (&result["recovered"], &result["was_recovering"], &result["offset"]),
        (&json!(null), &json!(true), &json!(1))
    );
    client.say(r#"{"id":3,"unsubscribe":{"channel":"job"}}"#);
    assert!(client.reply(3)["unsubscribe"].is_object());
    let result = client.subscribe(4, "job", Some((77, &epoch)));
    assert_eq!(result["recovered"], json!(null));
    client.say(r#"{"id":5,"unsubscribe":{"channel":"job"}}"#);
    client.reply(5);
    client.say(&format!(
        r#"{{"id":6,"subscribe":{{"channel":"job","recover":true,"offset":77,"epoch":"{epoch}","flag":2}}}}"#
    ));
    assert_eq!(client.reply(6)["error"]["code"], 112);
}

#[test]
fn more_than_may_be_recovered_is_told() {
    let mut options = options();
    options.client.recovery_publications_max = 10;
    let node = Node::start(1, options);
    for n in 0..11 {
        node.publish("job", &n.to_string());
    }
    let mut client = node.connect();
    let result = client.subscribe(2, "job", Some((0, "")));
    assert_eq!((&result["recovered"], &result["offset"]), (&json!(null), &json!(11)));
    let result = node.connect().subscribe(2, "job", Some((1, "")));
    assert_eq!(result["publications"].as_array().unwrap().len(), 10);
}

#[test]
fn clients_publish_and_read_history() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    client.subscribe(2, "chat", None);
    client.say(r#"{"id":3,"publish":{"channel":"chat","data":{"text":"hi"}}}"#);
    let (first, second) = (client.message(), client.message());
    let (reply, push) = if first["id"] == 3 { (first, second) } else { (second, first) };
    assert!(reply["publish"].is_object());
    assert_eq!(push["push"]["pub"]["data"], json!({"text": "hi"}));
    assert!(push["push"]["pub"]["info"]["client"].is_string());
    client.say(r#"{"id":4,"history":{"channel":"chat","limit":10}}"#);
    let history = client.reply(4)["history"].clone();
    assert_eq!((history["publications"].as_array().unwrap().len(), &history["offset"]), (1, &json!(1)));
    client.say(r#"{"id":5,"presence":{"channel":"chat"}}"#);
    assert_eq!(client.reply(5)["error"]["code"], 108);
    client.say(r#"{"id":6,"subscribe":{"channel":"chat"}}"#);
    assert_eq!(client.reply(6)["error"]["code"], 105);
    client.say(r#"{"id":7,"subscribe":{"channel":"none:chat"}}"#);
    assert_eq!(client.reply(7)["error"]["code"], 102);
}

#[test]
fn several_commands_share_a_frame() {
    let node = Node::start(1, options());
    let mut client = node.connect();
    client.say("{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}\n");
    let mut ids = [client.message()["id"].as_u64().unwrap(), client.message()["id"].as_u64().unwrap()];
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
}

#[test]
fn who_publishes_may_leave_itself_out() {
    let node = Node::start(2, options());
    let (mut own, mut other) = (node.connect(), node.connect());
    own.subscribe(2, "a", None);
    other.subscribe(2, "a", None);
    for n in 0..20 {
        let exclude = n % 2 == 0;
        own.say(&format!(r#"{{"id":{},"publish":{{"channel":"a","data":{n},"exclude_self":{exclude}}}}}"#, n + 3));
    }
    let (mut heard, mut answered) = (Vec::new(), 0);
    while heard.len() < 10 || answered < 20 {
        let message = own.message();
        match message["push"]["pub"]["data"].as_u64() {
            Some(n) => heard.push(n),
            None => answered += 1,
        }
    }
    assert_eq!(heard, (0..20).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    for n in 0..20 {
        assert_eq!(other.publication(), n);
    }
    node.publish("a", "20");
    assert_eq!((own.publication(), other.publication()), (json!(20), json!(20)));
}

#[test]
fn a_client_gets_as_much_history_at_once_as_it_may() {
    let mut options = options();
    options.client.history_publications_max = 2;
    let node = Node::start(1, options);
    for n in 0..3 {
        node.publish("job", &n.to_string());
    }
    let mut client = node.connect();
    let asked = [(2, "-1", 2), (3, "100", 2), (4, "1", 1), (5, "0", 0)];
    for (id, limit, count) in asked {
        client.say(&format!(r#"{{"id":{id},"history":{{"channel":"job","limit":{limit}}}}}"#));
        let history = client.reply(id)["history"].clone();
        let found = history["publications"].as_array().map_or(0, Vec::len);
        assert_eq!((found, &history["offset"]), (count, &json!(3)), "limit {limit}");
    }
}

#[test]
fn a_removed_history_is_gone_and_positions_stay() {
    let mut options = options();
    options.rules = Some(RulesOptions::default());
    let node = Node::start(1, options);
    let mut client = node.connect();
    let epoch = client.subscribe(2, "job", None)["epoch"].as_str().unwrap().to_owned();
    for n in 1..=3 {
        node.publish("job", &n.to_string());
        assert_eq!(client.publication(), n);
    }
    node.remove_history("job");
    let mut other = node.connect();
    other.say(r#"{"id":2,"history":{"channel":"job","limit":10}}"#);
    let history = other.reply(2)["history"].clone();
    assert_eq!((&history["publications"], &history["offset"]), (&json!([]), &json!(3)));
    assert_eq!(other.subscribe(3, "job", Some((1, &epoch)))["recovered"], json!(null), "something is gone");
    assert_eq!(node.connect().subscribe(2, "job", Some((3, &epoch)))["recovered"], true, "nothing was missed");
    node.publish("job", "4");
    assert_eq!((client.publication(), other.publication()), (json!(4), json!(4)));
    let recovered = node.connect().subscribe(2, "job", Some((3, &epoch)));
    assert_eq!((&recovered["recovered"], &recovered["publications"][0]["data"]), (&json!(true), &json!(4)));
    other.say(r#"{"id":4,"history":{"channel":"job","limit":10}}"#);
    assert_eq!(other.reply(4)["history"]["publications"][0]["offset"], 4);
}

#[test]
fn in_cache_mode_a_recovery_brings_the_newest() {
    let mut options = options();
    let cache =
        |auto| NamespaceOptions { recovery_mode: RecoveryMode::Cache, auto_cache_recover: auto, ..open_namespace() };
    options.namespaces = vec![("asked".into(), cache(false)), ("auto".into(), cache(true))];
    options.rules = Some(RulesOptions::default());
    // Little fits into the window: older ones are read from the log.
    options.window.payload_bytes_max = 10_000;
    let node = Node::start(1, options);
    let mut client = node.connect();
    let empty = client.subscribe(2, "auto:x", None);
    assert_eq!((&empty["recovered"], &empty["was_recovering"]), (&json!(null), &json!(true)));
    let epoch = empty["epoch"].as_str().unwrap().to_owned();
    for n in 1..=5 {
        node.publish("auto:x", &n.to_string());
        node.publish("asked:x", &n.to_string());
        assert_eq!(client.publication(), n);
    }
    let newest = |result: &serde_json::Value| {
        let list = result["publications"].as_array().map(Vec::as_slice).unwrap_or_default();
        (result["recovered"] == true, list.iter().map(|p| p["data"].clone()).collect::<Vec<_>>())
    };
    let ask = {
        let node = &node;
        move |channel: &str, since| newest(&node.connect().subscribe(2, channel, since))
    };
    assert_eq!(ask("auto:x", None), (true, vec![json!(5)]));
    assert_eq!(ask("asked:x", None), (false, vec![]));
    assert_eq!(ask("asked:x", Some((2, &epoch))), (true, vec![json!(5)]));
    assert_eq!(ask("asked:x", Some((5, &epoch))), (true, vec![]), "it has that already");
    assert_eq!(ask("asked:x", Some((9, "other"))), (true, vec![json!(5)]));
    for n in 0..200 {
        node.publish("busy", &format!("\"{}\"", "x".repeat(500 + n)));
    }
    assert_eq!(ask("auto:x", None), (true, vec![json!(5)]), "from the log");
    let mut late = node.connect();
    late.subscribe(2, "auto:x", None);
    node.publish("auto:x", "6");
    assert_eq!((late.publication(), client.publication()), (json!(6), json!(6)));
    node.remove_history("auto:x");
    assert_eq!(ask("auto:x", None), (false, vec![]));
}
