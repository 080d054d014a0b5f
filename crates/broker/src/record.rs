//! What goes into a log and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_types::{Epoch, Meta};

use crate::Partition;

/// What a record is filed under: a channel's name, or its part after the namespace.
pub type Key = Arc<str>;

/// How much of a channel's past its namespace wants kept. Where the log keeps more, the core hides it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Newest publications of the channel.
    pub count_max: u32,
    /// Age at which a publication may be forgotten.
    pub age_max: Duration,
}

/// One record to append. The payload is stored untouched.
#[derive(Clone, Debug)]
pub struct Record {
    /// Decides the partition.
    pub key: Key,
    /// The bytes published.
    pub payload: Bytes,
    /// What travels beside them.
    pub meta: Option<Box<Meta>>,
    /// What brokers that prune by channel keep of this channel.
    pub keep: Keep,
}

/// Where a record landed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its partition.
    pub partition: Partition,
    /// Its offset there. For a duplicate: that of the first one. For a suppressed version: the log's end then.
    pub log_offset: u64,
    /// Its number in its channel where the broker numbers per channel (contiguous but for what
    /// [`crate::Log`] says of forgotten channels); the first one's for a duplicate, the channel's newest for a suppressed
    /// version.
    pub channel_offset: Option<u64>,
    /// The broker found a record with the same idempotency key, or a version as high, and stored nothing. Only
    /// brokers with [`crate::Capabilities::channel_offsets`] ever say so; elsewhere the window decides.
    pub suppressed: bool,
}

/// One record as a tail or a read delivers it.
#[derive(Clone, Debug)]
pub struct Tailed {
    /// Its offset in the partition: strictly growing, not always contiguous.
    pub log_offset: u64,
    /// Its number in its channel where the broker numbers per channel.
    pub channel_offset: Option<u64>,
    /// ms since 1970; whose clock, [`crate::LogInfo::stamps_time`] says.
    pub time_ms: i64,
    /// What it is filed under.
    pub key: Key,
    /// The bytes published; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// What travelled beside them.
    pub meta: Option<Box<Meta>>,
}

/// A record that a tail had to leave out; it is counted, and the stream goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// It has no key, so it belongs to no channel.
    NoKey,
    /// Its key is not printable ASCII, so it is no channel name.
    BinaryKey,
    /// Its key is longer than a channel name can be.
    LongKey,
    /// It lies in another partition than its key belongs to: delivered, but order across partitions is not promised.
    Misplaced,
    /// Its headers cannot be read.
    BadHeaders,
}

/// Something happened to a partition that a tail cannot pass over in silence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailLoss {
    /// The numbering changed (log re-created, partitions added, partitioner changed): positions so far are void, and the
    /// tail ends. `Log::info` says so first, and a tail that is started from then on is not told.
    NewEpoch {
        /// The new incarnation.
        epoch: Epoch,
        /// What changed, for the log line.
        why: String,
    },
    /// Records before `start` vanished before this tail read them. It goes on from there.
    Truncated {
        /// The first offset that can still be read.
        start: u64,
    },
    /// The sink failed over records that it was given: for it those before `next` are lost, and nothing of the log is. The
    /// tail goes on from there.
    Skipped {
        /// The first offset that comes next.
        next: u64,
    },
}
