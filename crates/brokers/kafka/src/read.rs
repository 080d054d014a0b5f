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
    let page = Page { records: Vec::new(), next: from };
    if from >= to || from >= bounds.end {
        return Ok(page);
    }
    let stop = to.min(bounds.end);
    let mut reading = Reading { consumer, topic, partition, stop, page, sight: Sight::First };
    reading.go(Sight::First, from)?;
    reading.read(limits, state)?;
    if reading.page.next == from {
        return Err(BrokerError::Unavailable(format!("Kafka did not deliver offset {from} in time, retry").into()));
    }
    Ok(reading.page)
}

/// What it means that no more records come.
///
/// A leader that was just elected, or a replica in the client's rack, may show an end that lies before the one named
/// first. But there may also be nothing up to that one: compaction emptied the last offsets, or they were aborted by a
/// transaction whose marker lies behind another one that is open. So the broker is asked for what lies *at* `stop`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sight {
    /// Reading; an end before `stop` proves nothing.
    First,
    /// Waiting at `stop`: only a broker whose partition goes as far answers.
    Probing,
    /// Reading again from that broker; what it leaves out is not there.
    Sure,
}

/// A page on its way.
struct Reading<'a> {
    consumer: &'a Consumer,
    topic: &'a str,
    partition: Partition,
    stop: u64,
    page: Page,
    sight: Sight,
}

impl Reading<'_> {
    fn go(&mut self, sight: Sight, from: u64) -> Result<(), BrokerError> {
        self.sight = sight;
        assign(self.consumer, self.topic, self.partition, from)
    }

    /// Reads until the page is full, complete, or late.
    fn read(&mut self, limits: PageLimits, state: &State) -> Result<(), BrokerError> {
        let mut room = limits.bytes_max;
        let deadline = Instant::now() + PAGE_MAX;
        while self.page.next < self.stop && Instant::now() < deadline {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.partition() == number(self.partition) => {
                    let offset = record::offset(&message);
                    if self.sight == Sight::Probing {
                        self.reaches(offset)?;
                    } else if offset >= self.page.next
                        && !take(&mut self.page, &message, self.stop, limits, &mut room, state)
                    {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(p))) if p == number(self.partition) => self.at_end()?,
                Some(Err(error)) => self.fail(&error)?,
                Some(Ok(_)) | None => {}
            }
        }
        if self.sight == Sight::First {
            // Many aborted transactions in a row: no record, no end, but progress.
            self.page.next = self.page.next.max(self.standing());
        }
        Ok(())
    }

    /// The broker has a record at `offset`.
    fn reaches(&mut self, offset: u64) -> Result<(), BrokerError> {
        if offset >= self.stop { self.go(Sight::Sure, self.page.next) } else { Ok(()) }
    }

    /// The broker has no more.
    fn at_end(&mut self) -> Result<(), BrokerError> {
        match self.sight {
            Sight::First => {
                self.page.next = self.page.next.max(self.standing());
                if self.page.next < self.stop { self.go(Sight::Probing, self.stop) } else { Ok(()) }
            }
            Sight::Probing => self.reaches(self.stop),
            Sight::Sure => {
                self.page.next = self.stop;
                Ok(())
            }
        }
    }

    /// How far the consumer has read, at most `stop`. Asked only when something of its present assignment came: until
    /// then it may be the place of an older one.
    fn standing(&self) -> u64 {
        position_of(self.consumer, self.topic, self.partition).map_or(0, |seen| seen.min(self.stop))
    }

    fn fail(&self, error: &KafkaError) -> Result<(), BrokerError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let next = self.page.next;
                Err(match self.sight {
                    Sight::Probing => BrokerError::Unavailable("the partition's end went back, retry".into()),
                    _ => BrokerError::OutOfRange(format!("offset {next} is gone").into()),
                })
            }
            // The client retries what a broker's absence broke; the deadline bounds it.
            _ => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_broker::{BrokerUrl, BuildContext};

    use super::*;
    use crate::context::{Context, Trouble};
    use crate::properties;
    use crate::settings::Settings;

    /// A consumer whose Kafka is nowhere.
    fn consumer() -> Consumer {
        let url = BrokerUrl::parse("kafka://127.0.0.1:1/t").unwrap();
        let settings = Settings::parse(&url, BuildContext::default()).unwrap();
        let context = Context { trouble: Arc::new(Trouble::default()), breaker: None };
        properties::reader(&settings).create_with_context(context).unwrap()
    }

    /// A page of what lies before 10, read up to 4.
    fn reading(consumer: &Consumer, sight: Sight) -> Reading<'_> {
        let page = Page { records: Vec::new(), next: 4 };
        Reading { consumer, topic: "t", partition: Partition(0), stop: 10, page, sight }
    }

    /// From where the broker is asked.
    fn asked_from(consumer: &Consumer) -> Offset {
        consumer.assignment().unwrap().find_partition("t", 0).unwrap().offset()
    }

    #[test]
    fn where_a_leader_that_lags_ends_is_not_the_end_of_a_page() {
        let consumer = consumer();
        let mut reading = reading(&consumer, Sight::First);
        reading.at_end().unwrap();
        assert_eq!((reading.sight, asked_from(&consumer), reading.page.next), (Sight::Probing, at(10), 4));
        reading.reaches(9).unwrap();
        assert_eq!(reading.sight, Sight::Probing, "it does not go as far");
        reading.at_end().unwrap();
        assert_eq!((reading.sight, asked_from(&consumer), reading.page.next), (Sight::Sure, at(4), 4));
        reading.at_end().unwrap();
        assert_eq!((reading.sight, reading.page.next), (Sight::Sure, 10), "what that one leaves out is not there");
    }

    #[test]
    fn a_leader_that_ends_before_the_page_loses_nothing() {
        let consumer = consumer();
        let fail = |sight, code| reading(&consumer, sight).fail(&KafkaError::MessageConsumption(code));
        let out_of_range = RDKafkaErrorCode::OffsetOutOfRange;
        assert!(matches!(fail(Sight::Probing, out_of_range), Err(BrokerError::Unavailable(_))), "it may catch up");
        for sight in [Sight::First, Sight::Sure] {
            assert!(matches!(fail(sight, out_of_range), Err(BrokerError::OutOfRange(_))), "{sight:?}");
        }
        assert_eq!(fail(Sight::Probing, RDKafkaErrorCode::BrokerTransportFailure), Ok(()));
    }
}
