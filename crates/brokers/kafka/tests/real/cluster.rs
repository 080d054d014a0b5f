//! Three nodes, three copies: one that is killed loses nothing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use tidegate_broker::{BrokerError, BrokerFactory as _, BrokerUrl, Partition};
use tidegate_broker_kafka::FACTORY;
use tidegate_testkit::kafka::{Kafka, Options};

use crate::outage::until;
use crate::support::{SOON, Sink, admin, context, open, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_nothing() {
    let mut kafka = Kafka::start_with(Options { three_nodes: true, ..Options::default() }).unwrap();
    let topic = NewTopic::new("t", 4, TopicReplication::Fixed(3)).set("min.insync.replicas", "2");
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin(&kafka.bootstrap()).create_topics([&topic], &options).await.unwrap().remove(0).unwrap();
    // Nothing about unsafe topics is set: this one is safe.
    let url = BrokerUrl::parse(&format!("kafka://{}/t", kafka.bootstrap())).unwrap();
    let broker = FACTORY.build(&url, context(&[])).await.unwrap();
    let log = open(&broker, "t").await.unwrap();
    let sinks: Vec<_> = (0..4).map(|_| Sink::new()).collect();
    let mut tails = Vec::new();
    for (partition, sink) in (0..).map(Partition).zip(&sinks) {
        tails.push(log.tail(partition, 0, sink.clone()).await.unwrap());
    }

    let (mut stored, mut unknown) = (HashSet::new(), HashSet::new());
    let (mut slowest, began) = (Duration::ZERO, Instant::now());
    let mut killed = false;
    for n in 0.. {
        if began.elapsed() > Duration::from_secs(15) {
            break;
        }
        if !killed && began.elapsed() > Duration::from_secs(2) {
            kafka.kill_9(0).unwrap();
            killed = true;
        }
        let (key, payload) = (format!("k{}", n % 40), n.to_string());
        let sent = Instant::now();
        match log.append(record(&key, &payload)).await {
            Ok(_) => drop(stored.insert(payload)),
            Err(BrokerError::UnknownOutcome(_)) => drop(unknown.insert(payload)),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        slowest = slowest.max(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("publishes pass", async || log.append(record("last", "last")).await.is_ok()).await;
    eprintln!("{} stored, {} unknown, the slowest answer took {slowest:?}", stored.len(), unknown.len());
    assert!(stored.len() > 100);

    for (partition, sink) in (0..).map(Partition).zip(&sinks) {
        sink.wait_next(log.bounds(partition).await.unwrap().end);
    }
    let mut got = HashSet::new();
    for sink in &sinks {
        let seen = sink.seen();
        assert!(seen.losses.is_empty(), "{:?}", seen.losses);
        assert!(seen.offsets().is_sorted_by(|a, b| a < b));
        for payload in seen.payloads() {
            assert!(payload == "last" || got.insert(payload.clone()), "twice: {payload}");
        }
    }
    let lost: Vec<_> = stored.difference(&got).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(got.iter().all(|payload| stored.contains(payload) || unknown.contains(payload)));
}
