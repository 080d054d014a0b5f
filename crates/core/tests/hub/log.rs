//! A log of one partition in memory, as the contract allows one to be: every third offset holds nothing, tails are fed
//! when the test says so, and the start and the epoch move when the test says so.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tidegate_broker::{
    Appended, Bounds, BoxFuture, Broker, BrokerError, Capabilities, ChannelPage, ChannelTop, Health, Key, Log, LogInfo,
    LogSpec, Page, PageLimits, Partition, Record, TailHandle, TailLoss, TailSink, Tailed,
};
use tidegate_types::Epoch;

#[derive(Default)]
struct State {
    records: Vec<Tailed>,
    start: u64,
    end: u64,
    epoch: u32,
    tail: Option<(u64, Arc<dyn TailSink>)>,
    held_back: bool,
}

#[derive(Clone, Default)]
pub(crate) struct HoleLog {
    state: Arc<Mutex<State>>,
    pub(crate) reads: Arc<AtomicU64>,
}

impl HoleLog {
    /// Appends as a foreign producer would; returns the log offset.
    pub(crate) fn put(&self, key: &str, payload: &str) -> u64 {
        self.put_record(Record {
            key: key.into(),
            payload: payload.to_owned().into(),
            meta: None,
            keep: tidegate_broker::Keep { count_max: 0, age_max: std::time::Duration::ZERO },
        })
    }

    fn put_record(&self, record: Record) -> u64 {
        let mut state = self.state.lock().unwrap();
        let log_offset = state.end;
        state.end += if log_offset % 3 == 1 { 2 } else { 1 };
        let Record { key, payload, meta, .. } = record;
        let time_ms = tidegate_core::Clock::default().wall_ms();
        state.records.push(Tailed { log_offset, channel_offset: None, time_ms, key, payload: Some(payload), meta });
        drop(state);
        self.feed();
        log_offset
    }

    /// Gives the tail what it has not seen, unless it is held back.
    pub(crate) fn feed(&self) {
        let mut state = self.state.lock().unwrap();
        if state.held_back {
            return;
        }
        let end = state.end;
        let Some((next, sink)) = state.tail.clone() else { return };
        let mut batch: Vec<_> = state.records.iter().filter(|r| r.log_offset >= next).cloned().collect();
        state.tail = Some((end, sink.clone()));
        drop(state);
        sink.records(&mut batch, end);
    }

    pub(crate) fn hold_back(&self, held_back: bool) {
        self.state.lock().unwrap().held_back = held_back;
        self.feed();
    }

    /// Retention: everything before `start` is gone.
    pub(crate) fn truncate(&self, start: u64) {
        let mut state = self.state.lock().unwrap();
        state.start = start;
        state.records.retain(|r| r.log_offset >= start);
    }

    /// The log is made anew.
    pub(crate) fn recreate(&self) {
        let mut state = self.state.lock().unwrap();
        state.epoch += 1;
        (state.records, state.start, state.end) = (Vec::new(), 0, 0);
        let (epoch, tail) = (state.epoch, state.tail.take());
        drop(state);
        if let Some((_, sink)) = tail {
            sink.lost(TailLoss::NewEpoch { epoch: Epoch::new(&epoch.to_string()), why: "made anew".into() });
        }
    }

    /// The tail finds that it has lost records.
    pub(crate) fn lose(&self, start: u64) {
        let tail = self.state.lock().unwrap().tail.clone();
        if let Some((_, sink)) = tail {
            sink.lost(TailLoss::Truncated { start });
        }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Log for HoleLog {
    fn info(&self) -> LogInfo {
        let epoch = Epoch::new(&self.state.lock().unwrap().epoch.to_string());
        LogInfo { partitions: 1, epoch, compacted: false, stamps_time: true }
    }

    fn partition_of(&self, _key: &str) -> Partition {
        Partition(0)
    }

    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        let log_offset = self.put_record(record);
        ready(Ok(Appended { partition: Partition(0), log_offset, channel_offset: None, suppressed: false }))
    }

    fn tail(&self, _: Partition, from: u64, sink: Arc<dyn TailSink>) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        self.state.lock().unwrap().tail = Some((from, sink));
        self.feed();
        ready(Ok(TailHandle::new(())))
    }

    fn bounds(&self, _: Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        let state = self.state.lock().unwrap();
        ready(Ok(Bounds { start: state.start, end: state.end }))
    }

    fn read(&self, _: Partition, from: u64, to: u64, limits: PageLimits) -> BoxFuture<'_, Result<Page, BrokerError>> {
        self.reads.fetch_add(1, Relaxed);
        let state = self.state.lock().unwrap();
        if from < state.start {
            return ready(Err(BrokerError::OutOfRange("gone".into())));
        }
        let range = state.records.iter().filter(|r| (from..to).contains(&r.log_offset));
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
