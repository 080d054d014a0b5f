//! Append, tail, read, bounds.

use std::time::Instant;

use tidegate_broker::{BrokerError, PageLimits, Partition, TailLoss};
use tidegate_types::{ClientInfo, Meta, Version};

use crate::support::{PAGE, SOON, Shared, Sink, admin, broker, open, producer, record, write};

#[tokio::test]
async fn what_is_appended_is_tailed_and_read_with_everything_beside_it() {
    let kafka = Shared::get();
    let topic = kafka.topic(4).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    assert_eq!(log.info().partitions, 4);
    let meta = Meta {
        tags: vec![("kind".into(), "progress".into())],
        info: Some(ClientInfo { user: "ann".into(), ..ClientInfo::default() }),
        idempotency_key: Some("once".into()),
        version: Some(Version { epoch: "e".into(), number: 3 }),
        delta: true,
        exclude: Some("c1".into()),
    };
    let partition = log.partition_of("job:1");
    let sink = Sink::new();
    let _tail = log.tail(partition, 0, sink.clone()).await.unwrap();
    let mut first = record("job:1", "{\"done\":1}");
    first.meta = meta.clone().boxed();
    let appended = log.append(first).await.unwrap();
    assert_eq!((appended.partition, appended.log_offset, appended.suppressed), (partition, 0, false));
    assert_eq!(log.append(record("job:1", "2")).await.unwrap().log_offset, 1);
    sink.wait_next(2);
    {
        let seen = sink.seen();
        assert_eq!(seen.payloads(), ["{\"done\":1}", "2"]);
        assert_eq!(seen.records[0].meta.as_deref(), Some(&meta));
        assert_eq!(seen.records[1].meta, None);
        assert_eq!(&*seen.records[0].key, "job:1");
        assert!(seen.records[0].time_ms > 1_600_000_000_000);
    }
    let bounds = log.bounds(partition).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (0, 2));
    let page = log.read(partition, 0, 2, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (2, 2));
    assert_eq!(page.records[0].meta.as_deref(), Some(&meta));
    broker.shutdown().await;
    assert!(matches!(log.append(record("job:1", "3")).await, Err(BrokerError::Unavailable(_))));
}

#[tokio::test]
async fn tails_start_anywhere_and_several_at_once() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    for n in 0..100 {
        log.append(record("k", &n.to_string())).await.unwrap();
    }
    let (all, half, end, beyond) = (Sink::new(), Sink::new(), Sink::new(), Sink::new());
    let tails = [
        log.tail(Partition(0), 0, all.clone()).await.unwrap(),
        log.tail(Partition(0), 50, half.clone()).await.unwrap(),
        log.tail(Partition(0), 100, end.clone()).await.unwrap(),
        log.tail(Partition(0), 102, beyond.clone()).await.unwrap(),
    ];
    all.wait_next(100);
    half.wait_next(100);
    end.wait_next(100);
    for n in 100..110 {
        log.append(record("k", &n.to_string())).await.unwrap();
    }
    for sink in [&all, &half, &end, &beyond] {
        sink.wait_next(110);
    }
    assert_eq!(all.seen().offsets(), (0..110).collect::<Vec<_>>());
    assert_eq!(half.seen().offsets(), (50..110).collect::<Vec<_>>());
    assert_eq!(end.seen().offsets(), (100..110).collect::<Vec<_>>());
    assert_eq!(beyond.seen().offsets(), (102..110).collect::<Vec<_>>());
    assert!(all.seen().losses.is_empty() && beyond.seen().losses.is_empty());
    drop(tails);
    log.append(record("k", "unseen")).await.unwrap();
    let again = Sink::new();
    let _tail = log.tail(Partition(0), 105, again.clone()).await.unwrap();
    again.wait_next(111);
    assert_eq!(again.seen().offsets(), (105..111).collect::<Vec<_>>());
    assert_eq!(all.seen().offsets().len(), 110, "a dropped tail delivers no more");
}

#[tokio::test]
async fn pages_are_bounded_and_never_skip() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    for n in 0..25 {
        log.append(record("k", &n.to_string())).await.unwrap();
    }
    let (mut from, mut got) = (3, Vec::new());
    while from < 20 {
        let page = log.read(Partition(0), from, 20, PageLimits { records_max: 5, bytes_max: 1 << 20 }).await.unwrap();
        assert!(page.records.len() <= 5 && page.next > from);
        got.extend(page.records.iter().map(|r| r.log_offset));
        from = page.next;
    }
    assert_eq!((got, from), ((3..20).collect::<Vec<_>>(), 20));
    let one = log.read(Partition(0), 0, 25, PageLimits { records_max: 5, bytes_max: 1 }).await.unwrap();
    assert_eq!((one.records.len(), one.next), (1, 1), "a page holds one record, however large");
    let page = log.read(Partition(0), 25, 30, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (0, 25));
    let page = log.read(Partition(0), 20, 1_000, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (5, 25));
    let began = Instant::now();
    for _ in 0..20 {
        log.read(Partition(0), 0, 25, PAGE).await.unwrap();
    }
    eprintln!("a read of 25 records: {:?}", began.elapsed() / 20);
}

#[tokio::test]
async fn what_retention_dropped_is_told() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    for n in 0..20 {
        log.append(record("k", &n.to_string())).await.unwrap();
    }
    let mut until = rdkafka::TopicPartitionList::new();
    until.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(8)).unwrap();
    let options = rdkafka::admin::AdminOptions::new().operation_timeout(Some(SOON));
    admin(&kafka.bootstrap).delete_records(&until, &options).await.unwrap();
    assert_eq!(log.bounds(Partition(0)).await.unwrap().start, 8);
    assert!(matches!(log.read(Partition(0), 7, 20, PAGE).await, Err(BrokerError::OutOfRange(_))));
    assert_eq!(log.read(Partition(0), 8, 20, PAGE).await.unwrap().records.len(), 12);
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 2, sink.clone()).await.unwrap();
    sink.wait_next(20);
    assert_eq!(sink.seen().losses, [TailLoss::Truncated { start: 8 }]);
    assert_eq!(sink.seen().offsets(), (8..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn appends_at_once_all_land_in_order_of_their_answers() {
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let log = log.clone();
        tasks.spawn(async move { log.append(record(&format!("k{}", n % 50), &n.to_string())).await });
    }
    let mut places = std::collections::HashSet::new();
    while let Some(appended) = tasks.join_next().await {
        let appended = appended.unwrap().unwrap();
        assert!(places.insert((appended.partition, appended.log_offset)));
    }
    let mut total = 0;
    for partition in (0..8).map(Partition) {
        let end = log.bounds(partition).await.unwrap().end;
        let page = log.read(partition, 0, end, PAGE).await.unwrap();
        assert!(page.records.iter().all(|r| log.partition_of(&r.key) == partition));
        total += page.records.len();
    }
    assert_eq!(total, 1_000);
}

#[tokio::test]
async fn a_tombstone_and_an_empty_payload_differ() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let raw = producer(&kafka.bootstrap, &[]);
    write(&raw, &topic, 0, &[(Some(b"k"), None), (Some(b"k"), Some(b""))]);
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let page = log.read(Partition(0), 0, 2, PAGE).await.unwrap();
    assert_eq!(page.records[0].payload, None);
    assert_eq!(page.records[1].payload.as_deref(), Some(&b""[..]));
}
