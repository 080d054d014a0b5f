//! Logs and their partitions by name and number.

use std::sync::Arc;

use tidegate_types::Epoch;

/// A partition of a log, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition(pub u32);

/// What a log is for: how it is to be made where it is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogPurpose {
    /// Publications, over several partitions.
    #[default]
    Publications,
    /// What nodes tell each other: one partition, needed for minutes.
    Control,
    /// Rules of backends: one partition, the newest record of a key is needed for a year.
    Rules,
}

/// Which log to open, and how it will be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSpec {
    /// The log's name; a topic on Kafka. Embedded and memory brokers keep any number of them.
    pub name: Arc<str>,
    /// Nothing will be appended: read permissions are enough.
    pub read_only: bool,
    /// What it is for.
    pub purpose: LogPurpose,
}

/// What a log is right now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogInfo {
    /// How many partitions it has, at least 1.
    pub partitions: u32,
    /// The incarnation of its numbering. A change makes every older position unrecoverable.
    pub epoch: Epoch,
    /// The backbone removes older records of a key: streams can be recovered from the window only.
    pub compacted: bool,
    /// [`crate::Tailed::time_ms`] is the log's own clock; otherwise it is the producer's and decides nothing.
    pub stamps_time: bool,
}

/// The offsets that a partition holds now: `start <= end`, `end` is where the next record will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Offset of the oldest record kept.
    pub start: u64,
    /// One past the newest record that can be read (on Kafka the last stable offset).
    pub end: u64,
}
