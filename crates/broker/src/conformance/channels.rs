//! Numbers within channels, duplicates and versions: the capability `channel_offsets`.

use tidegate_types::{Meta, Version};

use super::{Collector, Harness, PAGE, append_numbers, record, with_meta};
use crate::{BrokerError, Key, PageLimits, Partition};

pub(super) async fn run(harness: &dyn Harness) {
    channels_are_numbered_from_one(harness).await;
    a_duplicate_takes_no_number(harness).await;
    an_old_version_takes_no_number(harness).await;
}

/// Without the capability the log says so.
pub(super) async fn absent(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let appended = log.append(record("a", "x")).await.expect("append");
    assert_eq!((appended.channel_offset, appended.suppressed), (None, false));
    assert!(log.channel_top("a").is_none());
    let key: Key = "a".into();
    assert!(matches!(log.read_channel(&key, 0, PAGE).await, Err(BrokerError::Refused(_))));
}

async fn channels_are_numbered_from_one(harness: &dyn Harness) {
    let log = harness.log(2).await;
    for round in 0..10 {
        for key in ["a", "b", "c"] {
            let appended = log.append(record(key, round.to_string())).await.expect("append");
            assert_eq!(appended.channel_offset, Some(round + 1), "numbers start at 1 and have no holes");
        }
    }
    for key in ["a", "b", "c"] {
        let top = log.channel_top(key).expect("the capability");
        assert_eq!((top.last, top.first_kept), (10, 1));
        let key: Key = key.into();
        for after in [0, 4, 10, 99] {
            let page = log.read_channel(&key, after, PAGE).await.expect("read");
            let numbers: Vec<_> = page.records.iter().filter_map(|r| r.channel_offset).collect();
            assert_eq!(numbers, (after + 1..=10).collect::<Vec<_>>(), "a channel read after {after}");
            assert_eq!(page.top.last, 10);
        }
        let two = PageLimits { records_max: 2, bytes_max: usize::MAX };
        let page = log.read_channel(&key, 3, two).await.expect("read");
        let numbers: Vec<_> = page.records.iter().filter_map(|r| r.channel_offset).collect();
        assert_eq!(numbers, [4, 5], "pages are the oldest part");
    }
    let none = log.channel_top("nobody").expect("the capability");
    assert_eq!((none.last, none.first_kept), (0, 1), "a channel that was never published to");
}

async fn a_duplicate_takes_no_number(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let keyed = |id: &str| Meta { idempotency_key: Some(id.into()), ..Meta::default() };
    let first = log.append(with_meta("a", "1", keyed("x"))).await.expect("append");
    append_numbers(&log, "a", 0..5).await;
    let again = log.append(with_meta("a", "1", keyed("x"))).await.expect("append");
    assert!(again.suppressed && !first.suppressed);
    assert_eq!(
        (again.channel_offset, again.log_offset),
        (first.channel_offset, first.log_offset),
        "where the first one is"
    );
    let other_channel = log.append(with_meta("b", "1", keyed("x"))).await.expect("append");
    assert!(!other_channel.suppressed, "keys are per channel");
    let next = log.append(record("a", "2")).await.expect("append");
    assert_eq!(next.channel_offset, Some(7), "the duplicate took no number");
    let sink = Collector::new();
    let _tail = log.tail(Partition(0), first.log_offset, sink.clone()).await.expect("tail");
    sink.passed(next.log_offset + 1).await;
    assert_eq!(sink.payloads(), ["1", "0", "1", "2", "3", "4", "1", "2"], "the duplicate was not delivered");
}

async fn an_old_version_takes_no_number(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let version =
        |epoch: &str, number| Meta { version: Some(Version { epoch: epoch.into(), number }), ..Meta::default() };
    let mut outcomes = Vec::new();
    for (epoch, number) in [("e", 5), ("e", 4), ("e", 5), ("e", 6), ("f", 1)] {
        let appended = log.append(with_meta("a", "x", version(epoch, number))).await.expect("append");
        outcomes.push((appended.suppressed, appended.channel_offset));
    }
    let expected = [(false, 1), (true, 1), (true, 1), (false, 2), (false, 3)].map(|(s, n)| (s, Some(n)));
    assert_eq!(outcomes, expected, "only a higher version of the same epoch, or another epoch, counts");
}
