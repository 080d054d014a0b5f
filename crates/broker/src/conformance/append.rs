//! Appending: partitions, order, what comes back.

use std::sync::Arc;

use tidegate_types::{ClientInfo, Meta};

use super::{Collector, Harness, PAGE, append_numbers, record, with_meta};
use crate::Partition;

pub(super) async fn run(harness: &dyn Harness) {
    keys_keep_their_partition(harness).await;
    appends_of_one_caller_land_in_order(harness).await;
    concurrent_appends_all_land_once(harness).await;
    payload_and_meta_come_back_untouched(harness).await;
    what_was_acknowledged_outlives_a_restart(harness).await;
}

async fn keys_keep_their_partition(harness: &dyn Harness) {
    let log = harness.log(4).await;
    let partitions = log.info().partitions;
    assert!(partitions >= 1);
    for n in 0..50 {
        let key = format!("job:{n}");
        let partition = log.partition_of(&key);
        assert!(partition.0 < partitions, "a partition that exists");
        assert_eq!(log.partition_of(&key), partition, "a key's partition is stable");
        let appended = log.append(record(&key, "x")).await.expect("append");
        assert_eq!(appended.partition, partition, "a record lies in its key's partition");
    }
}

async fn appends_of_one_caller_land_in_order(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let offsets = append_numbers(&log, "a", 0..50).await;
    assert!(offsets.windows(2).all(|w| w[0] < w[1]), "offsets grow strictly: {offsets:?}");
    let bounds = log.bounds(Partition(0)).await.expect("bounds");
    assert!(bounds.start <= offsets[0] && bounds.end > offsets[49], "bounds enclose what was appended");
}

async fn concurrent_appends_all_land_once(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move { append_numbers(&log, "a", writer * 100..writer * 100 + 50).await })
        })
        .collect();
    for writer in writers {
        let offsets = writer.await.expect("a writer does not panic");
        assert!(offsets.windows(2).all(|w| w[0] < w[1]), "each caller's appends keep their order");
    }
    let bounds = log.bounds(Partition(0)).await.expect("bounds");
    let sink = Collector::new();
    let _tail = log.tail(Partition(0), bounds.start, sink.clone()).await.expect("tail");
    sink.passed(bounds.end).await;
    let mut seen: Vec<u32> = sink.payloads().iter().map(|p| p.parse().expect("a number")).collect();
    for writer in 0..8 {
        let own: Vec<u32> = seen.iter().copied().filter(|n| n / 100 == writer).collect();
        assert_eq!(own, (writer * 100..writer * 100 + 50).collect::<Vec<_>>(), "delivered in the order of appending");
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 400, "everything once");
}

async fn payload_and_meta_come_back_untouched(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let info =
        ClientInfo { user: "ann".into(), client: "c-1".into(), conn_info: "{\"a\":1}".into(), chan_info: "[2]".into() };
    let tags = vec![("kind".to_owned(), "progress".to_owned()), ("ö".to_owned(), String::new())];
    let meta = Meta { tags, info: Some(info), idempotency_key: Some("once".into()), ..Meta::default() };
    let large: Vec<u8> = (0..900_000u32).map(|n| n.to_le_bytes()[0]).collect();
    log.append(with_meta("a", "{}", meta.clone())).await.expect("append");
    log.append(record("a", large.clone())).await.expect("append of 900 kB");
    log.append(record("a", b"\x00\xff not text".to_vec())).await.expect("append of bytes");
    let bounds = log.bounds(Partition(0)).await.expect("bounds");
    let page = log.read(Partition(0), bounds.start, bounds.end, PAGE).await.expect("read");
    let payloads: Vec<_> = page.records.iter().map(|r| r.payload.clone().expect("no tombstone")).collect();
    assert_eq!(payloads.len(), 3);
    assert_eq!(page.records[0].meta.as_deref(), Some(&meta), "what was beside the payload");
    assert!(page.records[1].meta.is_none(), "nothing was beside it");
    assert!(payloads[1] == large, "a large payload is untouched");
    assert_eq!(payloads[2], &b"\x00\xff not text"[..]);
    assert!(page.records.iter().all(|r| &*r.key == "a" && r.time_ms > 1_600_000_000_000));
}

async fn what_was_acknowledged_outlives_a_restart(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let epoch = log.info().epoch;
    append_numbers(&log, "a", 0..20).await;
    let Some(log) = harness.reopened(log).await else {
        assert!(
            !harness.capabilities().durable || harness.capabilities().shared,
            "a durable broker is opened again here"
        );
        return;
    };
    assert_eq!(log.info().epoch, epoch, "a restart is no new epoch");
    append_numbers(&log, "a", 20..25).await;
    let sink = Collector::new();
    let start = log.bounds(Partition(0)).await.expect("bounds").start;
    let _tail = log.tail(Partition(0), start, sink.clone()).await.expect("tail");
    sink.passed(log.bounds(Partition(0)).await.expect("bounds").end).await;
    let expected: Vec<_> = (0..25).map(|n| n.to_string()).collect();
    assert_eq!(sink.payloads(), expected, "everything acknowledged is there, in order");
    let log: Arc<_> = log;
    drop(log);
}
