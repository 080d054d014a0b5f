//! Fan-out makes no consumer group: every node reads everything by itself.

use rdkafka::producer::Producer as _;
use tidegate_broker::Partition;

use crate::support::{PAGE, SOON, Shared, Sink, broker, open, producer, record};

#[tokio::test]
async fn three_nodes_read_everything_and_none_is_made() {
    let kafka = Shared::get();
    let topic = kafka.topic(2).await;
    let (mut logs, mut sinks, mut tails) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let log = open(&broker(&kafka.bootstrap, &[]).await, &topic).await.unwrap();
        let own = [Sink::new(), Sink::new()];
        for (partition, sink) in (0..).map(Partition).zip(&own) {
            tails.push(log.tail(partition, 0, sink.clone()).await.unwrap());
        }
        logs.push(log);
        sinks.push(own);
    }
    for n in 0..60 {
        logs[n % 3].append(record(&format!("k{n}"), &n.to_string())).await.unwrap();
    }
    let partitions = [Partition(0), Partition(1)];
    for (log, own) in logs.iter().zip(&sinks) {
        let mut got = Vec::new();
        for (partition, sink) in partitions.into_iter().zip(own) {
            let end = log.bounds(partition).await.unwrap().end;
            sink.wait_next(end);
            got.extend(sink.seen().payloads());
            assert_eq!(log.read(partition, 0, end, PAGE).await.unwrap().next, end);
        }
        got.sort_by_key(|payload| payload.parse::<u32>().unwrap());
        assert_eq!(got, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    let groups = producer(&kafka.bootstrap, &[]).client().fetch_group_list(None, SOON).unwrap();
    let names: Vec<_> = groups.groups().iter().map(|group| group.name().to_owned()).collect();
    assert!(names.is_empty(), "{names:?}");
}
