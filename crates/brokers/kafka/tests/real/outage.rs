//! Kafka goes away and comes back. Kafka of their own: the others must not notice.

use std::time::{Duration, Instant};

use tidegate_broker::{Breaker, BrokerError, Partition};
use tidegate_testkit::kafka::{Kafka, Options};

use crate::support::{SOON, Sink, broker, create_topic, open, record};

pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !check().await {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn publishes_fail_at_once_and_all_heals_alone() {
    let mut kafka = Kafka::start().unwrap();
    create_topic(&kafka.bootstrap(), "t", 1, &[]).await;
    let broker = broker(&kafka.bootstrap(), &[]).await;
    let log = open(&broker, "t").await.unwrap();
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    log.append(record("k", "before")).await.unwrap();
    sink.wait_next(1);

    kafka.kill_9(0).unwrap();
    until("the breaker opens", async || broker.health().breaker == Breaker::Open).await;
    assert!(!broker.health().trouble.is_empty());
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let began = Instant::now();
        let error = log.append(record("k", "lost")).await.unwrap_err();
        slowest = slowest.max(began.elapsed());
        assert!(matches!(error, BrokerError::Unavailable(_)), "{error}");
    }
    eprintln!("the slowest refusal took {slowest:?}");
    assert!(slowest < Duration::from_millis(5) * 4, "{slowest:?}");
    assert!(log.bounds(Partition(0)).await.unwrap_err().is_retryable());

    kafka.restart(0).unwrap();
    let back = Instant::now();
    until("the breaker closes", async || broker.health().breaker == Breaker::Closed).await;
    eprintln!("healed {:?} after Kafka was up", back.elapsed());
    let appended = log.append(record("k", "after")).await.unwrap();
    sink.wait_next(appended.log_offset + 1);
    assert_eq!(sink.seen().payloads(), ["before", "after"]);
    assert!(sink.seen().losses.is_empty(), "{:?}", sink.seen().losses);
}

#[tokio::test]
async fn a_broker_that_stops_in_good_order() {
    let mut kafka = Kafka::start().unwrap();
    create_topic(&kafka.bootstrap(), "t", 2, &[]).await;
    let broker = broker(&kafka.bootstrap(), &[]).await;
    let log = open(&broker, "t").await.unwrap();
    let epoch = log.info().epoch;
    let sink = Sink::new();
    let partition = log.partition_of("k");
    let _tail = log.tail(partition, 0, sink.clone()).await.unwrap();
    let mut stored = Vec::new();
    for round in 0..2 {
        for n in 0..10 {
            let payload = format!("{round}-{n}");
            log.append(record("k", &payload)).await.unwrap();
            stored.push(payload);
        }
        kafka.stop(0).unwrap();
        kafka.restart(0).unwrap();
        until("publishes pass", async || log.append(record("k", "x")).await.is_ok()).await;
        stored.push("x".to_owned());
    }
    sink.wait("all of them", |seen| {
        let got: Vec<_> = seen.payloads();
        (got.len() >= stored.len()).then_some(())
    });
    let mut got = sink.seen().payloads();
    // A publish without an answer may have been stored.
    got.dedup();
    assert_eq!(got, stored);
    assert_eq!(log.info().epoch, epoch);
}

#[tokio::test]
async fn a_broker_that_hangs() {
    let mut kafka = Kafka::start().unwrap();
    create_topic(&kafka.bootstrap(), "t", 1, &[]).await;
    let broker = broker(&kafka.bootstrap(), &[("append_timeout_ms", "1000")]).await;
    let log = open(&broker, "t").await.unwrap();
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    log.append(record("k", "before")).await.unwrap();
    sink.wait_next(1);

    kafka.pause(0).unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let log = log.clone();
        waiting.spawn(async move { log.append(record("k", "hung")).await });
    }
    let mut unknown = 0;
    while let Some(answer) = waiting.join_next().await {
        let error = answer.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error}");
        unknown += usize::from(matches!(error, BrokerError::UnknownOutcome(_)));
    }
    assert!(unknown > 0, "what was sent may have been stored");
    assert_eq!(broker.health().breaker, Breaker::Open);
    let began = Instant::now();
    assert!(matches!(log.append(record("k", "refused")).await, Err(BrokerError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_millis(20), "{:?}", began.elapsed());

    kafka.resume(0).unwrap();
    until("publishes pass", async || log.append(record("k", "after")).await.is_ok()).await;
    sink.wait("what came after", |seen| seen.payloads().contains(&"after".to_owned()).then_some(()));
    assert_eq!(broker.health().breaker, Breaker::Closed);
    let payloads = sink.seen().payloads();
    assert!(!payloads.contains(&"refused".to_owned()));
    assert!(payloads.iter().filter(|payload| *payload == "hung").count() <= unknown, "{payloads:?}");
}

#[tokio::test]
async fn idle_connections_that_are_closed_are_no_outage() {
    let idle = ("connections.max.idle.ms".to_owned(), "1500".to_owned());
    let kafka = Kafka::start_with(Options { properties: vec![idle], ..Options::default() }).unwrap();
    create_topic(&kafka.bootstrap(), "t", 1, &[]).await;
    let broker = broker(&kafka.bootstrap(), &[("check_interval_ms", "60000")]).await;
    let log = open(&broker, "t").await.unwrap();
    log.append(record("k", "v")).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        assert_eq!(broker.health().breaker, Breaker::Closed, "{:?}: {}", began.elapsed(), broker.health().trouble);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    log.append(record("k", "v")).await.unwrap();
}
