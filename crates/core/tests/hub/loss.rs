//! The log is made anew, or lost records under the tail: subscribers are told, and start anew.

use tidegate_core::{PublishOptions, ReplyTo, Ticket};
use tidegate_testkit::hole_log::HoleLog;
use tidegate_types::ChannelName;

use crate::rig::{Rig, data, options};

#[test]
fn a_new_epoch_voids_positions_loudly() {
    let mut rig = Rig::new(options());
    rig.log.put("job", "1");
    let start = rig.subscribe("job", None).unwrap();
    rig.log.recreate();
    rig.wait_for_invalidation();
    rig.log.put("job", "2");
    let old = start.position;
    let start = rig.subscribe("job", Some((old.offset.0, old.epoch.as_str()))).unwrap();
    assert!(!start.recovered);
    assert_ne!(start.position.epoch, old.epoch);
}

#[test]
fn records_lost_under_the_tail_end_the_subscriptions() {
    let mut rig = Rig::new(options());
    let seen = rig.log.put("job", "1");
    rig.subscribe("job", None).unwrap();
    for _ in 0..50 {
        rig.log.put("noise", "0");
    }
    rig.log.truncate(30);
    rig.log.lose(30);
    rig.drain();
    assert_eq!(rig.invalidated, 1);
    assert!(!rig.subscribe("job", Some((seen + 1, ""))).unwrap().recovered);
}

#[test]
fn a_log_made_anew_while_nobody_tails_it_is_another_one_for_whoever_comes_next() {
    let mut rig = Rig::new(options());
    for n in 0..5 {
        rig.log.put("job", &n.to_string());
    }
    rig.log.recreate();
    for n in 0..50 {
        rig.log.put("job", &n.to_string());
    }
    let start = rig.subscribe("job", Some((4, "0"))).unwrap();
    assert!(!start.recovered, "positions of the old log say nothing of this one");
    assert_eq!(start.position.epoch.as_str(), "1");
}

#[test]
fn partitions_that_are_added_while_nobody_tails_are_published_to_and_read() {
    let mut rig = Rig::over(HoleLog::with_partitions(1), options());
    rig.log.put("a", "1");
    rig.log.grow(8);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let channel = ChannelName::parse(name).unwrap();
        let published = rig.hub.publish(&channel, "1".into(), PublishOptions::default());
        let position = rig.runtime.block_on(published).unwrap();
        assert_eq!(position.epoch.as_str(), "1");
        assert!(rig.subscribe(name, Some((position.offset.0, "1"))).unwrap().recovered, "{name}");
    }
}

#[test]
fn a_log_made_anew_is_noticed_where_a_tail_could_not_start() {
    let mut rig = Rig::new(options());
    rig.log.put("job", "1");
    rig.log.hold_back(true);
    let channel = rig.channel("job");
    rig.hub.listen(&channel, 0, 1, 1);
    let ticket = Ticket { connection: 0, generation: 0, command: 1 };
    assert!(rig.hub.subscribe(&channel, None, ReplyTo { shard: 0, ticket }).is_none());
    rig.log.recreate();
    assert_eq!(rig.wait_for_start().unwrap_err().code, 100, "it would begin where nothing is any more");
    rig.wait_for_invalidation();
}

#[test]
fn a_tail_that_ended_is_followed_by_another_also_where_the_epoch_is_what_it_was() {
    let mut rig = Rig::new(options());
    rig.subscribe("job", None).unwrap();
    rig.log.change_and_back();
    rig.wait_for_invalidation();
    rig.subscribe("job", None).unwrap();
    rig.log.put("job", "1");
    rig.drain();
    assert_eq!(rig.deliveries.last().map(|(_, json)| json.as_str()), Some("1"));
}

#[test]
fn nobody_begins_on_what_a_reopened_log_has_left_behind() {
    let mut rig = Rig::new(options());
    rig.log.put("job", "1");
    rig.subscribe("job", None).unwrap();
    let before = rig.channel("job");
    rig.log.change_and_back();
    rig.wait_for_invalidation();
    rig.hub.listen(&before, 0, 2, 2);
    let reply_to = ReplyTo { shard: 0, ticket: Ticket { connection: 0, generation: 0, command: 2 } };
    assert!(rig.hub.subscribe(&before, None, reply_to).is_none());
    assert_eq!(rig.wait_for_start().unwrap_err().code, 100, "nobody would tell it of the next change");
}

#[test]
fn a_start_that_moves_while_a_recovery_reads_takes_away_what_is_gone_and_nothing_else() {
    let mut options = options();
    options.window.payload_bytes_max = 1;
    let mut rig = Rig::new(options);
    for n in 0..60 {
        rig.log.put("job", &n.to_string());
    }
    rig.subscribe("job", None).unwrap();
    for (after, there) in [(45, true), (10, false)] {
        let log = rig.log.clone();
        rig.log.after_next_bounds(move || log.truncate(40));
        let start = rig.subscribe("job", Some((after, ""))).unwrap();
        assert_eq!(start.recovered, there, "after {after}");
    }
}

#[test]
fn a_partition_whose_end_was_lost_is_served_from_there() {
    let mut rig = Rig::new(options());
    for n in 0..50 {
        rig.log.put("job", &n.to_string());
    }
    rig.subscribe("job", None).unwrap();
    rig.log.lose_end(20);
    rig.drain();
    assert_eq!(rig.invalidated, 1);
    assert_eq!(rig.subscribe("job", None).unwrap().position.offset.0, 20, "it does not wait for what is gone");
}

#[test]
fn what_this_node_failed_over_is_told_its_subscribers_and_its_tail_goes_on() {
    let mut rig = Rig::new(options());
    let seen = rig.log.put("job", "1");
    rig.subscribe("job", None).unwrap();
    rig.log.hold_back(true);
    rig.log.put("job", "2");
    rig.log.skip();
    rig.log.hold_back(false);
    rig.drain();
    assert_eq!(rig.invalidated, 1, "they lack it");
    rig.deliveries.clear();
    let next = rig.log.put("job", "3");
    rig.drain();
    assert_eq!(rig.deliveries, [(next + 1, "3".to_owned())], "another tail would fail over the same record");
    let start = rig.subscribe("job", Some((seen + 1, "0"))).unwrap();
    assert_eq!((start.recovered, data(&start)), (true, vec!["2".to_owned(), "3".into()]), "the log has lost nothing");
}
