//! A sink that remembers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::PATIENCE;
use crate::{Refused, TailLoss, TailSink, Tailed};

#[derive(Debug, Default)]
struct Seen {
    records: Vec<Tailed>,
    next: u64,
    losses: Vec<TailLoss>,
}

/// Collects what a tail delivers, and checks on the way that offsets grow and progress never goes back.
#[derive(Debug, Default)]
pub struct Collector {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Collector {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payloads so far, as texts.
    pub fn payloads(&self) -> Vec<String> {
        let text = |r: &Tailed| String::from_utf8_lossy(r.payload.as_deref().unwrap_or_default()).into_owned();
        self.lock().records.iter().map(text).collect()
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Tailed> {
        self.lock().records.clone()
    }

    /// The losses so far.
    pub fn losses(&self) -> Vec<TailLoss> {
        self.lock().losses.clone()
    }

    /// Waits until the tail has passed `next`.
    pub async fn passed(self: &Arc<Self>, next: u64) {
        let this = self.clone();
        let waited = tokio::task::spawn_blocking(move || {
            let (deadline, mut seen) = (Instant::now() + PATIENCE, this.lock());
            while seen.next < next && Instant::now() < deadline {
                seen = this.changed.wait_timeout(seen, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            }
            seen.next
        });
        let reached = waited.await.expect("waiting does not panic");
        assert!(reached >= next, "a tail reports progress up to the end: {reached} instead of {next}");
    }
}

impl TailSink for Collector {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        let mut seen = self.lock();
        for record in batch.drain(..) {
            assert!(record.log_offset >= seen.next, "offsets grow strictly: {} after {}", record.log_offset, seen.next);
            seen.next = record.log_offset + 1;
            seen.records.push(record);
        }
        assert!(next >= seen.next, "progress lies behind the records: {next} < {}", seen.next);
        seen.next = next;
        self.changed.notify_all();
    }

    fn lost(&self, loss: TailLoss) {
        self.lock().losses.push(loss);
        self.changed.notify_all();
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        panic!("no record of this suite is refused, but {log_offset} was: {why:?}");
    }
}
