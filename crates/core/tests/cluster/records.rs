//! Records that the log does not take: who waits is told, and everything else goes on.

use std::sync::atomic::Ordering::Relaxed;

use tidegate_core::{Action, HubError, Order, OrderedSubscription, ShardEvent};
use tidegate_types::codes::ErrorCode;

use crate::rig::{LEASE, Node, shared, until};

/// Subscribes a user, with so much data.
fn order(node: &Node, user: &str, bytes: usize) -> Result<(), HubError> {
    let subscription = OrderedSubscription { channel: "a".into(), data: "x".repeat(bytes), ..Default::default() };
    let action = Action::Subscribe(Box::new(subscription));
    node.wait(node.control().order(Order { user: user.into(), action, ..Default::default() }))
}

fn ordered(node: &Node) -> Vec<String> {
    let user = |event| if let ShardEvent::Order(order) = event { Some(order.user.clone()) } else { None };
    node.told().into_iter().filter_map(user).collect()
}

#[test]
fn an_order_that_no_record_holds_is_refused_and_the_others_go_on() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    let error = order(&one, "u", 1 << 20).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::BAD_REQUEST, false), "{error}");
    one.join("a", 1, "u");
    until("present", || two.users("a") == ["u"]);
    order(&one, "v", 500_000).unwrap();
    until("ordered", || ordered(&two) == ["v"]);
    std::thread::sleep(LEASE);
    assert_eq!((two.names().len(), two.users("a")), (2, vec!["u".to_owned()]));
}

#[test]
fn members_with_much_to_show_are_announced_to_a_node_that_starts() {
    let broker = shared();
    let one = Node::start("one", &broker);
    let much = format!("\"{}\"", "x".repeat(1_900));
    for client in 0..600 {
        one.join_showing("a", client, "u", &much);
    }
    assert_eq!(one.users("a").len(), 600);
    let two = Node::start("two", &broker);
    assert_eq!(two.users("a").len(), 600);
}

#[test]
fn what_the_log_refuses_is_answered_and_presence_is_said_again() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    one.join("a", 1, "u");
    until("present", || two.users("a") == ["u"]);
    broker.takes.store(0, Relaxed);
    let error = order(&one, "u", 1).unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("too large"), "{error}");
    one.join("a", 2, "v");
    one.leave("a", 1, false);
    std::thread::sleep(LEASE / 10);
    broker.takes.store(1_000_000, Relaxed);
    // Its own change is not passed over because a later record came back.
    order(&one, "w", 1).unwrap();
    assert_eq!(one.users("a"), ["v"]);
    until("said again", || two.users("a") == ["v"]);
}
