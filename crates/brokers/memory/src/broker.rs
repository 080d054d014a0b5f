//! The broker and its logs.

use std::collections::HashMap;
use std::collections::hash_map::RandomState as SipState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_broker::{
    Appended, Bounds, BoxFuture, Broker, BrokerError, Capabilities, ChannelPage, ChannelTop, Health, Key, Log, LogInfo,
    LogSpec, Page, PageLimits, Partition as Number, Record, TailHandle, TailSink,
};
use tidegate_types::Epoch;

use crate::factory::CAPABILITIES;
use crate::partition::{Bound, Partition};

/// Settings of the memory broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// Partitions of each log: locks that appends of different channels do not share.
    pub(crate) partitions: u32,
    /// Bytes kept of all channels of a log.
    pub(crate) history_bytes_max: usize,
    /// How long a channel is remembered of which nothing is kept.
    pub(crate) history_meta_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { partitions: 4, history_bytes_max: 256 << 20, history_meta_ttl: Duration::from_secs(7 * 86_400) }
    }
}

/// See the crate docs.
pub struct Memory {
    settings: Settings,
    logs: Mutex<HashMap<Arc<str>, Arc<MemoryLog>>>,
}

impl Memory {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, logs: Mutex::default() }
    }
}

impl Broker for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn open<'a>(&'a self, spec: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.entry(spec.name.clone()).or_insert_with(|| Arc::new(MemoryLog::new(self.settings))).clone();
        Box::pin(std::future::ready(Ok(log as Arc<dyn Log>)))
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct MemoryLog {
    epoch: Epoch,
    partitions: Box<[Arc<Mutex<Partition>>]>,
    bound: Bound,
}

impl MemoryLog {
    fn new(settings: Settings) -> Self {
        // The standard hasher's keys are random in every process and map; that is all an epoch needs.
        let epoch = format!("{:016x}", SipState::new().hash_one(now_ms()));
        let partitions = (0..settings.partitions).map(|_| Arc::default()).collect();
        let bound = Bound {
            bytes_max: settings.history_bytes_max / settings.partitions.max(1) as usize,
            meta_ttl_ms: settings.history_meta_ttl.as_millis().try_into().unwrap_or(i64::MAX),
        };
        Self { epoch: Epoch::new(&epoch), partitions, bound }
    }

    fn lock(&self, Number(number): Number) -> Result<MutexGuard<'_, Partition>, BrokerError> {
        let partition = self
            .partitions
            .get(number as usize)
            .ok_or_else(|| BrokerError::Refused(format!("there is no partition {number}").into()))?;
        Ok(partition.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of_key(&self, key: &str) -> (Number, MutexGuard<'_, Partition>) {
        let number = self.partition_of(key);
        let partition = &self.partitions[number.0 as usize];
        (number, partition.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// FNV-1a, 64 bits.
fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Log for MemoryLog {
    fn info(&self) -> LogInfo {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        LogInfo { partitions, epoch: self.epoch.clone(), compacted: false, stamps_time: true }
    }

    fn partition_of(&self, key: &str) -> Number {
        let count = self.partitions.len() as u64;
        Number(u32::try_from(hash(key) % count).unwrap_or(0))
    }

    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        let (number, mut partition) = self.of_key(&record.key);
        ready(Ok(partition.append(number, record, now_ms(), self.bound)))
    }

    fn tail(
        &self,
        partition: Number,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        let id = match self.lock(partition) {
            Ok(mut guarded) => guarded.tail(from, sink),
            Err(error) => return ready(Err(error)),
        };
        let partition = self.partitions[partition.0 as usize].clone();
        ready(Ok(TailHandle::new(EndTail { partition, id })))
    }

    fn bounds(&self, partition: Number) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        ready(self.lock(partition).map(|p| p.bounds()))
    }

    fn read(
        &self,
        partition: Number,
        from: u64,
        to: u64,
        limits: PageLimits,
    ) -> BoxFuture<'_, Result<Page, BrokerError>> {
        ready(self.lock(partition).and_then(|p| p.read(from, to, limits)))
    }

    fn channel_top(&self, key: &str) -> Option<ChannelTop> {
        Some(self.of_key(key).1.channel_top(key))
    }

    fn read_channel<'a>(
        &'a self,
        key: &'a Key,
        after: u64,
        limits: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>> {
        ready(Ok(self.of_key(key).1.read_channel(key, after, limits)))
    }
}

struct EndTail {
    partition: Arc<Mutex<Partition>>,
    id: u64,
}

impl Drop for EndTail {
    fn drop(&mut self) {
        self.partition.lock().unwrap_or_else(PoisonError::into_inner).end_tail(self.id);
    }
}
