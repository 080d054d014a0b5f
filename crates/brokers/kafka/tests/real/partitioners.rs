//! Keys lie where other people's producers put them.

use tidegate_broker::{Partition, TailLoss};

use crate::support::{PAGE, Shared, Sink, broker, open, producer, write};

const KEYS: usize = 200;

fn records() -> Vec<(String, String)> {
    (0..KEYS).map(|n| (format!("job:{n}"), format!("v{n}"))).collect()
}

/// Every record lies where `partitioner` (or what `auto` found) says, and none is missing.
async fn check(bootstrap: &str, topic: &str, partitioner: &str) {
    let broker = broker(bootstrap, &[("partitioner", partitioner)]).await;
    let log = open(&broker, topic).await.unwrap();
    let mut found = 0;
    for partition in (0..8).map(Partition) {
        let end = log.bounds(partition).await.unwrap().end;
        for record in log.read(partition, 0, end, PAGE).await.unwrap().records {
            assert_eq!(log.partition_of(&record.key), partition, "{partitioner}: {}", record.key);
            found += 1;
        }
    }
    assert_eq!(found, KEYS, "{partitioner}");
}

#[tokio::test]
async fn keys_of_a_java_producer() {
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    kafka.tools().console_produce(&topic, &records()).unwrap();
    check(&kafka.bootstrap, &topic, "murmur2").await;
    check(&kafka.bootstrap, &topic, "auto").await;
}

#[tokio::test]
async fn keys_of_kcat() {
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    kafka.tools().kcat_produce(&topic, &records()).unwrap();
    check(&kafka.bootstrap, &topic, "crc32").await;
    check(&kafka.bootstrap, &topic, "auto").await;
}

#[tokio::test]
async fn an_empty_topic_learns_its_partitioner() {
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let before = log.info().epoch;
    let sinks: Vec<_> = (0..8).map(|_| Sink::new()).collect();
    let mut tails = Vec::new();
    for (partition, sink) in (0..).map(Partition).zip(&sinks) {
        tails.push(log.tail(partition, 0, sink.clone()).await.unwrap());
    }
    kafka.tools().kcat_produce(&topic, &records()).unwrap();
    for sink in &sinks {
        let (epoch, why) = sink.wait("a new epoch", |seen| {
            seen.losses.iter().find_map(|loss| match loss {
                TailLoss::NewEpoch { epoch, why } => Some((epoch.clone(), why.clone())),
                TailLoss::Truncated { .. } | TailLoss::Skipped { .. } => None,
            })
        });
        assert_ne!(epoch, before);
        assert!(why.contains("crc32"), "{why}");
    }
    let again = open(&broker, &topic).await.unwrap();
    for (key, _) in records() {
        let partition = again.partition_of(&key);
        let end = again.bounds(partition).await.unwrap().end;
        let page = again.read(partition, 0, end, PAGE).await.unwrap();
        assert!(page.records.iter().any(|r| *r.key == *key), "{key}");
    }
}

#[tokio::test]
async fn sarama_takes_the_amount_of_a_signed_hash() {
    // From Sarama's hash partitioner for 8 partitions; "foobar" hashes to a negative number.
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    let raw = producer(&kafka.bootstrap, &[]);
    let hash = i64::from(0xbf9c_f968_u32.cast_signed());
    let partition = i32::try_from((hash % 8).abs()).unwrap();
    write(&raw, &topic, partition, &[(Some(b"foobar"), Some(b"v"))]);
    let broker = broker(&kafka.bootstrap, &[("partitioner", "fnv1a")]).await;
    let log = open(&broker, &topic).await.unwrap();
    assert_eq!(i32::try_from(log.partition_of("foobar").0).unwrap(), partition);
}
