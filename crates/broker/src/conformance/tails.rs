//! Tails: where they start, that several run, and that they end.

use super::{Collector, Harness, append_numbers};
use crate::Partition;

pub(super) async fn run(harness: &dyn Harness) {
    tails_start_anywhere(harness).await;
    a_dropped_tail_is_silent(harness).await;
    partitions_are_apart(harness).await;
}

async fn tails_start_anywhere(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let offsets = append_numbers(&log, "a", 0..30).await;
    let (start, middle, end) = (offsets[0], offsets[15], offsets[29] + 1);
    let mut tails = Vec::new();
    for from in [start, middle, end] {
        let sink = Collector::new();
        tails.push((log.tail(Partition(0), from, sink.clone()).await.expect("tail"), sink));
    }
    append_numbers(&log, "a", 30..40).await;
    let now = log.bounds(Partition(0)).await.expect("bounds").end;
    for ((_, sink), first) in tails.iter().zip([0, 15, 30]) {
        sink.passed(now).await;
        let expected: Vec<_> = (first..40).map(|n: i32| n.to_string()).collect();
        assert_eq!(sink.payloads(), expected, "a tail from {first} delivers everything from there on, once");
        assert!(sink.losses().is_empty(), "and loses nothing");
    }
}

async fn a_dropped_tail_is_silent(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let offsets = append_numbers(&log, "a", 0..3).await;
    let (ended, other) = (Collector::new(), Collector::new());
    let tail = log.tail(Partition(0), offsets[0], ended.clone()).await.expect("tail");
    let _other = log.tail(Partition(0), offsets[0], other.clone()).await.expect("a second tail");
    ended.passed(offsets[2] + 1).await;
    drop(tail);
    let more = append_numbers(&log, "a", 3..50).await;
    other.passed(more[46] + 1).await;
    assert_eq!(other.payloads().len(), 50, "the other tail goes on");
    assert!(ended.payloads().len() < 50, "a tail that was dropped stops");
    let again = Collector::new();
    let _again = log.tail(Partition(0), offsets[0], again.clone()).await.expect("a tail after one that was dropped");
    again.passed(more[46] + 1).await;
    assert_eq!(again.payloads().len(), 50);
}

async fn partitions_are_apart(harness: &dyn Harness) {
    let log = harness.log(4).await;
    let partitions = log.info().partitions;
    let keys: Vec<_> = (0..40).map(|n| format!("job:{n}")).collect();
    for key in &keys {
        append_numbers(&log, key, 0..2).await;
    }
    for partition in (0..partitions).map(Partition) {
        let bounds = log.bounds(partition).await.expect("bounds");
        let sink = Collector::new();
        let _tail = log.tail(partition, bounds.start, sink.clone()).await.expect("tail");
        sink.passed(bounds.end).await;
        let expected = keys.iter().filter(|key| log.partition_of(key) == partition).count() * 2;
        assert_eq!(sink.records().len(), expected, "a tail delivers its own partition");
        assert!(sink.records().iter().all(|r| log.partition_of(&r.key) == partition));
    }
}
