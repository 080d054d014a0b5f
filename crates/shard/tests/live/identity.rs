//! Users that a proxy vouches for, and how many sessions there may be.

use serde_json::json;
use tidegate_core::config::{CoreOptions, RulesOptions, UserHeader};
use tidegate_core::{Action, Order, Rule};

use crate::response::Response;
use crate::rig::{Client, Node, options, session, signed};

pub(crate) fn behind(proxies: &[&str]) -> CoreOptions {
    let mut options = options();
    options.control = Some(tidegate_core::config::ControlOptions::default());
    options.rules = Some(RulesOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    options.client.allow_anonymous = false;
    let proxies = proxies.iter().map(|net| net.parse().unwrap()).collect();
    options.client.user_header = Some(UserHeader { name: "X-User-Id".into(), proxies });
    options
}

fn get(node: &Node, target: &str, headers: &str) -> Response {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    Response::ask(std::net::TcpStream::connect(node.address).unwrap(), head.as_bytes())
}

/// Closes the sessions of a user and tells whether a stream was one of them.
fn is_of(node: &Node, stream: &mut Response, user: &str) -> bool {
    let action = Action::Disconnect { code: 4_000, reason: "who are you".into(), whitelist: vec![] };
    node.order(Order { user: user.into(), action, ..Default::default() });
    node.publish("a", "1");
    loop {
        let line = stream.line();
        if line.starts_with("data: ") && !line.contains("\"connect\"") {
            return line.contains("who are you");
        }
    }
}

#[test]
fn a_trusted_proxy_says_who_a_client_is() {
    let node = Node::start(1, behind(&["10.0.0.0/8", "127.0.0.0/8"]));
    let mut stream = get(&node, "/sse?channel=a", "X-User-Id: ann\r\n");
    assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
    assert!(is_of(&node, &mut stream, "ann"));
    let token = signed(&json!({"sub": "bob"}));
    let mut stream = get(&node, &format!("/sse?channel=a&token={token}"), "X-User-Id: ann\r\n");
    assert!(!is_of(&node, &mut stream, "ann"), "a token says it better");
    for headers in ["", "X-User-Id: \r\n", "X-User-Id: ann\r\nX-User-Id: bob\r\n", "X-User-Id: ann, bob\r\n"] {
        let head = get(&node, "/sse?channel=a", headers).head;
        assert!(head.starts_with("HTTP/1.1 400 "), "{headers:?}: {head}");
    }
    node.revoke(Rule::Block { user: "ann".into(), until: node.hub.clock().wall_ms() / 1000 + 60 });
    assert!(get(&node, "/sse?channel=a", "X-User-Id: ann\r\n").head.starts_with("HTTP/1.1 403 "));
}

#[test]
fn from_elsewhere_the_header_means_nothing() {
    let node = Node::start(1, behind(&["10.0.0.0/8"]));
    assert!(get(&node, "/sse?channel=a", "X-User-Id: ann\r\n").head.starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_user_and_a_node_have_so_many_sessions_and_no_more() {
    let mut options = behind(&[]);
    options.client.user_connection_limit = 2;
    options.client.connection_limit = 3;
    let node = Node::start(2, options);
    let (one, _) = session(&node, "u");
    let (mut two, _) = session(&node, "u");
    let refused = |user: &str| {
        let mut client = Client::open(node.address);
        client.say(&json!({"id": 1, "connect": {"token": signed(&json!({ "sub": user }))}}).to_string());
        client.close_code()
    };
    assert_eq!(refused("u"), 3_504);
    let (_other, _) = session(&node, "v");
    assert_eq!(refused("w"), 3_013, "the node is full, and others may not be");
    drop(one);
    node.until("one has gone", |hub| hub.report().clients == 2);
    let (mut three, _) = session(&node, "u");
    two.subscribe(2, "a", None);
    three.subscribe(2, "a", None);
}
