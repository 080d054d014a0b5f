//! The contract of [`Log`](crate::Log) as checks that every broker runs.
//!
//! A broker's tests make a [`Harness`] and call [`run`]. Each check gets a log of its own and panics with its clause in
//! the message when the broker breaks it. Nothing here assumes that offsets are contiguous, that a log is empty at
//! offset 0, or that a tail is fast; waits have a deadline of [`PATIENCE`].

mod append;
mod channels;
mod reading;
mod sink;
mod tails;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_types::Meta;

use crate::{BoxFuture, Capabilities, Keep, Log, PageLimits, Record};

pub use sink::Collector;

/// How long a check waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A page that holds everything that a check writes.
pub(crate) const PAGE: PageLimits = PageLimits { records_max: 100_000, bytes_max: 64 << 20 };

/// What a broker's tests offer to the suite.
pub trait Harness: Send + Sync {
    /// What the broker says that it can do.
    fn capabilities(&self) -> Capabilities;

    /// A new, empty log with about so many partitions (a broker that has always one may give one).
    fn log(&self, partitions: u32) -> BoxFuture<'_, Arc<dyn Log>>;

    /// The log opened again, as after a restart; `None` where the broker keeps nothing, or restarts are tested elsewhere.
    fn reopened(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>>;
}

/// Runs every check.
pub async fn run(harness: &dyn Harness) {
    append::run(harness).await;
    reading::run(harness).await;
    tails::run(harness).await;
    if harness.capabilities().channel_offsets {
        channels::run(harness).await;
    } else {
        channels::absent(harness).await;
    }
}

/// A record without anything beside it.
pub(crate) fn record(key: &str, payload: impl Into<Bytes>) -> Record {
    let keep = Keep { count_max: 100_000, age_max: Duration::from_secs(3600) };
    Record { key: key.into(), payload: payload.into(), meta: None, keep }
}

pub(crate) fn with_meta(key: &str, payload: &'static str, meta: Meta) -> Record {
    Record { meta: meta.boxed(), ..record(key, payload) }
}

/// Appends payloads `from..to` of a key, one after the other; their log offsets.
pub(crate) async fn append_numbers(log: &Arc<dyn Log>, key: &str, numbers: std::ops::Range<u32>) -> Vec<u64> {
    let mut offsets = Vec::new();
    for n in numbers {
        offsets.push(log.append(record(key, n.to_string())).await.expect("append").log_offset);
    }
    offsets
}
