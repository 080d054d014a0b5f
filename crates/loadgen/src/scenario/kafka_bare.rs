//! Kafka without a server between: records at a steady rate from a producer to a consumer of this process.
//!
//! What any server on Kafka has to be compared with. Every record is checked as a delivery is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;

use crate::Report;
use crate::clock::{Deadline, now_ns, seconds};
use crate::kafka::{Producer, Topic};
use crate::mark::{Mark, Marker};
use crate::verify::{Subscription, Tally};

/// How long the last records may take after the producer is done.
const PATIENCE: Duration = Duration::from_secs(5);

/// As many records as this are still to come while the producer is not done.
const STILL_SENDING: u64 = u64::MAX;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaBare {
    /// Where to
    #[command(flatten)]
    pub topic: Topic,
    /// Partitions of a topic that is created; records go to all in turns
    #[arg(long, default_value_t = 8)]
    pub partitions: i32,
    /// Records per second
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 2.0)]
    pub warm: f64,
    /// Bytes of a record
    #[arg(long, default_value_t = 128)]
    pub size: usize,
}

/// What the consumer saw.
struct Seen {
    tally: Tally,
    latency_us: Histogram<u64>,
}

impl KafkaBare {
    pub(crate) fn run(&self, report: &mut Report) -> Result<()> {
        self.topic.create(self.partitions)?;
        let (consumer, partitions) = self.topic.consumer()?;
        let producer = self.topic.producer()?;
        let marker = Marker::new((now_ns() >> 20) as u16, self.size);
        let stored = AtomicU64::new(STILL_SENDING);
        let measure_from_ns = now_ns() + seconds(self.warm).as_nanos() as u64;
        let (seen, late_us_max) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| receive(&consumer, partitions, &marker, measure_from_ns, &stored));
            let sent = self.send(&producer, partitions, &marker);
            stored.store(producer.acks().stored.load(Ordering::Acquire), Ordering::Release);
            let seen = reader.join().map_err(|_| anyhow!("the reading thread panicked"))?;
            anyhow::Ok((seen?, sent?))
        })?;
        let stored = stored.into_inner();
        report.add("published", stored as f64);
        report.add("publishes_per_s", stored as f64 / (self.seconds + self.warm));
        report.add("publish_errors", producer.acks().refused.load(Ordering::Acquire) as f64);
        report.add("publish_late_max_us", late_us_max as f64);
        report.add("delivered", seen.tally.delivered as f64);
        report.add("lost", stored as f64 - seen.tally.unique() as f64);
        report.add("duplicated", seen.tally.duplicated as f64);
        report.add("reordered", seen.tally.reordered as f64);
        report.add("corrupted", seen.tally.corrupted as f64);
        report.add_histogram("latency", &seen.latency_us);
        Ok(())
    }

    /// Sends at an even pace; returns how late the latest was.
    fn send(&self, producer: &Producer, partitions: u32, marker: &Marker) -> Result<u64> {
        let (start, step) = (now_ns(), 1e9 / self.rate.max(0.001));
        let (total, mut late_us_max) = ((self.rate * (self.seconds + self.warm)) as u64, 0);
        let mut payload = Vec::with_capacity(self.size);
        for n in 0..total {
            let due = start + (n as f64 * step) as u64;
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
            late_us_max = late_us_max.max(now_ns().saturating_sub(due) / 1_000);
            payload.clear();
            let (channel, sequence) = ((n % u64::from(partitions)) as u32, (n / u64::from(partitions)) as u32);
            marker.write(&mut payload, Mark { channel, sequence, at_ns: due });
            producer.send(channel, None, &payload)?;
        }
        producer.flush()?;
        Ok(late_us_max)
    }
}

/// Reads until everything that was stored is there, or nothing comes any more.
fn receive(
    consumer: &BaseConsumer,
    partitions: u32,
    marker: &Marker,
    measure_from_ns: u64,
    stored: &AtomicU64,
) -> Result<Seen> {
    let mut subscriptions: Vec<_> = (0..partitions).map(Subscription::new).collect();
    let latency_us = Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram")?;
    let mut seen = Seen { tally: Tally::default(), latency_us };
    let mut last = Deadline::after(PATIENCE);
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let now = now_ns();
            let message = message.context("read from Kafka")?;
            if let Some(found) = message.payload().and_then(|payload| marker.find(payload, 0)) {
                seen.tally.take(&mut subscriptions, found.mark, found.intact);
                if found.mark.at_ns >= measure_from_ns {
                    seen.latency_us.saturating_record(now.saturating_sub(found.mark.at_ns) / 1_000);
                }
            }
            last = Deadline::after(PATIENCE);
        }
        let stored = stored.load(Ordering::Acquire);
        if seen.tally.unique() >= stored || (stored != STILL_SENDING && last.is_past()) {
            return Ok(seen);
        }
    }
}
