//! Presence over nodes that come, go and die.

use tidegate_core::config::CoreOptions;

use crate::rig::{LEASE, Node, name, shared, until};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Longer than a test that is held up takes from one line to the next.
const LONG_GRACE: Duration = Duration::from_secs(2);

fn patient(options: &mut CoreOptions) {
    options.control.as_mut().unwrap().grace = LONG_GRACE;
}

#[test]
fn every_node_sees_the_members_of_all_and_tells_the_same_changes() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    one.control().watch(&name("a"), 0);
    two.control().watch(&name("a"), 0);
    assert!(one.users("a").is_empty() && two.users("a").is_empty());
    for client in 0..50 {
        one.join("a", client, &format!("u{client}"));
        two.join("a", 100 + client, &format!("v{client}"));
        two.join("elsewhere", client, "w");
    }
    for client in 0..25 {
        one.leave("a", client, false);
    }
    until("all are seen", || one.users("a").len() == 75 && two.users("a").len() == 75);
    assert_eq!(one.wait(one.control().presence_stats(&name("a"))).unwrap(), (75, 75));
    let told = |node: &Node| {
        let mut all = Vec::new();
        let balance = |all: &[String]| all.iter().map(|c| if c.starts_with('+') { 1 } else { -1 }).sum::<i32>();
        // What was told last may still be on its way.
        while balance(&all) != 75 {
            all.extend(node.changes());
        }
        all
    };
    assert_eq!(told(&one), told(&two));
}

#[test]
fn a_new_node_knows_who_was_there_before() {
    let broker = shared();
    let one = Node::start("one", &broker);
    for client in 0..1_200 {
        one.join("a", client, "u");
    }
    assert_eq!(one.users("a").len(), 1_200, "all of it is in the log");
    let two = Node::start("two", &broker);
    assert_eq!(two.users("a").len(), 1_200);
    assert_eq!(two.wait(two.control().presence_stats(&name("a"))).unwrap(), (1_200, 1));
}

#[test]
fn members_of_a_dead_node_are_gone_within_the_lease() {
    let broker = shared();
    let (one, two) = (Node::start("one", &broker), Node::start("two", &broker));
    one.join("a", 1, "u");
    two.join("a", 2, "v");
    two.control().watch(&name("a"), 0);
    until("both", || two.users("a") == ["u", "v"]);
    two.changes();
    let begun = Instant::now();
    one.kill();
    two.until_told(&["-u"]);
    assert!(begun.elapsed() < LEASE * 2, "{:?}", begun.elapsed());
    assert_eq!(two.users("a"), ["v"]);
}

#[test]
fn who_is_back_on_another_node_in_time_has_not_left() {
    let broker = shared();
    let (one, two) = (Node::start_with("one", &broker, patient), Node::start_with("two", &broker, patient));
    one.control().watch(&name("a"), 0);
    one.join("a", 1, "u");
    one.join("a", 2, "v");
    until("both", || two.users("a") == ["u", "v"]);
    one.changes();
    one.leave("a", 1, true);
    one.leave("a", 2, true);
    until("they are away", || one.users("a").len() == 2);
    two.join("a", 3, "u");
    one.until_told(&["-v"]);
    std::thread::sleep(LONG_GRACE * 2);
    assert_eq!((one.users("a"), one.changes()), (vec!["u".to_owned()], vec![]));
}

#[test]
fn clients_of_a_node_that_ends_have_time_to_come_back_elsewhere() {
    let broker = shared();
    let (one, two) = (Node::start_with("one", &broker, patient), Node::start_with("two", &broker, patient));
    two.control().watch(&name("a"), 0);
    one.join("a", 1, "u");
    one.join("a", 2, "v");
    until("both", || two.users("a").len() == 2);
    two.changes();
    one.leave("a", 1, true);
    one.leave("a", 2, true);
    one.wait(one.hub.shutdown());
    two.join("a", 3, "u");
    two.until_told(&["-v"]);
    assert_eq!(two.users("a"), ["u"]);
}

#[test]
fn joins_one_after_the_other_share_records() {
    let broker = shared();
    let one = Node::start("one", &broker);
    let (begun, before) = (Instant::now(), broker.appended.load(Relaxed));
    for client in 0..100 {
        one.join("a", client, "u");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(one.users("a").len(), 100);
    let records = broker.appended.load(Relaxed) - before;
    let gathered = begun.elapsed().as_millis() as usize / 25;
    assert!(records <= gathered + 3, "{records} records in {gathered} times");
}
