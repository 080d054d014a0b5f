//! Records that the log does not take: who waits is told, and everything else goes on.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tidegate_core::UplinkError::{Busy, TooLarge};
use tidegate_core::{Action, HubError, Order, OrderedSubscription, ShardEvent, Ticket};
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::COMMAND_WAIT_MAX;
use tidegate_types::{ClientId, ClientInfo};

use crate::rig::{LEASE, Node, name, shared, until};

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
fn what_no_record_holds_is_refused_and_the_others_go_on() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    let error = order(&one, "u", 1 << 20).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::BAD_REQUEST, false), "{error}");
    let (_, uplink) = two.hub.open_uplink(0, Ticket { connection: 7, generation: 1, command: 0 });
    until("both are known", || one.names().len() == 2);
    let commands = vec![b'x'; 700_000].into();
    assert_eq!(one.wait(one.hub.uplink(&uplink.node, &uplink.session, commands)), Err(TooLarge));
    let much = ClientInfo { chan_info: vec![b'x'; 1 << 20].into(), ..Default::default() };
    let error = one.control().join(&name("a"), ClientId(9), much).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
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

#[test]
fn a_flood_of_commands_for_another_node_is_refused_and_holds_up_nothing_else() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    until("both are known", || one.names().len() == 2);
    two.control().watch(&name("a"), 0);
    let (_, uplink) = two.hub.open_uplink(0, Ticket { connection: 7, generation: 1, command: 0 });
    broker.away.store(true, Relaxed);
    let flood: Vec<_> = (0..300)
        .map(|_| {
            let (hub, uplink) = (one.hub.clone(), uplink.clone());
            one.spawn(one.hub.control().unwrap().clone(), |_| async move {
                hub.uplink(&uplink.node, &uplink.session, vec![b'x'; 64 << 10].into()).await
            })
        })
        .collect();
    // Most of them do not wait for anything.
    until("there is no more room", || flood.iter().filter(|said| said.is_finished()).count() >= 150);
    let begun = Instant::now();
    assert_eq!(one.wait(one.hub.uplink(&uplink.node, &uplink.session, vec![b'x'; 64 << 10].into())), Err(Busy));
    assert!(begun.elapsed() < COMMAND_WAIT_MAX / 2, "it waits for nothing");
    one.join("a", 1, "u");
    broker.away.store(false, Relaxed);
    order(&one, "u", 1).unwrap();
    assert_eq!(one.users("a"), ["u"]);
    for said in flood {
        assert!(matches!(one.wait(said).unwrap(), Ok(()) | Err(Busy)));
    }
    assert_eq!(one.wait(one.hub.uplink(&uplink.node, &uplink.session, "{}".into())), Ok(()));
    until("read so far", || two.users("a") == ["u"]);
    let before = two.told().into_iter().take_while(|event| !matches!(event, ShardEvent::Presence(_))).count();
    assert!(before <= 2, "what was on its way, and what shares the record: {before}");
}

#[test]
fn a_beginning_that_the_log_refused_is_said_when_another_node_asks() {
    let broker = shared();
    broker.takes.store(0, Relaxed);
    let one = Node::start("one", &broker);
    one.join("a", 1, "u");
    std::thread::sleep(LEASE / 10);
    broker.takes.store(1_000_000, Relaxed);
    let two = Node::start("two", &broker);
    until("the second knows who is there", || two.users("a") == ["u"]);
    until("the first is whole", || one.names().len() == 2 && one.users("a") == ["u"]);
}
