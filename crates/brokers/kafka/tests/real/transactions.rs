//! Only what is committed is delivered, and control records stop nobody.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;
use tidegate_broker::Partition;

use crate::support::{PAGE, SOON, Shared, Sink, broker, open, producer, unique, write};

#[tokio::test]
async fn open_aborted_and_committed_transactions() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    let raw = producer(&kafka.bootstrap, &[("transactional.id", &unique("tx"))]);
    raw.init_transactions(SOON).unwrap();

    // Offsets 0 and 1, and the control record at 2.
    raw.begin_transaction().unwrap();
    write(&raw, &topic, 0, &[(Some(b"k"), Some(b"a")), (Some(b"k"), Some(b"b"))]);
    assert_eq!(log.bounds(Partition(0)).await.unwrap().end, 0, "an open transaction cannot be read");
    raw.commit_transaction(SOON).unwrap();
    sink.wait_next(3);
    assert_eq!(sink.seen().payloads(), ["a", "b"]);
    assert_eq!(log.bounds(Partition(0)).await.unwrap().end, 3);
    let page = log.read(Partition(0), 0, 3, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (2, 3), "the last offset is a control record");

    // 3 and 4 are taken back, 5 says so: progress without records.
    raw.begin_transaction().unwrap();
    write(&raw, &topic, 0, &[(Some(b"k"), Some(b"c")), (Some(b"k"), Some(b"d"))]);
    raw.abort_transaction(SOON).unwrap();
    sink.wait_next(6);
    assert_eq!(sink.seen().payloads(), ["a", "b"]);
    let began = Instant::now();
    let page = log.read(Partition(0), 3, 6, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (0, 6));
    let page = log.read(Partition(0), 5, 6, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (0, 6));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "control records are seen, not waited out: {:?}",
        began.elapsed()
    );

    // A tail that starts among them is caught up as well.
    for from in 2..=6 {
        let late = Sink::new();
        let _tail = log.tail(Partition(0), from, late.clone()).await.unwrap();
        late.wait_next(6);
        assert!(late.seen().records.is_empty());
    }

    // While a transaction is open, what others wrote after its begin waits.
    raw.begin_transaction().unwrap();
    write(&raw, &topic, 0, &[(Some(b"k"), Some(b"e"))]);
    let plain = producer(&kafka.bootstrap, &[]);
    write(&plain, &topic, 0, &[(Some(b"k"), Some(b"f"))]);
    assert_eq!(log.bounds(Partition(0)).await.unwrap().end, 6);
    let page = log.read(Partition(0), 0, 100, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (2, 6));
    raw.commit_transaction(SOON).unwrap();
    sink.wait_next(9);
    assert_eq!(sink.seen().payloads(), ["a", "b", "e", "f"]);
    assert_eq!(sink.seen().offsets(), [0, 1, 6, 7]);
}

#[tokio::test]
async fn what_is_aborted_below_an_open_transaction_is_passed_at_once() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let [aborted, left_open] = ["a", "b"].map(|name| {
        let raw = producer(&kafka.bootstrap, &[("transactional.id", &unique(name))]);
        raw.init_transactions(SOON).unwrap();
        raw.begin_transaction().unwrap();
        raw
    });
    // Offsets 0 and 1 are taken back, but what says so, at 3, lies behind the first offset that is open.
    write(&aborted, &topic, 0, &[(Some(b"k"), Some(b"a")), (Some(b"k"), Some(b"b"))]);
    write(&left_open, &topic, 0, &[(Some(b"k"), Some(b"c"))]);
    aborted.abort_transaction(SOON).unwrap();
    // The coordinator writes what says so after it has answered.
    let reaches = async |end| {
        let began = Instant::now();
        while log.bounds(Partition(0)).await.unwrap().end < end {
            assert!(began.elapsed() < SOON, "the stable end does not move to {end}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    reaches(2).await;
    for (from, to) in [(0, 2), (0, 100), (1, 2), (0, 1)] {
        let page = log.read(Partition(0), from, to, PAGE).await.unwrap();
        assert_eq!((page.records.len(), page.next), (0, to.min(2)), "{from}..{to}");
    }
    left_open.commit_transaction(SOON).unwrap();
    reaches(5).await;
    let page = log.read(Partition(0), 0, 3, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, 3));
}
