//! Fan-out makes no consumer group.

use rdkafka::producer::Producer as _;
use tidegate_broker::Partition;

use crate::support::{PAGE, SOON, Shared, Sink, broker, open, producer, record};

#[tokio::test]
async fn none_is_made() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let sink = Sink::new();
    let partition = log.partition_of("k");
    let _tails = [
        log.tail(partition, 0, sink.clone()).await.unwrap(),
        log.tail(Partition(1 - partition.0), 0, Sink::new()).await.unwrap(),
    ];
    log.append(record("k", "v")).await.unwrap();
    sink.wait_next(1);
    assert_eq!(log.read(partition, 0, 1, PAGE).await.unwrap().records.len(), 1);
    let groups = producer(&kafka.bootstrap, &[]).client().fetch_group_list(None, SOON).unwrap();
    let names: Vec<_> = groups.groups().iter().map(|group| group.name().to_owned()).collect();
    assert!(names.is_empty(), "{names:?}");
}
