//! Subscriptions that the server makes: by token, by connect request, for a user, by order of a backend.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::config::{ControlOptions, CoreOptions, NamespaceOptions, PersonalChannel};
use tidegate_core::{Action, Order, OrderedSubscription};
use tidegate_testkit::hole_log::HoleLog;

use crate::rig::{Client, Heard, Node, open_namespace, options, session, signed};

fn with_tokens() -> CoreOptions {
    let mut options = options();
    options.control = Some(ControlOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    options
}

fn connect(node: &Node, request: &Value) -> (Client, Value) {
    let mut client = Client::open(node.address);
    client.say(&json!({ "id": 1, "connect": request }).to_string());
    let result = client.reply(1)["connect"].clone();
    (client, result)
}

fn subscribe(node: &Node, user: &str, subscription: OrderedSubscription) {
    let action = Action::Subscribe(Box::new(subscription));
    node.order(Order { user: user.into(), action, ..Default::default() });
}

#[test]
fn a_token_subscribes_and_a_connect_recovers() {
    let node = Node::start(2, with_tokens());
    let token = signed(&json!({"sub": "u", "channels": ["a"], "subs": {"b": {"data": {"x": 1}}}}));
    let (mut client, result) = connect(&node, &json!({ "token": token }));
    let (a, b) = (&result["subs"]["a"], &result["subs"]["b"]);
    assert_eq!((&a["recoverable"], &b["data"]), (&json!(true), &json!({"x": 1})));
    let epoch = a["epoch"].as_str().unwrap().to_owned();
    client.say(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert_eq!(client.reply(2)["error"]["code"], 105);
    node.publish("a", "1");
    node.publish("b", "2");
    let mut heard = [client.publication(), client.publication()].map(|v| v.as_u64().unwrap());
    heard.sort_unstable();
    assert_eq!(heard, [1, 2]);
    drop(client);
    node.publish("a", "3");
    let subs = json!({"a": {"recover": true, "offset": 1, "epoch": epoch}});
    let (mut client, result) = connect(&node, &json!({"token": token, "subs": subs}));
    let a = &result["subs"]["a"];
    assert_eq!((&a["recovered"], &a["publications"][0]["data"]), (&json!(true), &json!(3)));
    assert_eq!(result["subs"]["b"]["was_recovering"], json!(null));
    node.publish("a", "4");
    assert_eq!(client.publication(), 4);
}

#[test]
fn commands_behind_a_connect_wait_for_its_answer() {
    let node = Node::start(1, with_tokens());
    // A partition that nobody reads yet has to be warmed up.
    let channels: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let token = signed(&json!({"sub": "u", "channels": channels}));
    let mut client = Client::open(node.address);
    let connect = json!({"id": 1, "connect": {"token": token}});
    client.say(&format!("{connect}\n{}", r#"{"id":2,"subscribe":{"channel":"x"}}"#));
    assert_eq!(client.reply(1)["connect"]["subs"].as_object().unwrap().len(), 40);
    assert!(client.reply(2)["subscribe"].is_object());
    for (n, channel) in channels.iter().enumerate() {
        node.publish(channel, &n.to_string());
        assert_eq!(client.publication(), n);
    }
}

#[test]
fn a_connect_whose_subscriptions_do_not_begin_ends_and_says_nothing_before() {
    let log = HoleLog::default();
    log.put("a", "1");
    // Nothing begins: the partition cannot be read to its end.
    log.hold_back(true);
    let mut options = options();
    // Pings would be due while it waits, and pongs could not be read.
    (options.client.ping_interval, options.client.pong_timeout) = (Duration::from_secs(1), Duration::from_millis(300));
    let node = Node::on_log(&log, options);
    let request = json!({"subs": {"a": {}}});
    let mut client = Client::open(node.address);
    client.say(&json!({ "id": 1, "connect": request }).to_string());
    assert_eq!(client.hear(), Heard::Close(3_004, "internal server error".into()));
    node.until("it is forgotten", |hub| hub.shard_metrics()[0].clients.get() == 0);
    log.hold_back(false);
    let (_client, result) = connect(&node, &request);
    assert!(result["subs"]["a"].is_object(), "it may come again: {result}");
}

#[test]
fn a_client_gets_of_what_it_asks_for_what_it_may() {
    let mut options = with_tokens();
    options.namespaces.push(("closed".into(), NamespaceOptions::default()));
    let node = Node::start(1, options);
    let (mut client, result) = connect(&node, &json!({"subs": {"a": {}, "closed:b": {}}}));
    assert_eq!(result["subs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a"]);
    node.publish("a", "1");
    assert_eq!(client.publication(), 1);
    let mut client = Client::open(node.address);
    client.say(r#"{"id":1,"connect":{"subs":{"nowhere:b":{}}}}"#);
    assert_eq!(client.close_code(), 3_501);
}

#[test]
fn a_backend_subscribes_and_ends_it() {
    let node = Node::start(2, with_tokens());
    let epoch = node.publish("a", "1").epoch.to_string();
    node.publish("a", "2");
    let (mut one, _) = session(&node, "u");
    let (mut other, _) = session(&node, "v");
    let ordered = OrderedSubscription {
        channel: "a".into(),
        data: r#"{"x":1}"#.into(),
        since: Some((1, epoch.clone())),
        ..Default::default()
    };
    subscribe(&node, "u", ordered.clone());
    let push = one.message()["push"].clone();
    let expected = json!({"recoverable": true, "positioned": true, "offset": 1, "epoch": epoch, "data": {"x": 1}});
    assert_eq!((&push["channel"], &push["subscribe"]), (&json!("a"), &expected));
    assert_eq!(one.publication(), 2, "what the session had not seen yet");
    subscribe(&node, "u", ordered);
    node.publish("a", "3");
    assert_eq!(one.publication(), 3, "a second order changes nothing");
    node.order(Order { user: "u".into(), action: Action::Unsubscribe { channel: "a".into() }, ..Default::default() });
    assert_eq!(one.message()["push"]["unsubscribe"]["code"], 2_000);
    node.publish("a", "4");
    node.publish("b", "5");
    other.subscribe(2, "b", Some((0, "")));
}

#[test]
fn a_subscription_of_the_server_that_expires_ends_the_connection() {
    let mut options = with_tokens();
    options.client.expired_close_delay = Duration::ZERO;
    let node = Node::start(1, options);
    let (mut client, _) = session(&node, "u");
    let soon = node.hub.clock().wall_ms() / 1_000 + 1;
    subscribe(&node, "u", OrderedSubscription { channel: "a".into(), expire_at: Some(soon), ..Default::default() });
    assert_eq!(client.message()["push"]["channel"], "a");
    assert_eq!(client.close_code(), 3_006);
}

#[test]
fn a_subscription_too_many_ends_the_connection() {
    let mut options = with_tokens();
    options.client.channel_limit = 1;
    let node = Node::start(1, options);
    let (mut client, _) = session(&node, "u");
    client.subscribe(2, "a", None);
    subscribe(&node, "u", OrderedSubscription { channel: "b".into(), ..Default::default() });
    assert_eq!(client.close_code(), 3_505);
}

#[test]
fn a_user_has_a_channel_and_may_have_one_session_only() {
    let mut options = with_tokens();
    options.client.personal_channel = Some(PersonalChannel { namespace: None, single_connection: true });
    let node = Node::start(2, options);
    let (mut old, _) = session(&node, "u");
    let (mut other, _) = session(&node, "v");
    node.publish("#u", "1");
    assert_eq!(old.publication(), 1);
    let (mut new, _) = session(&node, "u");
    assert_eq!(old.close_code(), 3_504);
    node.publish("#u", "2");
    node.publish("#v", "3");
    assert_eq!((new.publication(), other.publication()), (json!(2), json!(3)));
    let mut anonymous = node.connect();
    anonymous.subscribe(2, "a", None);
}

#[test]
fn of_many_sessions_at_once_the_newest_stays() {
    let mut options = with_tokens();
    options.client.personal_channel = Some(PersonalChannel { namespace: None, single_connection: true });
    let node = Node::start(2, options);
    let mut all: Vec<Client> = (0..20).map(|_| session(&node, "u").0).collect();
    node.until("one is left", |hub| hub.report().clients == 1);
    node.publish("#u", "1");
    let mut newest = all.pop().unwrap();
    assert_eq!(newest.publication(), 1);
    for mut client in all {
        assert_eq!(client.close_code(), 3_504);
    }
}

#[test]
fn who_is_subscribed_by_the_server_is_present_and_sees_itself_join() {
    let mut options = with_tokens();
    options.default_namespace =
        Some(NamespaceOptions { presence: true, join_leave: true, force_push_join_leave: true, ..open_namespace() });
    let node = Node::start(1, options);
    let token = signed(&json!({"sub": "u", "subs": {"a": {"info": {"name": "U"}}}}));
    let (mut client, result) = connect(&node, &json!({ "token": token }));
    let join = client.message()["push"].clone();
    assert_eq!((&join["channel"], &join["join"]["info"]["client"]), (&json!("a"), &result["client"]));
    assert_eq!(join["join"]["info"]["chan_info"], json!({"name": "U"}));
}

#[test]
fn a_token_that_names_the_personal_channel_subscribes_to_it_once() {
    let mut options = with_tokens();
    options.client.personal_channel = Some(PersonalChannel { namespace: None, single_connection: false });
    let node = Node::start(1, options);
    let token = signed(&json!({"sub": "u", "channels": ["#u"]}));
    let (mut client, _) = connect(&node, &json!({ "token": token }));
    node.publish("#u", "1");
    node.publish("#u", "2");
    assert_eq!((client.publication(), client.publication()), (json!(1), json!(2)));
    drop(client);
    node.until("it is gone", |hub| hub.report().clients == 0);
    // Whoever takes its place in the slab hears nothing of it.
    let (mut other, _) = session(&node, "v");
    node.publish("#u", "3");
    node.publish("#v", "4");
    assert_eq!(other.publication(), 4);
}

#[test]
fn by_order_in_cache_mode_the_newest_comes() {
    let mut options = with_tokens();
    options.namespaces = vec![(
        "cache".into(),
        NamespaceOptions {
            recovery_mode: tidegate_core::config::RecoveryMode::Cache,
            auto_cache_recover: true,
            ..open_namespace()
        },
    )];
    let node = Node::start(1, options);
    for n in 1..=5 {
        node.publish("cache:a", &n.to_string());
    }
    let (mut client, _) = session(&node, "u");
    subscribe(&node, "u", OrderedSubscription { channel: "cache:a".into(), ..Default::default() });
    client.message();
    assert_eq!(client.publication(), 5, "the newest alone");
}

#[test]
fn an_answer_for_a_subscription_that_was_given_up_is_not_that_of_the_next() {
    let node = Node::start(1, with_tokens());
    let mut wrong = 0;
    for n in 0..20 {
        let channel = format!("c{n}");
        let epoch = node.publish(&channel, "1").epoch.to_string();
        node.publish(&channel, "2");
        let mut client = node.connect();
        let first = json!({"id": 2, "subscribe": {"channel": channel, "recover": true, "offset": 0, "epoch": epoch}});
        let rest = format!(
            "{}\n{}",
            json!({"id": 3, "unsubscribe": {"channel": channel}}),
            json!({"id": 4, "subscribe": {"channel": channel}})
        );
        client.say(&format!("{first}\n{rest}"));
        let answer = loop {
            let message = client.message();
            if message["id"] == 4 {
                break message["subscribe"].clone();
            }
        };
        if answer["publications"] != json!(null) {
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}

#[test]
fn a_claim_of_a_session_that_is_gone_closes_nobody() {
    let mut options = with_tokens();
    options.client.personal_channel = Some(PersonalChannel { namespace: None, single_connection: true });
    let node = Node::start(1, options);
    let (old, gone) = session(&node, "u");
    drop(old);
    node.until("it is gone", |hub| hub.report().clients == 0);
    let (mut new, _) = session(&node, "u");
    node.publish("#u", "1");
    assert_eq!(new.publication(), 1);
    // What its task does when the control log gave no answer in time, though it has the order.
    node.order(Order { user: "u".into(), action: Action::Single { client: gone }, ..Default::default() });
    node.publish("#u", "2");
    assert_eq!(new.publication(), 2);
}

#[test]
fn a_user_with_a_colon_has_a_personal_channel() {
    let mut options = with_tokens();
    options.client.personal_channel = Some(PersonalChannel { namespace: None, single_connection: false });
    let node = Node::start(1, options);
    session(&node, "google:123");
}

#[test]
fn a_token_that_is_over_is_expired_at_once_and_not_a_session_that_ends() {
    let node = Node::start(1, with_tokens());
    let past = |seconds: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        now - seconds
    };
    let connection = |expire_at| signed(&json!({"sub": "u", "exp": past(0) + 3_600, "expire_at": expire_at}));
    let mut client = Client::open(node.address);
    client.say(&json!({"id": 1, "connect": {"token": connection(past(3_600))}}).to_string());
    assert_eq!(client.reply(1)["error"]["code"], 109);
    // One that may still be refreshed in band is given the time.
    let (mut client, result) = connect(&node, &json!({ "token": connection(past(5)) }));
    assert_eq!((&result["expires"], &result["ttl"]), (&json!(true), &json!(1)));
    let token = signed(&json!({"sub": "u", "channel": "$a", "exp": past(0) + 3_600, "expire_at": past(3_600)}));
    client.say(&json!({"id": 2, "subscribe": {"channel": "$a", "token": token}}).to_string());
    assert_eq!(client.reply(2)["error"]["code"], 109);
    client.say(&json!({"id": 3, "refresh": {"token": connection(past(3_600))}}).to_string());
    assert_eq!(client.close_code(), 3_005);
}

#[test]
fn what_a_token_says_of_a_client_in_a_channel_goes_with_what_it_publishes() {
    let node = Node::start(1, with_tokens());
    let (mut client, _) = connect(&node, &json!({"token": signed(&json!({"sub": "u", "info": {"n": 1}}))}));
    let token = signed(&json!({"sub": "u", "channel": "$a", "info": {"role": "mod"}}));
    client.say(&json!({"id": 2, "subscribe": {"channel": "$a", "token": token}}).to_string());
    client.reply(2);
    client.say(r#"{"id":3,"publish":{"channel":"$a","data":1}}"#);
    let mut seen = json!(null);
    while seen.is_null() {
        seen = client.message()["push"]["pub"]["info"].clone();
    }
    assert_eq!((&seen["conn_info"], &seen["chan_info"]), (&json!({"n": 1}), &json!({"role": "mod"})));
}

#[test]
fn who_names_a_position_recovers_also_without_asking_for_the_next() {
    let mut options = with_tokens();
    let namespace = options.default_namespace.as_mut().unwrap();
    (namespace.force_recovery, namespace.allow_recovery) = (false, true);
    let node = Node::start(1, options);
    let token = signed(&json!({"sub": "u"}));
    let (mut client, _) = connect(&node, &json!({ "token": token }));
    let at = client.subscribe(2, "a", None);
    assert_eq!(at["recoverable"], json!(null), "nobody asked");
    node.publish("a", "1");
    let epoch = node.publish("a", "2").epoch.to_string();
    let (mut client, _) = connect(&node, &json!({ "token": token }));
    client.say(
        &json!({"id": 2, "subscribe": {"channel": "a", "recover": true, "offset": 1, "epoch": epoch}}).to_string(),
    );
    let reply = client.reply(2)["subscribe"].clone();
    assert_eq!((&reply["recovered"], &reply["publications"][0]["data"]), (&json!(true), &json!(2)), "{reply}");
}
