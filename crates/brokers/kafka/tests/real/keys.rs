//! Records that are no publications, or lie where they do not belong.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use tidegate_broker::{Partition, Refused};
use tidegate_testkit::install::ensure_program;

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

/// One record with one header, whose bytes are given, by kcat.
fn write_with_header(bootstrap: &str, topic: &str, header: &[u8]) {
    let kcat = ensure_program("kcat", "kcat").unwrap();
    let mut command = Command::new(kcat);
    command.args(["-P", "-b", bootstrap, "-t", topic, "-p", "0", "-k", "k", "-H"]).arg(OsStr::from_bytes(header));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"v").unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn headers_of_others_do_no_harm() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    for header in [&b"traceparent=00-1"[..], b"\xff\xfe=\xff", b"tidegate-version=seven", b"tidegate-tag-kind=job"] {
        write_with_header(&kafka.bootstrap, &topic, header);
    }
    let broker = broker(&kafka.bootstrap, &[]).await;
    let log = open(&broker, &topic).await.unwrap();
    let sink = Sink::new();
    let _tail = log.tail(Partition(0), 0, sink.clone()).await.unwrap();
    sink.wait_next(4);
    let seen = sink.seen();
    assert_eq!(seen.offsets(), [0, 1, 3]);
    assert_eq!(seen.refused, [(2, Refused::BadHeaders)]);
    assert_eq!((&seen.records[0].meta, &seen.records[1].meta), (&None, &None));
    let tags = &seen.records[2].meta.as_ref().unwrap().tags;
    assert_eq!(tags, &[("kind".to_owned(), "job".to_owned())]);
}
