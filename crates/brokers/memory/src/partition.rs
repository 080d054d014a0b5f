//! One partition: its channels, its sinks, and the order of everything.
//!
//! Invariant: a channel that is not known never had a number above [`Past::forgotten`](crate::past::Past::forgotten).

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_broker::{
    Appended, Bounds, BrokerError, ChannelPage, ChannelTop, Key, Page, PageLimits, Partition as Number, Record,
    TailLoss, TailSink, Tailed,
};

use crate::judge::{Judge, Suppressed};
use crate::past::{Channel, Past};

struct Sink {
    id: u64,
    sink: Arc<dyn TailSink>,
}

/// What the partition's lock guards.
#[derive(Default)]
pub(crate) struct Partition {
    /// Records by log offset from `start` on; `None` where a channel dropped one.
    records: VecDeque<Option<Tailed>>,
    start: u64,
    bytes: usize,
    past: Past,
    judge: Judge,
    sinks: Vec<Sink>,
    next_sink: u64,
    /// Reused for delivery.
    batch: Vec<Tailed>,
}

/// What a partition keeps, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    /// Bytes of all its records.
    pub(crate) bytes_max: usize,
    /// A channel of which nothing is kept is remembered so long after its newest record.
    pub(crate) meta_ttl_ms: i64,
}

/// What a place costs, also when its channel has dropped the record: so holes are bounded like records.
const PLACE_BYTES: usize = size_of::<Option<Tailed>>();

fn size(record: &Tailed) -> usize {
    64 + record.key.len() + record.payload.as_ref().map_or(0, bytes::Bytes::len)
}

impl Partition {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.end() }
    }

    /// Stores and delivers one record, or says why not.
    pub(crate) fn append(&mut self, number: Number, record: Record, time_ms: i64, bound: Bound) -> Appended {
        let log_offset = self.end();
        self.past.forget(time_ms.saturating_sub(bound.meta_ttl_ms));
        let last = self.past.top(&record.key).last;
        let appended = |log_offset, channel, suppressed| Appended {
            partition: number,
            log_offset,
            channel_offset: Some(channel),
            suppressed,
        };
        if let Some(meta) = &record.meta {
            match self.judge.suppressed(&record.key, meta, log_offset) {
                Some(Suppressed::Duplicate((at, channel))) => return appended(at, channel, true),
                Some(Suppressed::OldVersion) => return appended(log_offset, last, true),
                None => self.judge.stored(&record.key, meta, (log_offset, last + 1)),
            }
        }
        let Record { key, payload, meta, keep } = record;
        let tailed = Tailed { log_offset, channel_offset: Some(last + 1), time_ms, key, payload: Some(payload), meta };
        self.deliver(&tailed);
        self.keep(
            tailed,
            keep.count_max as usize,
            time_ms.saturating_sub_unsigned(keep.age_max.as_millis().try_into().unwrap_or(u64::MAX)),
        );
        while self.bytes > bound.bytes_max && self.records.len() > 1 {
            self.drop_first();
        }
        appended(log_offset, last + 1, false)
    }

    fn deliver(&mut self, record: &Tailed) {
        for sink in &self.sinks {
            self.batch.push(record.clone());
            sink.sink.records(&mut self.batch, record.log_offset + 1);
            self.batch.clear();
        }
    }

    fn keep(&mut self, record: Tailed, count_max: usize, oldest_ms: i64) {
        let offset = record.log_offset;
        self.bytes += PLACE_BYTES + size(&record);
        let channel = self.past.with(&record.key, offset, record.time_ms);
        self.records.push_back(Some(record));
        let mut dropped = Vec::new();
        while let Some(front) = channel.kept.front().copied() {
            let at = (front - self.start) as usize;
            let old = self.records[at].as_ref().is_none_or(|r| r.time_ms < oldest_ms);
            if channel.kept.len() <= count_max.max(1) && !old {
                break;
            }
            channel.kept.pop_front();
            dropped.push(at);
        }
        for at in dropped {
            self.bytes -= self.records[at].take().map_or(0, |r| size(&r));
        }
        while let Some(None) = self.records.front() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.records.pop_front() else { return };
        self.start += 1;
        self.bytes -= PLACE_BYTES;
        if let Some(record) = first {
            self.bytes -= size(&record);
            self.past.drop_first(&record.key);
        }
    }

    /// Adds a sink: first what is kept from `from` on, then everything that follows.
    pub(crate) fn tail(&mut self, from: u64, sink: Arc<dyn TailSink>) -> u64 {
        let from = if from < self.start {
            sink.lost(TailLoss::Truncated { start: self.start });
            self.start
        } else {
            from
        };
        let mut batch: Vec<Tailed> = self.range(from, self.end()).cloned().collect();
        if from < self.end() {
            sink.records(&mut batch, self.end());
        }
        self.next_sink += 1;
        self.sinks.push(Sink { id: self.next_sink, sink });
        self.next_sink
    }

    pub(crate) fn end_tail(&mut self, id: u64) {
        self.sinks.retain(|s| s.id != id);
    }

    fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Tailed> {
        let at = |offset: u64| (offset.clamp(self.start, self.end()) - self.start) as usize;
        self.records.range(at(from)..at(to).max(at(from))).flatten()
    }

    pub(crate) fn read(&self, from: u64, to: u64, limits: PageLimits) -> Result<Page, BrokerError> {
        if from < self.start {
            let text = format!("offset {from} is gone, the oldest kept is {}", self.start);
            return Err(BrokerError::OutOfRange(text.into()));
        }
        let to = to.min(self.end()).max(from);
        let mut page = Page { records: Vec::new(), next: to };
        let mut bytes = 0;
        for record in self.range(from, to) {
            bytes += record.key.len() + record.payload.as_ref().map_or(0, bytes::Bytes::len);
            let full = page.records.len() >= limits.records_max || bytes > limits.bytes_max;
            if full && !page.records.is_empty() {
                page.next = record.log_offset;
                break;
            }
            page.records.push(record.clone());
        }
        Ok(page)
    }

    pub(crate) fn channel_top(&self, key: &str) -> ChannelTop {
        self.past.top(key)
    }

    pub(crate) fn read_channel(&self, key: &Key, after: u64, limits: PageLimits) -> ChannelPage {
        let top = self.channel_top(key);
        let mut records = Vec::new();
        let Some(Channel { kept, .. }) = self.past.get(key) else { return ChannelPage { records, top } };
        let skip = (after + 1).saturating_sub(top.first_kept);
        let mut bytes = 0;
        for offset in kept.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            let Some(Some(record)) = self.records.get((offset - self.start) as usize) else { continue };
            bytes += record.key.len() + record.payload.as_ref().map_or(0, bytes::Bytes::len);
            let full = records.len() >= limits.records_max || bytes > limits.bytes_max;
            if full && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        ChannelPage { records, top }
    }
}
