//! Reading ranges of the log and of a channel. Bounded, from any thread, and only what is synced.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::ReadError;
use crate::format::{Entry, NO_OFFSET};
use crate::segment::Segment;
use crate::store::{ChannelTop, Store};

/// Bounds of one page. A page holds at least one record if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes of keys and payloads.
    pub bytes_max: usize,
}

/// A piece of the log.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: u64,
}

/// A piece of a channel.
#[derive(Clone, Debug, Default)]
pub struct ChannelPage {
    /// In order of their numbers.
    pub entries: Vec<Entry>,
    /// The channel's ends.
    pub top: ChannelTop,
}

/// Steps back that one channel read takes at most; what lies further back is read by ranges of the log.
const STEPS_MAX: u64 = 20_000;

struct Filling {
    limits: PageLimits,
    bytes: usize,
    entries: Vec<Entry>,
}

impl Filling {
    fn new(limits: PageLimits) -> Self {
        Self { limits, bytes: 0, entries: Vec::new() }
    }

    /// Takes one more; `false` when the page is full without it.
    fn push(&mut self, entry: Entry) -> bool {
        let bytes = self.bytes + entry.key.len() + entry.payload.len();
        let full = self.entries.len() >= self.limits.records_max || bytes > self.limits.bytes_max;
        if full && !self.entries.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.entries.push(entry);
        true
    }
}

impl Store {
    /// Reads `from..to` of the log, a page of it.
    ///
    /// # Errors
    /// When `from` lies before what is kept, a record is damaged or the system refuses.
    pub fn read(&self, from: u64, to: u64, limits: PageLimits) -> Result<Page, ReadError> {
        let (segments, start, end) = self.segments_from(from);
        if from < start {
            return Err(ReadError::OutOfRange { offset: from, start });
        }
        let to = to.min(end).max(from);
        let mut filling = Filling::new(limits);
        let mut next = from;
        for segment in segments {
            let mut more = true;
            if next >= to {
                break;
            }
            segment.read_from(self.fs(), next, &mut |entry, _| {
                let offset = entry.offset;
                more = offset < to && filling.push(entry);
                next = if more { offset + 1 } else { next };
                more
            })?;
            if !more {
                break;
            }
        }
        Ok(Page { entries: filling.entries, next })
    }

    /// Reads a channel after a number, oldest first, a page of it.
    ///
    /// # Errors
    /// When a record is damaged or the system refuses.
    pub fn read_channel(&self, key: &str, after: u64, limits: PageLimits) -> Result<ChannelPage, ReadError> {
        let (mut top, last_offset) = self.channel(key);
        let wanted = (after + 1).max(top.first_kept);
        let mut filling = Filling::new(limits);
        if wanted > top.last {
            return Ok(ChannelPage { entries: Vec::new(), top });
        }
        if top.last - wanted > STEPS_MAX {
            self.scan_channel(key, wanted, &mut filling)?;
        } else {
            for entry in self.walk_back(wanted, last_offset, limits.records_max)? {
                if !filling.push(entry) {
                    break;
                }
            }
        }
        // Retention may have taken more than the table knows, after a start from an older state.
        top.first_kept = top.first_kept.max(match filling.entries.first() {
            Some(first) if first.number > wanted => first.number,
            Some(_) => 0,
            None => top.last + 1,
        });
        Ok(ChannelPage { entries: filling.entries, top })
    }

    /// Follows a channel back from its newest record to number `wanted`; the oldest `count_max` of them, in order.
    fn walk_back(&self, wanted: u64, mut offset: u64, count_max: usize) -> Result<Vec<Entry>, ReadError> {
        let mut found = std::collections::VecDeque::new();
        while offset != NO_OFFSET {
            let Some(entry) = self.entry_at(offset)? else { break };
            let done = entry.number <= wanted;
            offset = entry.previous;
            found.push_front(entry);
            found.truncate(count_max.max(1));
            if done {
                break;
            }
        }
        Ok(found.into())
    }

    /// Looks for a channel's records in the whole log, oldest first.
    fn scan_channel(&self, key: &str, wanted: u64, filling: &mut Filling) -> Result<(), ReadError> {
        let (segments, start, _) = self.segments_from(0);
        for segment in segments {
            let mut more = true;
            segment.read_from(self.fs(), start, &mut |entry, _| {
                more = *entry.key != *key || entry.number < wanted || filling.push(entry);
                more
            })?;
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    fn entry_at(&self, offset: u64) -> Result<Option<Entry>, ReadError> {
        let (segments, start, _) = self.segments_from(offset);
        let Some(segment) = segments.first().filter(|_| offset >= start) else { return Ok(None) };
        let mut found = None;
        segment.read_from(self.fs(), offset, &mut |entry, _| {
            found = Some(entry);
            false
        })?;
        Ok(found)
    }

    /// The segments that hold `offset` and what follows, and the ends of the log.
    fn segments_from(&self, offset: u64) -> (Vec<Arc<Segment>>, u64, u64) {
        let shared = self.shared();
        let start = shared.segments.first().map_or(0, |s| s.base);
        let end = shared.segments.last().map_or(0, |s| s.end.load(Relaxed));
        let first = shared.segments.partition_point(|s| s.end.load(Relaxed) <= offset);
        (shared.segments[first..].to_vec(), start, end)
    }
}
