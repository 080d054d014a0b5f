//! Idempotency keys and versions on a log that stores duplicates: the window decides, and everybody alike.

use tidegate_core::PublishOptions;
use tidegate_types::{ChannelName, StreamPosition, Version};

use crate::rig::{Rig, data, options};

fn publish(rig: &Rig, data: &str, options: PublishOptions) -> StreamPosition {
    let channel = ChannelName::parse("job").unwrap();
    rig.runtime.block_on(rig.hub.publish(&channel, data.to_owned().into(), options)).unwrap()
}

fn keyed(key: &str) -> PublishOptions {
    PublishOptions { idempotency_key: Some(key.into()), ..Default::default() }
}

#[test]
fn a_retried_publish_lands_once_and_answers_with_the_first_position() {
    let mut rig = Rig::new(options());
    rig.subscribe("job", None).unwrap();
    let first = publish(&rig, "1", keyed("a"));
    let second = publish(&rig, "1", keyed("a"));
    assert_eq!(first, second);
    let other = publish(&rig, "2", keyed("b"));
    assert!(other.offset > first.offset);
    rig.drain();
    let seen: Vec<_> = rig.deliveries.iter().map(|(_, json)| json.as_str()).collect();
    assert_eq!(seen, ["1", "2"]);
    assert_eq!(rig.hub.metrics().duplicates.get(), 1);
}

#[test]
fn old_versions_are_suppressed() {
    let mut rig = Rig::new(options());
    rig.subscribe("job", None).unwrap();
    let version =
        |number| PublishOptions { version: Some(Version { epoch: String::new(), number }), ..Default::default() };
    publish(&rig, "5", version(5));
    publish(&rig, "4", version(4));
    publish(&rig, "6", version(6));
    rig.drain();
    assert_eq!(rig.deliveries.iter().map(|(_, json)| json.as_str()).collect::<Vec<_>>(), ["5", "6"]);
}

#[test]
fn a_node_whose_log_lost_its_end_judges_what_follows_as_those_do_that_had_not_read_so_far() {
    let mut rig = Rig::new(options());
    rig.subscribe("job", None).unwrap();
    let first = publish(&rig, "1", keyed("a"));
    for n in 0..5 {
        publish(&rig, "2", keyed(&format!("lost-{n}")));
    }
    rig.log.lose_end(first.offset.0);
    rig.drain();
    assert_eq!(rig.invalidated, 1);
    // As a shard does when it is told.
    rig.hub.unlisten(&rig.channel("job"), 0, 1, 1);
    rig.subscribe("job", None).unwrap();
    rig.deliveries.clear();
    assert_eq!(publish(&rig, "1", keyed("a")), first, "it is in the log that is left");
    let again = publish(&rig, "2", keyed("lost-0"));
    assert!(again.offset > first.offset, "that one is not");
    rig.drain();
    assert_eq!(rig.deliveries, [(again.offset.0, "2".to_owned())]);
}

#[test]
fn a_publish_is_not_answered_with_the_verdict_on_a_record_of_another_log() {
    let mut rig = Rig::new(options());
    rig.subscribe("job", None).unwrap();
    for _ in 0..3 {
        publish(&rig, "1", keyed("a"));
    }
    // What is at the place of the next record is no duplicate, and has no verdict yet.
    let log = rig.log.clone();
    rig.log.after_next_append(move || log.recreate());
    let channel = ChannelName::parse("job").unwrap();
    let published = rig.hub.publish(&channel, "2".into(), keyed("b"));
    let error = rig.runtime.block_on(published).unwrap_err();
    assert!(error.to_string().contains("made anew"), "{error}");
}

#[test]
fn a_publish_whose_tail_ends_before_it_waits_has_another_begun_for_its_verdict() {
    let rig = Rig::new(options());
    let first = publish(&rig, "1", keyed("a"));
    rig.log.hold_back(true);
    let log = rig.log.clone();
    // Nobody listens, who would have a tail begun.
    rig.log.after_next_append(move || {
        log.lose(0);
        log.hold_back(false);
    });
    assert_eq!(publish(&rig, "1", keyed("a")), first);
}

#[test]
fn a_node_that_comes_later_judges_the_same_also_in_what_it_reads_from_the_log() {
    let rig = Rig::new(options());
    for n in 0..60 {
        publish(&rig, &n.to_string(), keyed(&format!("key-{}", n / 2)));
    }
    let mut later = Rig::over(rig.log.clone(), options());
    let start = later.subscribe("job", Some((0, ""))).unwrap();
    let expected: Vec<_> = (0..60).step_by(2).map(|n| n.to_string()).collect();
    assert_eq!(data(&start), expected);
}
