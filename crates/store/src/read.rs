//! Reading ranges of the log. Bounded, from any thread, and only what is synced.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use crate::error::ReadError;
use crate::format::Entry;
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

/// A page that is being filled.
pub(crate) struct Filling {
    limits: PageLimits,
    bytes: usize,
    pub(crate) entries: Vec<Entry>,
}

impl Filling {
    pub(crate) fn new(limits: PageLimits) -> Self {
        Self { limits, bytes: 0, entries: Vec::new() }
    }

    pub(crate) fn weight(entry: &Entry) -> usize {
        entry.key.len() + entry.payload.len()
    }

    /// Takes one more; `false` when the page is full without it.
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        let bytes = self.bytes + Self::weight(&entry);
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
    /// When `from` lies before what is kept, the record there is damaged or the system refuses.
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
            let read = segment.read_from(self.fs(), next, &mut |entry, _| {
                let offset = entry.offset;
                more = offset < to && filling.push(entry);
                next = if more { offset + 1 } else { next };
                more
            });
            match read.map_err(|error| self.noted(error)) {
                Err(error) if filling.entries.is_empty() => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            if !more {
                break;
            }
        }
        Ok(Page { entries: filling.entries, next })
    }

    /// Tells the log of damage, once in a row for each place.
    pub(crate) fn noted(&self, error: ReadError) -> ReadError {
        if let ReadError::Damaged { .. } = &error {
            let text = error.to_string();
            let mut damage = self.inner.damage.lock().unwrap_or_else(PoisonError::into_inner);
            if *damage != text {
                tracing::error!("{text}");
                *damage = text;
            }
        }
        error
    }

    /// The damage that was met last; empty = none.
    pub fn damage(&self) -> String {
        self.inner.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
