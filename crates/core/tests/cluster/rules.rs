//! Rules over nodes that come, go and die.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_core::config::{CoreOptions, RulesOptions};
use tidegate_core::{Bearer, Revoked, Rule, ShardEvent};

use crate::rig::{Node, Shared, shared, until};

fn start(name: &str, broker: &Shared) -> Node {
    Node::start_with(name, broker, |options: &mut CoreOptions| {
        options.rules = Some(RulesOptions::default());
    })
}

fn check(node: &Node, user: &str, token: &str, issued_at: i64) -> Result<(), Revoked> {
    let bearer = Bearer { user, token, issued_at: Some(issued_at) };
    node.hub.rules().unwrap().check(bearer).expect("a node that started knows")
}

fn revoke(node: &Node, rule: Rule) {
    node.wait(node.hub.rules().unwrap().decide(rule)).unwrap();
}

/// An hour from now.
fn later(node: &Node) -> i64 {
    node.hub.clock().wall_ms() / 1000 + 3_600
}

#[test]
fn what_one_node_revokes_counts_on_all_and_after_all_have_gone() {
    let broker = shared();
    let (one, two) = (start("one", &broker), start("two", &broker));
    let until_then = later(&one);
    revoke(&one, Rule::Token { id: "t1".into(), until: until_then });
    assert_eq!(check(&one, "u", "t1", 0), Err(Revoked::Token), "at once where it was revoked");
    until("the other node knows", || check(&two, "u", "t1", 0).is_err());
    revoke(&two, Rule::Block { user: "bad".into(), until: until_then });
    revoke(&two, Rule::Before { user: "u".into(), issued_before: 50, until: until_then });
    until("the first node knows", || check(&one, "bad", "", 0).is_err());
    one.kill();
    two.kill();
    let three = start("three", &broker);
    assert_eq!(check(&three, "u", "t1", 60), Err(Revoked::Token));
    assert_eq!(check(&three, "bad", "", 60), Err(Revoked::User));
    assert_eq!((check(&three, "u", "t2", 49), check(&three, "u", "t2", 50)), (Err(Revoked::Token), Ok(())));
    revoke(&three, Rule::Unblock { user: "bad".into() });
    assert_eq!(check(&three, "bad", "", 60), Ok(()));
}

#[test]
fn shards_are_told_what_is_new_and_not_what_was() {
    let broker = shared();
    let one = start("one", &broker);
    let rule = Rule::Token { id: "t1".into(), until: later(&one) };
    revoke(&one, rule.clone());
    let told = |node: &Node| {
        let events = node.told();
        events.into_iter().filter(|e| matches!(e, ShardEvent::Revoked(told) if **told == rule)).count()
    };
    assert_eq!(told(&one), 1);
    assert_eq!(told(&start("two", &broker)), 0);
}

#[test]
fn a_rule_that_has_ended_is_no_rule() {
    let broker = shared();
    let one = start("one", &broker);
    revoke(&one, Rule::Token { id: "t1".into(), until: one.hub.clock().wall_ms() / 1000 + 1 });
    assert!(check(&one, "u", "t1", 0).is_err());
    until("it has ended", || {
        std::thread::sleep(Duration::from_millis(20));
        check(&one, "u", "t1", 0).is_ok()
    });
    assert_eq!(check(&start("two", &broker), "u", "t1", 0), Ok(()));
}

#[test]
fn while_the_log_is_away_nothing_is_revoked_and_what_was_stays() {
    let broker = shared();
    let one = start("one", &broker);
    revoke(&one, Rule::Token { id: "t1".into(), until: later(&one) });
    broker.away.store(true, Relaxed);
    let rule = Rule::Token { id: "t2".into(), until: later(&one) };
    assert!(one.wait(one.hub.rules().unwrap().decide(rule.clone())).unwrap_err().is_retryable());
    assert!(check(&one, "u", "t1", 0).is_err());
    broker.away.store(false, Relaxed);
    revoke(&one, rule);
    assert!(check(&one, "u", "t2", 0).is_err());
}

#[test]
fn a_rule_that_was_made_shorter_is_shorter_for_who_reads_it_late() {
    let broker = shared();
    let one = start("one", &broker);
    revoke(&one, Rule::Block { user: "u".into(), until: later(&one) });
    revoke(&one, Rule::Block { user: "u".into(), until: one.hub.clock().wall_ms() / 1000 + 1 });
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(check(&one, "u", "", 60), Ok(()));
    let two = start("two", &broker);
    assert_eq!(check(&two, "u", "", 60), Ok(()), "a node that starts later");
}

#[test]
fn what_counts_no_more_is_the_same_for_a_node_that_starts_later() {
    let broker = shared();
    let one = start("one", &broker);
    for issued_before in [50, 40] {
        revoke(&one, Rule::Before { user: "u".into(), issued_before, until: later(&one) });
    }
    let two = start("two", &broker);
    assert_eq!(check(&one, "u", "t", 45), check(&two, "u", "t", 45));
}

#[test]
fn a_rule_that_has_ended_when_it_is_read_takes_the_place_of_the_one_before() {
    let broker = shared();
    let one = start("one", &broker);
    revoke(&one, Rule::Block { user: "u".into(), until: later(&one) });
    // As for a node that reads it a little late.
    revoke(&one, Rule::Block { user: "u".into(), until: one.hub.clock().wall_ms() / 1000 });
    let two = start("two", &broker);
    assert_eq!((check(&one, "u", "", 60), check(&two, "u", "", 60)), (Ok(()), Ok(())));
}

#[test]
fn a_log_that_is_read_again_takes_nobody_back_to_what_was() {
    let broker = shared();
    let one = start("one", &broker);
    revoke(&one, Rule::Block { user: "u".into(), until: later(&one) });
    revoke(&one, Rule::Unblock { user: "u".into() });
    for token in 0..20 {
        revoke(&one, Rule::Token { id: format!("t{token}"), until: later(&one) });
    }
    one.told();
    broker.dribbles.store(true, Relaxed);
    broker.lose_rules();
    until("it was read again", || {
        assert_eq!(check(&one, "u", "", 60), Ok(()), "an old rule is none because a later one is not read yet");
        assert!(check(&one, "u", "t19", 60).is_err(), "what was in force stays");
        one.told().iter().any(|event| matches!(event, ShardEvent::RulesRead))
    });
    assert_eq!(check(&one, "u", "", 60), Ok(()));
    revoke(&one, Rule::Token { id: "new".into(), until: later(&one) });
    assert!(check(&one, "u", "new", 60).is_err() && check(&one, "u", "t19", 60).is_err());
    let revoked = |event: &ShardEvent| matches!(event, ShardEvent::Revoked(_));
    assert!(one.told().iter().any(revoked), "shards are told of what is new again");
}
