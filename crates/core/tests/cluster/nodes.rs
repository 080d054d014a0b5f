//! Who is there, and commands for connections elsewhere.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tidegate_core::{Drained, ShardEvent, Ticket, UplinkError};
use tidegate_types::codes::ErrorCode;

use crate::rig::{LEASE, Node, shared, until};

#[test]
fn nodes_know_each_other_until_one_goes_or_dies() {
    let broker = shared();
    let (one, two, three) = (Node::start("one", &broker), Node::start("two", &broker), Node::start("three", &broker));
    for node in [&one, &two, &three] {
        until("three are known", || node.names() == ["one", "three", "two"]);
    }
    two.wait(two.hub.shutdown());
    until("one went in order", || one.names() == ["one", "three"] && three.names() == ["one", "three"]);
    let begun = Instant::now();
    three.kill();
    until("one died", || one.names() == ["one"]);
    assert!(begun.elapsed() > LEASE / 2, "a lease is not over at once");
}

#[test]
fn a_node_says_how_it_is_also_while_its_clients_come_and_go() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    until("both are known", || two.names().len() == 2);
    for clients in 1..=3 {
        one.metrics.clients.add(1);
        let begun = Instant::now();
        until("two has heard of the client", || {
            // Each pass of the loop, so that the node is never silent for a part of the lease.
            one.join("a", 1, "u");
            one.leave("a", 1, false);
            two.control().nodes().iter().any(|(_, report)| report.name == "one" && report.clients == clients)
        });
        assert!(begun.elapsed() < LEASE, "after {:?}", begun.elapsed());
    }
}

#[test]
fn a_node_says_how_many_users_it_has() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    until("both are known", || two.names().len() == 2);
    for user in ["u1", "u1", "u2", ""] {
        one.hub.users().come(user);
    }
    until("two has heard of the users", || {
        one.join("a", 1, "u1");
        one.leave("a", 1, false);
        two.control().nodes().iter().any(|(_, report)| report.name == "one" && report.users == Some(3))
    });
}

#[test]
fn nobody_lapses_while_the_log_is_away() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    one.join("a", 1, "u");
    until("present", || two.users("a") == ["u"]);
    broker.away.store(true, Relaxed);
    std::thread::sleep(LEASE * 3);
    assert_eq!((one.names(), two.names()), (vec!["one".to_owned(), "two".into()], vec!["one".into(), "two".into()]));
    broker.away.store(false, Relaxed);
    let back = Instant::now();
    while back.elapsed() < LEASE * 2 {
        assert_eq!((one.names().len(), two.users("a")), (2, vec!["u".to_owned()]));
    }
}

#[test]
fn commands_find_their_connection_on_any_node() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    let ticket = Ticket { connection: 7, generation: 1, command: 0 };
    let (_, uplink) = one.hub.open_uplink(0, ticket);
    let say = |node: &Node, target: &str, session: &str| node.wait(node.hub.uplink(target, session, "{}".into()));
    assert_eq!(say(&two, &uplink.node, &uplink.session), Ok(()));
    let is_it =
        |event: &ShardEvent| matches!(event, ShardEvent::Uplink { ticket: t, data } if *t == ticket && data == "{}");
    until("brought", || one.told().iter().any(is_it));
    assert_eq!(say(&two, &uplink.node, &"0".repeat(32)), Ok(()), "a session that has ended is no error");
    assert_eq!(say(&two, "nobody", &uplink.session), Err(UplinkError::UnknownNode));
    broker.away.store(true, Relaxed);
    let begun = Instant::now();
    assert_eq!(say(&two, &uplink.node, &uplink.session), Err(UplinkError::Busy));
    assert!(begun.elapsed() < Duration::from_secs(5));
    broker.away.store(false, Relaxed);
    assert_eq!(say(&two, &uplink.node, &uplink.session), Ok(()));
    until("brought", || one.told().iter().any(is_it));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!one.told().iter().any(is_it), "what nobody waits for any more is not brought");
}

#[test]
fn a_connection_whose_commands_find_no_room_is_named_to_its_shard() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    let ticket = Ticket { connection: 7, generation: 1, command: 0 };
    let (_, uplink) = one.hub.open_uplink(0, ticket);
    while one.inbox.offer(ShardEvent::RulesRead) {}
    for _ in 0..2 {
        let said = two.wait(two.hub.uplink(&uplink.node, &uplink.session, "{}".into()));
        assert_eq!(said, Ok(()), "the node that took them cannot know");
    }
    two.join("after", 1, "u");
    until("read so far", || one.users("after") == ["u"]);
    let mut drained = Drained::default();
    one.inbox.drain(&mut drained);
    assert_eq!(drained.unheard, [ticket]);
    assert!(!drained.events.iter().any(|event| matches!(event, ShardEvent::Uplink { .. })));
    assert_eq!(two.wait(two.hub.uplink(&uplink.node, &uplink.session, "{}".into())), Ok(()));
    until("heard again", || one.told().iter().any(|event| matches!(event, ShardEvent::Uplink { .. })));
}

#[test]
fn every_node_says_which_channels_it_has() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    until("both are known", || one.names().len() == 2 && two.names().len() == 2);
    let channels = |count: u32| vec![(std::sync::Arc::from("a"), count), (format!("b{count}").as_str().into(), 1)];
    let asking = one.spawn(one.hub.control().unwrap().clone(), |control| async move { control.channels("*").await });
    let answered = std::cell::Cell::new(0);
    until("both shards were asked", || {
        for (node, count) in [(&one, 1), (&two, 2)] {
            for event in node.told() {
                if let ShardEvent::Survey { reply, .. } = event {
                    reply.send(channels(count)).unwrap();
                    answered.set(answered.get() + 1);
                }
            }
        }
        answered.get() == 2
    });
    let found: Vec<_> = one.wait(asking).unwrap().unwrap().into_iter().collect();
    assert_eq!(found, [("a".to_owned(), 3), ("b1".to_owned(), 1), ("b2".to_owned(), 1)]);
    let asking = one.spawn(one.hub.control().unwrap().clone(), |control| async move { control.channels("*").await });
    assert!(one.wait(asking).unwrap().is_err(), "who does not answer is no node without channels");
}

#[test]
fn questions_that_nobody_waits_for_any_more_are_forgotten() {
    let broker = shared();
    let one = Node::start("one", &broker);
    until("it is known", || one.names().len() == 1);
    for _ in 0..20 {
        let asking = one.spawn(one.hub.control().unwrap().clone(), |control| async move {
            // The HTTP side drops what it asks when its client hangs up.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(5), control.channels("*")).await;
        });
        let _ = one.wait(asking);
    }
    let asking = one.spawn(one.hub.control().unwrap().clone(), |control| async move { control.channels("*").await });
    let error = one.wait(asking).unwrap().unwrap_err();
    assert!(!error.to_string().contains("too many questions"), "{error}");
}

#[test]
fn one_question_too_many_may_be_asked_again() {
    let broker = shared();
    let one = Node::start("one", &broker);
    until("it is known", || one.names().len() == 1);
    let control = one.hub.control().unwrap();
    let error = one.wait(async {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..17 {
            let control = control.clone();
            asking.spawn(async move { control.channels("*").await });
        }
        // The others wait for a shard that does not answer.
        asking.join_next().await.unwrap().unwrap().unwrap_err()
    });
    assert_eq!(error.to_string(), "too many questions for channels at the same time, try again");
    assert!(error.is_retryable() && error.code() == ErrorCode::INTERNAL);
}
