//! A log in memory as the contract allows one to be: every third offset of a partition holds nothing, tails are fed when
//! the test says so, and the start, the epoch and the partitions change when the test says so.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_broker::{
    Appended, Bounds, BoxFuture, Broker, BrokerError, Capabilities, ChannelPage, ChannelTop, Health, Keep, Key, Log,
    LogInfo, LogSpec, Page, PageLimits, Partition, Record, TailHandle, TailLoss, TailSink, Tailed,
};
use tidegate_types::Epoch;

#[derive(Default)]
struct Part {
    records: Vec<Tailed>,
    start: u64,
    end: u64,
    tail: Option<(u64, Arc<dyn TailSink>)>,
    held_back: bool,
}

type Hook = Box<dyn FnOnce() + Send>;

struct State {
    parts: Vec<Part>,
    epoch: u32,
}

/// See the module docs.
#[derive(Clone)]
pub struct HoleLog {
    state: Arc<Mutex<State>>,
    reads: Arc<AtomicU64>,
    after_bounds: Arc<Mutex<Option<Hook>>>,
    after_append: Arc<Mutex<Option<Hook>>>,
}

impl Default for HoleLog {
    fn default() -> Self {
        Self::with_partitions(1)
    }
}

impl HoleLog {
    /// One of so many partitions; a key lies where the sum of its bytes says.
    pub fn with_partitions(count: usize) -> Self {
        let parts = std::iter::repeat_with(Part::default).take(count).collect();
        let state = Arc::new(Mutex::new(State { parts, epoch: 0 }));
        Self { state, reads: Arc::default(), after_bounds: Arc::default(), after_append: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that were read so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// Appends as a foreign producer would; returns the log offset.
    pub fn put(&self, key: &str, payload: &str) -> u64 {
        let keep = Keep { count_max: 0, age_max: Duration::ZERO };
        self.put_record(Record { key: key.into(), payload: payload.to_owned().into(), meta: None, keep })
    }

    fn put_record(&self, record: Record) -> u64 {
        let Partition(partition) = self.partition_of(&record.key);
        let mut state = self.lock();
        let part = &mut state.parts[partition as usize];
        let log_offset = part.end;
        part.end += if log_offset % 3 == 1 { 2 } else { 1 };
        let Record { key, payload, meta, .. } = record;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        part.records.push(Tailed { log_offset, channel_offset: None, time_ms, key, payload: Some(payload), meta });
        drop(state);
        self.feed();
        log_offset
    }

    /// Gives the tails what they have not seen, unless they are held back.
    fn feed(&self) {
        let mut state = self.lock();
        let mut due = Vec::new();
        for part in state.parts.iter_mut().filter(|part| !part.held_back) {
            let Some((next, sink)) = part.tail.take() else { continue };
            let seen = part.records.partition_point(|r| r.log_offset < next);
            let batch = part.records[seen..].to_vec();
            part.tail = Some((part.end, sink.clone()));
            due.push((sink, batch, part.end));
        }
        drop(state);
        for (sink, mut batch, end) in due {
            sink.records(&mut batch, end);
        }
    }

    /// Whether tails get nothing for now.
    pub fn hold_back(&self, held_back: bool) {
        self.lock().parts.iter_mut().for_each(|part| part.held_back = held_back);
        self.feed();
    }

    /// The same for the partition of a key alone.
    pub fn hold_back_beside(&self, key: &str, held_back: bool) {
        let Partition(partition) = self.partition_of(key);
        self.lock().parts[partition as usize].held_back = held_back;
        self.feed();
    }

    /// Does something when the next question for the ends of a partition was answered, before who asked knows.
    pub fn after_next_bounds(&self, hook: impl FnOnce() + Send + 'static) {
        *self.after_bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Does something when the next record was appended, before who appended it knows.
    pub fn after_next_append(&self, hook: impl FnOnce() + Send + 'static) {
        *self.after_append.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Retention: everything of the first partition before `start` is gone.
    pub fn truncate(&self, start: u64) {
        let part = &mut self.lock().parts[0];
        part.start = start;
        part.records.retain(|r| r.log_offset >= start);
    }

    /// The log is made anew.
    pub fn recreate(&self) {
        self.change("made anew", |parts| {
            for part in parts {
                *part = Part::default();
            }
        });
    }

    /// Tails are told of a change and end, and the log is what it was by then.
    pub fn change_and_back(&self) {
        self.change("it was another one for a moment", |_| {});
        self.lock().epoch -= 1;
    }

    /// There are more partitions.
    pub fn grow(&self, count: usize) {
        self.change("it has more partitions", |parts| parts.resize_with(count, Part::default));
    }

    /// As a log does it: it is another one first, and tells its tails then.
    fn change(&self, why: &str, change: impl FnOnce(&mut Vec<Part>)) {
        let mut state = self.lock();
        state.epoch += 1;
        let tails: Vec<_> = state.parts.iter_mut().filter_map(|part| part.tail.take()).collect();
        change(&mut state.parts);
        let epoch = Epoch::new(&state.epoch.to_string());
        drop(state);
        for (_, sink) in tails {
            sink.lost(TailLoss::NewEpoch { epoch: epoch.clone(), why: why.into() });
        }
    }

    /// A new leader of the first partition lacks what lies from `end` on, and its tail finds that.
    pub fn lose_end(&self, end: u64) {
        {
            let part = &mut self.lock().parts[0];
            part.end = end;
            part.records.retain(|r| r.log_offset < end);
        }
        self.lose(end);
    }

    /// The tail of the first partition finds that it has lost records.
    pub fn lose(&self, start: u64) {
        let tail = self.lock().parts[0].tail.clone();
        if let Some((_, sink)) = tail {
            sink.lost(TailLoss::Truncated { start });
        }
    }

    /// The tail of the first partition has failed over what it was not given yet, and goes on behind that.
    pub fn skip(&self) {
        let tail = {
            let part = &mut self.lock().parts[0];
            let next = part.end;
            part.tail.as_mut().map(|(seen, sink)| {
                *seen = next;
                (next, sink.clone())
            })
        };
        if let Some((next, sink)) = tail {
            sink.lost(TailLoss::Skipped { next });
        }
    }
}

fn run(hook: &Mutex<Option<Hook>>) {
    let hook = hook.lock().unwrap_or_else(PoisonError::into_inner).take();
    hook.into_iter().for_each(|hook| hook());
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Log for HoleLog {
    fn info(&self) -> LogInfo {
        let state = self.lock();
        let partitions = u32::try_from(state.parts.len()).unwrap_or(u32::MAX);
        LogInfo { partitions, epoch: Epoch::new(&state.epoch.to_string()), compacted: false, stamps_time: true }
    }

    fn partition_of(&self, key: &str) -> Partition {
        let sum: u32 = key.bytes().map(u32::from).sum();
        let partitions = u32::try_from(self.lock().parts.len()).unwrap_or(u32::MAX);
        Partition(sum % partitions)
    }

    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        let partition = self.partition_of(&record.key);
        let log_offset = self.put_record(record);
        run(&self.after_append);
        ready(Ok(Appended { partition, log_offset, channel_offset: None, suppressed: false }))
    }

    fn tail(
        &self,
        Partition(partition): Partition,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        self.lock().parts[partition as usize].tail = Some((from, sink));
        self.feed();
        ready(Ok(TailHandle::new(())))
    }

    fn bounds(&self, Partition(partition): Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        let bounds = {
            let part = &self.lock().parts[partition as usize];
            Bounds { start: part.start, end: part.end }
        };
        run(&self.after_bounds);
        ready(Ok(bounds))
    }

    fn read(
        &self,
        Partition(partition): Partition,
        from: u64,
        to: u64,
        limits: PageLimits,
    ) -> BoxFuture<'_, Result<Page, BrokerError>> {
        self.reads.fetch_add(1, Relaxed);
        let part = &self.lock().parts[partition as usize];
        if from < part.start {
            return ready(Err(BrokerError::OutOfRange("gone".into())));
        }
        let range = part.records.iter().filter(|r| (from..to).contains(&r.log_offset));
        let records: Vec<_> = range.take(limits.records_max.min(7)).cloned().collect();
        let next = match records.last() {
            Some(last) if records.len() == 7 => last.log_offset + 1,
            _ => to,
        };
        ready(Ok(Page { records, next }))
    }

    fn channel_top(&self, _key: &str) -> Option<ChannelTop> {
        None
    }

    fn read_channel<'a>(
        &'a self,
        _: &'a Key,
        _: u64,
        _: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>> {
        ready(Err(BrokerError::Refused("numbers no channels".into())))
    }
}

impl Broker for HoleLog {
    fn name(&self) -> &'static str {
        "holes"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, shared: true, channel_offsets: false }
    }

    fn open<'a>(&'a self, _: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>> {
        ready(Ok(Arc::new(self.clone()) as Arc<dyn Log>))
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}
