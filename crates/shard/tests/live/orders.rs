//! Orders of a backend for sessions.

use serde_json::json;
use tidegate_core::config::{ControlOptions, RulesOptions};
use tidegate_core::{Action, Order, Rule};
use tidegate_types::codes::Disconnect;

use crate::rig::{Client, Node, options, session, signed};

fn node() -> Node {
    let mut options = options();
    options.control = Some(ControlOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    Node::start(2, options)
}

fn order(node: &Node, user: &str, action: Action) {
    node.order(Order { user: user.into(), action, ..Default::default() });
}

#[test]
fn sessions_of_a_user_are_closed_but_for_those_named() {
    let node = node();
    let (mut one, _) = session(&node, "u");
    let (mut two, stays) = session(&node, "u");
    let (mut other, _) = session(&node, "v");
    let (code, reason) = (4_001, "enough for today".to_owned());
    order(&node, "u", Action::Disconnect { code, reason, whitelist: vec![stays] });
    assert_eq!(one.close_code(), 4_001);
    two.subscribe(2, "a", None);
    other.subscribe(2, "a", None);
}

#[test]
fn an_order_may_name_one_session() {
    let node = node();
    let (mut one, id) = session(&node, "u");
    let (mut two, _) = session(&node, "u");
    let Disconnect { code, reason } = Disconnect::FORCE_NO_RECONNECT;
    let action = Action::Disconnect { code, reason: reason.into(), whitelist: vec![] };
    node.order(Order { client: id, action, ..Default::default() });
    assert_eq!(one.close_code(), 3_503);
    two.subscribe(2, "a", None);
}

#[test]
fn a_subscription_ends_by_order_and_the_others_stay() {
    let node = node();
    let (mut client, _) = session(&node, "u");
    client.subscribe(2, "a", None);
    client.subscribe(3, "b", None);
    order(&node, "u", Action::Unsubscribe { channel: "a".into() });
    let push = client.message();
    assert_eq!((&push["push"]["channel"], &push["push"]["unsubscribe"]["code"]), (&"a".into(), &2_000.into()));
    node.publish("a", "1");
    node.publish("b", "2");
    assert_eq!(client.publication(), 2);
}

fn refresh(expire_at: Option<i64>) -> Action {
    Action::Refresh { expire_at, info: String::new() }
}

#[test]
fn a_token_lives_as_long_as_a_backend_says() {
    let node = node();
    let (mut client, _) = session(&node, "u");
    let soon = node.hub.clock().wall_ms() / 1_000 + 600;
    order(&node, "u", refresh(Some(soon)));
    let told = client.message()["push"]["refresh"].clone();
    assert_eq!(told["expires"], true);
    assert!((590..=600).contains(&told["ttl"].as_u64().unwrap()), "{told}");
    order(&node, "u", refresh(None));
    assert_eq!(client.message()["push"]["refresh"], serde_json::json!({}));
    order(&node, "u", refresh(Some(1)));
    assert_eq!(client.close_code(), 3_005);
}

#[test]
fn a_client_shows_as_a_backend_says_until_its_next_token() {
    let node = node();
    let claims = json!({"sub": "u", "info": {"name": "Ann"}});
    let mut client = Client::open(node.address);
    client.say(&json!({"id": 1, "connect": {"token": signed(&claims)}}).to_string());
    client.reply(1);
    let mut nobody = node.connect();
    let mut reader = node.connect();
    reader.subscribe(2, "a", None);
    let mut shown = |client: &mut Client| {
        client.say(r#"{"id":9,"publish":{"channel":"a","data":1}}"#);
        client.reply(9);
        reader.message()["push"]["pub"]["info"]["conn_info"].clone()
    };
    assert_eq!((shown(&mut client), shown(&mut nobody)), (json!({"name": "Ann"}), json!(null)));
    let told = |client: &mut Client| while client.message()["push"]["refresh"].is_null() {};
    let named = |info: &str| Action::Refresh { expire_at: None, info: info.into() };
    order(&node, "u", named(r#"{"name":"Bea"}"#));
    told(&mut client);
    assert_eq!(shown(&mut client), json!({"name": "Bea"}));
    order(&node, "u", refresh(None));
    told(&mut client);
    assert_eq!(shown(&mut client), json!({"name": "Bea"}), "an order without it leaves it");
    client.say(&json!({"id": 3, "refresh": {"token": signed(&claims)}}).to_string());
    client.reply(3);
    assert_eq!(shown(&mut client), json!({"name": "Ann"}));
}

#[test]
fn what_is_revoked_ends_sessions_and_keeps_them_out() {
    let mut options = options();
    options.rules = Some(RulesOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    let node = Node::start(2, options);
    let now = node.hub.clock().wall_ms() / 1_000;
    let open = |claims: serde_json::Value| {
        let mut client = Client::open(node.address);
        client.say(&json!({"id": 1, "connect": {"token": signed(&claims)}}).to_string());
        client
    };
    let connected = |claims: serde_json::Value| {
        let mut client = open(claims);
        assert!(client.reply(1)["connect"]["client"].is_string());
        client
    };
    let (until, old, new) = (now + 600, json!({"sub": "u", "iat": now - 60}), json!({"sub": "u", "iat": now}));
    let named = json!({"sub": "v", "jti": "t1"});
    let (mut by_old, mut by_new, mut by_name) =
        (connected(old.clone()), connected(new.clone()), connected(named.clone()));
    node.revoke(Rule::Token { id: "t1".into(), until });
    assert_eq!(by_name.close_code(), 3_014, "it may come with another token");
    assert_eq!(open(named).close_code(), 3_500);
    connected(json!({"sub": "v", "jti": "t2"}));
    node.revoke(Rule::Before { user: "u".into(), issued_before: now - 30, until });
    assert_eq!(by_old.close_code(), 3_014);
    assert_eq!(open(old).close_code(), 3_500);
    by_new.subscribe(2, "a", None);
    by_new.say(&json!({"id": 3, "refresh": {"token": signed(&json!({"sub": "u", "iat": now - 60}))}}).to_string());
    assert_eq!(by_new.close_code(), 3_500);
    let mut user = connected(new.clone());
    node.revoke(Rule::Block { user: "u".into(), until });
    assert_eq!(user.close_code(), 3_507);
    assert_eq!(open(new.clone()).close_code(), 3_507);
    node.revoke(Rule::Unblock { user: "u".into() });
    let mut user = connected(new);
    node.revoke(Rule::Token { id: "t3".into(), until });
    let subscription = signed(&json!({"sub": "u", "channel": "$a", "jti": "t3"}));
    user.say(&json!({"id": 2, "subscribe": {"channel": "$a", "token": subscription}}).to_string());
    assert_eq!(user.reply(2)["error"]["code"], 103);
}

#[test]
fn a_subscription_whose_token_is_revoked_ends_and_the_others_go_on() {
    let mut options = options();
    options.rules = Some(RulesOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    let node = Node::start(1, options);
    let now = node.hub.clock().wall_ms() / 1_000;
    let until = now + 600;
    let mut client = Client::open(node.address);
    client.say(&json!({"id": 1, "connect": {"token": signed(&json!({"sub": "u", "iat": now}))}}).to_string());
    client.reply(1);
    let token =
        |channel: &str, jti: &str, iat: i64| signed(&json!({"sub": "u", "channel": channel, "jti": jti, "iat": iat}));
    for (id, channel, jti, iat) in [(2, "$a", "t1", now), (3, "$b", "t2", now - 60), (4, "$c", "t3", now)] {
        let token = token(channel, jti, iat);
        client.say(&json!({"id": id, "subscribe": {"channel": channel, "token": token}}).to_string());
        assert!(client.reply(id)["subscribe"].is_object());
    }
    let ends = |client: &mut Client, channel: &str, rule: Rule| {
        node.revoke(rule);
        let push = client.message()["push"].take();
        assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!(channel), &json!(2502)));
    };
    ends(&mut client, "$a", Rule::Token { id: "t1".into(), until });
    ends(&mut client, "$b", Rule::Before { user: "u".into(), issued_before: now - 30, until });
    let refreshed = json!({"id": 5, "sub_refresh": {"channel": "$c", "token": token("$c", "t4", now)}});
    client.say(&refreshed.to_string());
    assert!(client.reply(5)["sub_refresh"].is_object());
    node.revoke(Rule::Token { id: "t3".into(), until });
    node.publish("$c", "1");
    assert_eq!(client.publication(), 1, "it stands on a newer token");
    ends(&mut client, "$c", Rule::Token { id: "t4".into(), until });
    client.subscribe(6, "open", None);
}

#[test]
fn channels_with_subscribers_are_counted_by_pattern() {
    let node = node();
    let mut clients: Vec<_> = (0..6).map(|_| node.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(2, "all", None);
        client.subscribe(3, &format!("job.{}", n % 3), None);
    }
    let found = |pattern: &str| node.channels(pattern).into_iter().collect::<Vec<_>>();
    let jobs = [("job.0".to_owned(), 2), ("job.1".to_owned(), 2), ("job.2".to_owned(), 2)];
    assert_eq!(found("job.*"), jobs);
    assert_eq!((found("").len(), found("a*")), (4, vec![("all".to_owned(), 6)]));
    drop(clients);
    node.until("all have gone", |hub| hub.report().subscriptions == 0);
    assert_eq!(found(""), []);
}
