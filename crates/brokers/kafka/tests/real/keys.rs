//! Records that are no publications, or lie where they do not belong.

use tidegate_broker::{Partition, Refused};

use crate::support::{PAGE, Raw, Shared, Sink, broker, open, producer, write};

#[tokio::test]
async fn what_is_no_channel_is_left_out_and_the_rest_goes_on() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let raw = producer(&kafka.bootstrap, &[]);
    let long = [b'x'; 256];
    let value: Option<&[u8]> = Some(b"v");
    let records: [Raw<'_>; 6] = [
        (Some(b"a"), value),
        (None, value),
        (Some(b"\x00\x01\xff"), value),
        (Some(&long), value),
        (Some("j\u{f6}b".as_bytes()), value),
        (Some(b"b"), value),
    ];
    write(&raw, &topic, 0, &records);
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    sink.wait_next(6);
    assert_eq!(sink.seen().offsets(), [0, 5]);
    let refused = [(1, Refused::NoKey), (2, Refused::BinaryKey), (3, Refused::LongKey), (4, Refused::BinaryKey)];
    assert_eq!(sink.seen().refused, refused);
    let page = log.read(Partition(0), 0, 6, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (2, 6));
    let page = log.read(Partition(0), 1, 5, PAGE).await.unwrap();
    assert_eq!((page.records.len(), page.next), (0, 5));
}

#[tokio::test]
async fn misplaced_records_are_told_and_delivered() {
    let kafka = Shared::get();
    let topic = kafka.topic(4).await;
    let broker = broker(&kafka.bootstrap, &[("partitioner", "murmur2")]).await;
    let log = open(&broker, &topic).await.unwrap();
    let wrong = Partition((log.partition_of("k").0 + 1) % 4);
    let raw = producer(&kafka.bootstrap, &[]);
    write(&raw, &topic, i32::try_from(wrong.0).unwrap(), &[(Some(b"k"), Some(b"v"))]);
    let sink = Sink::new();
    let _tail = log.tail(wrong, 0, sink.clone()).await.unwrap();
    sink.wait_next(1);
    assert_eq!(sink.seen().refused, [(0, Refused::Misplaced)]);
    assert_eq!(sink.seen().payloads(), ["v"]);
}
