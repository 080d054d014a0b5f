//! The broker's contract.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{Appended, Bounds, BrokerError, Key, LogInfo, LogSpec, Partition, Record, Refused, TailLoss, Tailed};

/// A future that can be named in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a broker can do beyond the contract. Compared with the configuration at start; a mismatch stops the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// An acknowledged record outlives this process.
    pub durable: bool,
    /// Several nodes can share it.
    pub shared: bool,
    /// It numbers each channel without holes, as [`Log`] says, and decides duplicates and versions before it numbers. Then
    /// [`Log::channel_top`] and [`Log::read_channel`] answer; otherwise positions are the log's own offsets.
    pub channel_offsets: bool,
}

/// State of the circuit breaker in front of a backbone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Breaker {
    /// Requests pass.
    #[default]
    Closed,
    /// One request is let through to see.
    HalfOpen,
    /// Requests fail at once.
    Open,
}

/// How a broker is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// State of the breaker.
    pub breaker: Breaker,
    /// The last trouble, for a person; empty = none.
    pub trouble: String,
}

/// One connection to a backbone.
pub trait Broker: Send + Sync + 'static {
    /// The name that it is registered and configured under.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Opens a log and checks that it can be used as the spec asks.
    ///
    /// # Errors
    /// `Refused` with a text that says what to do (for a missing topic: the command that creates it); `Unavailable`
    /// when the backbone cannot be reached.
    fn open<'a>(&'a self, spec: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>>;

    /// How it is right now. Never waits.
    fn health(&self) -> Health;

    /// Flushes what was accepted and ends its threads. Appends after it fail with `Unavailable`.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// One log: an ordered, append-only sequence of records per partition.
///
/// # Contract
/// - **Order.** Within a partition every reader on every node sees the same records in the same order, with strictly
///   growing offsets. Two appends of one caller where the second starts after the first returned land in that order.
/// - **Partition.** The records of one key always lie in [`Log::partition_of`] that key, as long as the epoch stays.
/// - **Durability.** When [`Log::append`] returns `Ok`, the record is stored in the sense that the broker documents,
///   and will be delivered by every tail that starts at or before its offset. It may be delivered *before* append
///   returns. `UnknownOutcome` means stored or not; every other error means not stored.
/// - **Only what is stored is delivered.** A tail never delivers a record that a crash could take back.
/// - **Offsets.** They name places in the partition. `Tailed::log_offset + 1` is where reading goes on after a record.
///   A broker with [`crate::Capabilities::channel_offsets`] also numbers within the channel: 1, 2, 3, ... without
///   holes, never re-used within an epoch, also when older records were dropped.
/// - **Forgotten channels.** Such a broker may forget a channel that was silent for long and of which nothing is kept. Then
///   it goes on above every number that it ever had; until then its top is the number before. So does a channel that was
///   never used. That number may rise, and what was a top before is then before what is kept.
/// - **Loss.** What may be lost is what retention drops. A tail that finds a hole says so by [`TailSink::lost`] and
///   goes on; it never skips in silence.
/// - **Waiting.** Only futures wait. Everything else returns at once and may be called from any thread.
pub trait Log: Send + Sync + 'static {
    /// What the log is right now.
    fn info(&self) -> LogInfo;

    /// The partition of a key under the current epoch. Pure and cheap.
    fn partition_of(&self, key: &str) -> Partition;

    /// Stores one record. Calls that are made while another waits are batched by the broker.
    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>>;

    /// Starts delivering a partition to `sink`, from offset `from` on, until the handle is dropped. One call of the
    /// sink at a time per tail, from a thread of the broker or (memory) of the appender. Trouble with the backbone
    /// does not end a tail: it goes on where it was when the backbone is back. `from` before the start of the partition
    /// is reported as [`TailLoss::Truncated`]; `from` past its end waits there.
    fn tail(
        &self,
        partition: Partition,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>>;

    /// What the partition holds now, as the backbone says (not a cached value).
    fn bounds(&self, partition: Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>>;

    /// Reads a bounded range `from..to` of one partition, by pages: the answer goes on at [`Page::next`], and may be
    /// shorter than the range but never skips. Does not disturb any tail.
    ///
    /// # Errors
    /// `OutOfRange` when `from` lies before the start: never a silently shorter page.
    fn read(
        &self,
        partition: Partition,
        from: u64,
        to: u64,
        limits: PageLimits,
    ) -> BoxFuture<'_, Result<Page, BrokerError>>;

    /// Newest number of a channel and the oldest that is still kept. Only with
    /// [`crate::Capabilities::channel_offsets`], else `None`. Cheap: in memory.
    fn channel_top(&self, key: &str) -> Option<ChannelTop>;

    /// Reads one channel after number `after` (exclusive), oldest first. Only with
    /// [`crate::Capabilities::channel_offsets`].
    ///
    /// # Errors
    /// `Refused` without the capability; `OutOfRange` never: what is gone shows in [`ChannelPage::first_kept`].
    fn read_channel<'a>(
        &'a self,
        key: &'a Key,
        after: u64,
        limits: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>>;
}

/// Bounds of one page. A page holds at least one record if there is one, however large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes of keys and payloads.
    pub bytes_max: usize,
}

/// A piece of a partition.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order of their offsets.
    pub records: Vec<Tailed>,
    /// Where to go on reading; equal to the asked `to`, or to the partition's end when that comes first, when the range is
    /// exhausted.
    pub next: u64,
}

/// Ends of a channel's stream where the broker numbers per channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelTop {
    /// Number of the newest publication, or for a channel that is not known the one before that of its next; 0 = the next
    /// one is the first.
    pub last: u64,
    /// Number of the oldest publication kept; `last + 1` when none is kept.
    pub first_kept: u64,
}

/// A piece of a channel.
#[derive(Clone, Debug, Default)]
pub struct ChannelPage {
    /// In order of their numbers.
    pub records: Vec<Tailed>,
    /// The channel's ends when it was read.
    pub top: ChannelTop,
}

impl ChannelPage {
    /// Number of the oldest publication kept.
    pub fn first_kept(&self) -> u64 {
        self.top.first_kept
    }
}

/// Where a tail delivers. Calls must not wait and must not call back into the same log.
pub trait TailSink: Send + Sync + 'static {
    /// Records in order, then progress: everything before `next` was delivered or holds nothing. An empty batch is
    /// progress alone. The sink takes the records out; the vector itself stays the caller's.
    fn records(&self, batch: &mut Vec<Tailed>, next: u64);

    /// The tail lost something and says what.
    fn lost(&self, loss: TailLoss);

    /// A record was left out (or, for [`Refused::Misplaced`], delivered nevertheless).
    fn refused(&self, log_offset: u64, why: Refused);
}

/// A running tail; dropping it stops the delivery (a call that has begun may still end).
pub struct TailHandle(#[expect(dead_code, reason = "held for its Drop")] Box<dyn std::any::Any + Send + Sync>);

impl TailHandle {
    /// Wraps what stops the tail when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl std::fmt::Debug for TailHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TailHandle")
    }
}
