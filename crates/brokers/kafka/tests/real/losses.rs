//! Tails that stand outside of their partition or break, beside some that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::{Offset, TopicPartitionList};
use tidegate_broker::{Partition, Refused, TailLoss, TailSink, Tailed};

use crate::support::{Raw, SOON, Shared, Sink, admin, broker, open, producer, record, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_out_of_range_is_no_loss_for_a_busy_one() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let broker = broker(&kafka.bootstrap, &[("partitioner", "murmur2")]).await;
    let log = open(&broker, &topic).await.unwrap();
    let busy = log.partition_of("k");
    let other = Partition(1 - busy.0);
    let number = i32::try_from(other.0).unwrap();
    let raw = producer(&kafka.bootstrap, &[]);
    let one: Raw<'_> = (Some(b"x"), Some(b"v"));
    write(&raw, &topic, number, &[one; 4]);
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&topic, number, Offset::Offset(3)).unwrap();
    let options = rdkafka::admin::AdminOptions::new().operation_timeout(Some(SOON));
    admin(&kafka.bootstrap).delete_records(&until, &options).await.unwrap();

    let sink = Sink::new();
    let _tail = log.tail(busy, 0, sink.clone()).await.unwrap();
    let publisher = tokio::spawn({
        let log = log.clone();
        async move {
            let (began, mut count) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(4) {
                log.append(record("k", "v")).await.unwrap();
                count += 1;
            }
            count
        }
    });
    // Some that retention has passed, and then one that waits for records far behind the end.
    for _ in 0..20 {
        let late = Sink::new();
        let _tail = log.tail(other, 0, late.clone()).await.unwrap();
        late.wait_next(4);
        assert_eq!(late.seen().losses, [TailLoss::Truncated { start: 3 }]);
    }
    let beyond = Sink::new();
    let _beyond = log.tail(other, 1_000, beyond.clone()).await.unwrap();
    let count = publisher.await.unwrap();
    sink.wait_next(count);
    assert!(sink.seen().losses.is_empty(), "{:?}", sink.seen().losses);
    assert_eq!(sink.seen().offsets(), (0..count).collect::<Vec<_>>());
    assert!(beyond.seen().losses.is_empty());
}

/// Panics over every record.
#[derive(Default)]
struct Broken(AtomicU32);

impl TailSink for Broken {
    fn records(&self, _: &mut Vec<Tailed>, next: u64) {
        assert_eq!(next, 0, "a sink that a test breaks");
    }

    fn lost(&self, _: TailLoss) {
        self.0.fetch_add(1, Relaxed);
    }

    fn refused(&self, _: u64, _: Refused) {}
}

#[tokio::test]
async fn a_sink_that_panics_takes_no_other_along() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let partition = log.partition_of("k");
    let broken = Arc::new(Broken::default());
    let handle = log.tail(partition, 0, broken.clone()).await.unwrap();
    // The other partition's tail is of the same lane.
    let other = (0..).map(|n| format!("o{n}")).find(|key| log.partition_of(key) != partition).unwrap();
    let sink = Sink::new();
    let _tail = log.tail(log.partition_of(&other), 0, sink.clone()).await.unwrap();
    for round in 1..=3 {
        log.append(record("k", "v")).await.unwrap();
        log.append(record(&other, "v")).await.unwrap();
        sink.wait_next(round);
    }
    let began = Instant::now();
    while broken.0.load(Relaxed) == 0 {
        assert!(began.elapsed() < SOON, "it is told what it lost");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(handle);
    let again = Sink::new();
    let _again = log.tail(partition, 0, again.clone()).await.unwrap();
    again.wait_next(3);
    assert!(sink.seen().losses.is_empty());
}
