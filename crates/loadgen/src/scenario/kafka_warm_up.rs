//! The first subscription in a partition of Kafka that many records come into: the server has to read the recent past
//! before it answers, and meanwhile more comes.
//!
//! The topic has to be the server's, with one partition, and the server must not have read it yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::{Opening, add_cpu, finish, one_channel};
use crate::Report;
use crate::clients::Clients;
use crate::clock::{now_ns, seconds};
use crate::kafka::{Producer, Topic};
use crate::target::Checked;
use crate::usage::Usage;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaWarmUp {
    /// Where to
    #[command(flatten)]
    pub topic: Topic,
    /// Records that are there before: more than a server looks back
    #[arg(long, default_value_t = 150_000)]
    pub records: u64,
    /// Records per second from then on
    #[arg(long, default_value_t = 10_000.0)]
    pub rate: f64,
    /// Seconds of that before somebody subscribes
    #[arg(long, default_value_t = 2.0)]
    pub settle: f64,
    /// Bytes of a record
    #[arg(long, default_value_t = 128)]
    pub size: usize,
}

impl KafkaWarmUp {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        self.topic.create(1)?;
        let producer = self.topic.producer()?;
        let payload = format!("{{\"fill\":\"{}\"}}", "x".repeat(self.size.saturating_sub(11)));
        for n in 0..self.records {
            send(&producer, n, &payload)?;
        }
        producer.flush()?;
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| self.write(&producer, &payload, &ended));
            let measured = self.subscribe(target, report);
            ended.store(true, Ordering::Release);
            let written = writer.join().map_err(|_| anyhow!("the writing thread panicked"))?;
            measured.and(written).map(|per_s| report.add("publishes_per_s", per_s))
        })?;
        report.add("publish_errors", producer.acks().refused.load(Ordering::Acquire) as f64);
        Ok(())
    }

    fn subscribe(&self, target: &Checked, report: &mut Report) -> Result<()> {
        std::thread::sleep(seconds(self.settle));
        let mut clients = Clients::new(target.clone(), 0)?;
        let before = Usage::of(target.pid);
        let opening = Opening { window: 1, open_max: 60.0, ..Opening::default() };
        let took = opening.open(&mut clients, one_channel(1))?;
        report.add("subscribe_us", took.as_micros() as f64);
        add_cpu(report, "cpu_us_per_connect", target, (&before, &Usage::of(target.pid)), 1.0);
        finish(&mut clients, report);
        Ok(())
    }

    /// Writes at the rate until told to end; returns what came of it per second.
    fn write(&self, producer: &Producer, payload: &str, ended: &AtomicBool) -> Result<f64> {
        let (start, mut sent) = (now_ns(), 0);
        while !ended.load(Ordering::Acquire) {
            let due = ((now_ns() - start) as f64 / 1e9 * self.rate) as u64;
            while sent < due {
                send(producer, sent, payload)?;
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        producer.flush()?;
        Ok(sent as f64 / ((now_ns() - start) as f64 / 1e9))
    }
}

/// Of a thousand channels that nobody subscribes to.
fn send(producer: &Producer, n: u64, payload: &str) -> Result<()> {
    producer.send(0, Some(&format!("foreign{}", n % 1_000)), payload.as_bytes())
}
