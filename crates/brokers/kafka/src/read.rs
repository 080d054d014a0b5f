//! Reading a range of a partition, its ends, and samples of keys: with other consumers than the tails'.
//!
//! Everything here blocks and runs on the pool. A page never skips: where it stops, the next one starts.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tidegate_broker::{Bounds, BrokerError, Page, PageLimits, Partition};
use tidegate_kafka_topic_id::position;

use crate::connect::{ASK_MAX, Consumer};
use crate::epoch::State;
use crate::record;
use crate::sample::Sample;

const PAGE_MAX: Duration = Duration::from_secs(5);
/// How long a leader may take to know that it is one.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// A leader that was just elected, or a replica in the client's rack, may show an end that lies before the one named
/// first. Only when nothing follows for this long, there is nothing: compaction left the last offsets empty.
const END_SETTLED: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);
/// Records that are sampled of each partition.
const SAMPLED_PER_PARTITION: u64 = 50;
const SAMPLED_MAX: usize = 1_000;
const SAMPLE_MAX: Duration = Duration::from_secs(3);

pub(crate) fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

pub(crate) fn at(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

fn unavailable(what: &str, error: &KafkaError) -> BrokerError {
    BrokerError::Unavailable(format!("{what}: {error}").into())
}

/// What the partition holds now: from its oldest record to the last stable offset.
pub(crate) fn bounds(consumer: &Consumer, topic: &str, partition: Partition) -> Result<Bounds, BrokerError> {
    let deadline = Instant::now() + SETTLE_MAX;
    let (low, high) = loop {
        match consumer.fetch_watermarks(topic, number(partition), ASK_MAX) {
            Ok(ends) => break ends,
            Err(error) if is_passing(&error) && Instant::now() < deadline => std::thread::sleep(SETTLE_PAUSE),
            Err(error) => return Err(unavailable("Kafka does not name the partition's ends", &error)),
        }
    };
    let (start, end) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
    Ok(Bounds { start, end: end.max(start) })
}

/// A topic that was just created, a leader that just moved, a node that just left the cluster.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::DestroyBroker
        )
    )
}

/// Reads `from..to` up to the limits.
pub(crate) fn page(
    consumer: &Consumer,
    topic: &str,
    partition: Partition,
    range: std::ops::Range<u64>,
    limits: PageLimits,
    state: &State,
) -> Result<Page, BrokerError> {
    let (from, to) = (range.start, range.end);
    let bounds = bounds(consumer, topic, partition)?;
    if from < bounds.start {
        let text = format!("offset {from} of partition {} is gone, it starts at {}", partition.0, bounds.start);
        return Err(BrokerError::OutOfRange(text.into()));
    }
    let mut page = Page { records: Vec::new(), next: from };
    if from >= to || from >= bounds.end {
        return Ok(page);
    }
    assign(consumer, topic, partition, from)?;
    let stop = to.min(bounds.end);
    let mut room = limits.bytes_max;
    let deadline = Instant::now() + PAGE_MAX;
    let mut end_seen = None;
    while page.next < stop {
        match consumer.poll(POLL) {
            Some(Ok(message)) if message.partition() == number(partition) && record::offset(&message) >= page.next => {
                if !take(&mut page, &message, stop, limits, &mut room, state) {
                    break;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(p))) if p == number(partition) => {
                page.next = page.next.max(standing(consumer, topic, partition, stop));
                end_seen.get_or_insert_with(Instant::now);
            }
            Some(Err(error)) => fail(&error, from)?,
            None => page.next = page.next.max(standing(consumer, topic, partition, stop)),
        }
        if end_seen.is_some_and(|seen| seen.elapsed() >= END_SETTLED) {
            page.next = stop;
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    if page.next == from {
        return Err(BrokerError::Unavailable(format!("Kafka did not deliver offset {from} in time, retry").into()));
    }
    Ok(page)
}

/// How far the consumer has read, at most `stop`.
fn standing(consumer: &Consumer, topic: &str, partition: Partition, stop: u64) -> u64 {
    position_of(consumer, topic, partition).map_or(0, |seen| seen.min(stop))
}

/// Whether the page has room for more.
fn take(
    page: &mut Page,
    message: &rdkafka::message::BorrowedMessage<'_>,
    stop: u64,
    limits: PageLimits,
    room: &mut usize,
    state: &State,
) -> bool {
    let offset = record::offset(message);
    if offset >= stop {
        page.next = stop;
        return false;
    }
    if let Ok(decoded) = record::decode(message, state) {
        let size = message.key_len() + message.payload_len();
        if !page.records.is_empty() && (page.records.len() >= limits.records_max || size > *room) {
            page.next = offset;
            return false;
        }
        *room = room.saturating_sub(size);
        page.records.push(decoded.record);
    }
    page.next = offset + 1;
    page.records.len() < limits.records_max.max(1)
}

fn fail(error: &KafkaError, from: u64) -> Result<(), BrokerError> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            Err(BrokerError::OutOfRange(format!("offset {from} is gone").into()))
        }
        // The client retries what a broker's absence broke; the deadline bounds it.
        _ => Ok(()),
    }
}

pub(crate) fn assign(consumer: &Consumer, topic: &str, partition: Partition, from: u64) -> Result<(), BrokerError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number(partition), at(from))
        .and_then(|()| consumer.assign(&list))
        .map_err(|error| unavailable("cannot read the partition", &error))
}

/// Where the consumer stands, control records and aborted ones included.
pub(crate) fn position_of(consumer: &Consumer, topic: &str, partition: Partition) -> Option<u64> {
    position(consumer.client(), topic, number(partition))
}

/// Reads the newest keys of every partition and counts whom they speak for. What lies before `since`, by partition, is
/// from a time when there were fewer, and is left out.
pub(crate) fn sample(consumer: &Consumer, topic: &str, partitions: u32, since: &[u64]) -> Result<Sample, BrokerError> {
    let mut list = TopicPartitionList::new();
    let (mut offsets, mut records) = (0, 0);
    for partition in 0..partitions {
        let bounds = bounds(consumer, topic, Partition(partition))?;
        let start = bounds.start.max(since.get(partition as usize).copied().unwrap_or(0));
        if bounds.end > start {
            let from = bounds.end.saturating_sub(SAMPLED_PER_PARTITION).max(start);
            offsets += bounds.end - from;
            list.add_partition_offset(topic, number(Partition(partition)), at(from))
                .map_err(|error| unavailable("cannot sample", &error))?;
        }
    }
    let mut found = Vec::new();
    let mut open = list.count();
    if open > 0 {
        consumer.assign(&list).map_err(|error| unavailable("cannot sample", &error))?;
    }
    let deadline = Instant::now() + SAMPLE_MAX;
    while open > 0 && found.len() < SAMPLED_MAX && Instant::now() < deadline {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                records += 1;
                if let (Some(key), Ok(partition)) = (message.key(), u32::try_from(message.partition())) {
                    found.push((partition, key.to_vec()));
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(_)) | None => {}
        }
    }
    let left_out = if open == 0 { offsets.saturating_sub(records) } else { 0 };
    Ok(Sample { left_out, ..Sample::of(&found, partitions) })
}
