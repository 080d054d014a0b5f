//! A numbering that changes is told to everybody.

use std::sync::Arc;

use tidegate_broker::{Log, Partition, TailLoss};
use tidegate_types::Epoch;

use crate::support::{SOON, Shared, Sink, admin, broker, create_topic, open, record};

fn new_epoch(sink: &Arc<Sink>) -> (Epoch, String) {
    sink.wait("a new epoch", |seen| {
        seen.losses.iter().find_map(|loss| match loss {
            TailLoss::NewEpoch { epoch, why } => Some((epoch.clone(), why.clone())),
            TailLoss::Truncated { .. } | TailLoss::Skipped { .. } => None,
        })
    })
}

fn settled(log: &Arc<dyn Log>, epoch: &Epoch) {
    assert_eq!(log.info().epoch, *epoch, "the log says what its tails were told");
}

#[tokio::test]
async fn more_partitions() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let before = log.info().epoch;
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    let more = rdkafka::admin::NewPartitions::new(&topic, 4);
    let options = rdkafka::admin::AdminOptions::new().operation_timeout(Some(SOON));
    admin(&kafka.bootstrap).create_partitions([&more], &options).await.unwrap();
    let (epoch, why) = new_epoch(&sink);
    assert_ne!(epoch, before);
    assert!(why.contains("partitions"), "{why}");
    settled(&log, &epoch);
    let again = open(&broker, &topic).await.unwrap();
    assert_eq!((again.info().partitions, again.info().epoch), (4, epoch));
    again.append(record("k", "v")).await.unwrap();
}

#[tokio::test]
async fn a_topic_made_anew() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let before = log.info().epoch;
    for n in 0..5 {
        log.append(record("k", &n.to_string())).await.unwrap();
    }
    let partition = log.partition_of("k");
    let sink = Sink::new();
    let tail = log.tail(partition, 0, sink.clone()).await.unwrap();
    sink.wait_next(5);
    let options = rdkafka::admin::AdminOptions::new().operation_timeout(Some(SOON));
    admin(&kafka.bootstrap).delete_topics(&[&topic], &options).await.unwrap();
    create_topic(&kafka.bootstrap, &topic, 2, &[]).await;
    let (epoch, why) = new_epoch(&sink);
    eprintln!("{why}");
    assert!(why.contains("again") || why.contains("anew") || why.contains("re-created"), "{why}");
    assert_ne!(epoch, before);
    drop(tail);
    let again = open(&broker, &topic).await.unwrap();
    assert_eq!(again.info().epoch, epoch);
    let fresh = Sink::new();
    let _tail = again.tail(partition, 0, fresh.clone()).await.unwrap();
    let appended = again.append(record("k", "new")).await.unwrap();
    assert_eq!(appended.log_offset, 0);
    fresh.wait_next(1);
    assert_eq!(fresh.seen().payloads(), ["new"]);
}
