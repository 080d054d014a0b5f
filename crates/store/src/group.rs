//! A group: appends that are judged, numbered and encoded together, and become one write.
//!
//! Invariant: what a group says of a channel continues what the groups before it say, also while those are not on disk.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::chain;
use crate::committer::{Committer, now_ms};
use crate::error::AppendError;
use crate::format::{self, Entry};
use crate::judge::Suppressed;
use crate::queue::{Answer, Appended, Asked, GROUP_BYTES_MAX, GROUP_RECORDS_MAX};
use crate::segment::Segment;
use crate::state::Channel;
use crate::store::{Append, Shared};

/// See the module docs. Kept for the next one: its tables are large.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) entries: Vec<Entry>,
    /// Where in the file each of them starts.
    pub(crate) starts: Vec<u64>,
    pub(crate) outcomes: Vec<(Answer, Appended)>,
    /// The channels as they are after this group, by their index in the table.
    pub(crate) channels: HashMap<usize, Channel, RandomState>,
    /// What the entries become; with the writer while it has the group.
    pub(crate) bytes: Vec<u8>,
    /// Offset and position in the file after it.
    pub(crate) end: (u64, u64),
    /// What the judge noted.
    pub(crate) judged: usize,
}

impl Group {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.starts.clear();
        self.outcomes.clear();
        self.channels.clear();
        self.bytes.clear();
        self.judged = 0;
    }

    /// Whether it is as large as a write should be.
    pub(crate) fn is_full(&self) -> bool {
        let bytes = self.starts.first().map_or(0, |first| self.end.1 - first);
        self.entries.len() >= GROUP_RECORDS_MAX || bytes >= GROUP_BYTES_MAX as u64
    }

    /// Tells everybody that nothing of it was stored.
    pub(crate) fn fail(&mut self, error: impl Fn() -> AppendError) {
        self.outcomes.drain(..).for_each(|(answer, _)| answer.give(Err(error())));
    }

    /// In the table a channel is at another index now.
    pub(crate) fn moved(&mut self, from: usize, to: usize) {
        if let Some(channel) = self.channels.remove(&from) {
            self.channels.insert(to, channel);
        }
    }

    /// What is on disk becomes visible to readers.
    pub(crate) fn show(&mut self, segment: &Segment, shared: &mut Shared) {
        for (index, after) in self.channels.drain() {
            // Retention may have gone on since.
            shared.channels[index] = Channel { first: shared.channels[index].first, ..after };
        }
        let (end, position) = self.end;
        segment.note_all(self.entries.iter().map(|e| e.offset).zip(self.starts.iter().copied()));
        segment.shows(end, position, self.entries.last().map_or(i64::MIN, |e| e.time_ms));
    }
}

impl Committer {
    /// Judges, numbers and encodes appends as if everything under way were stored, and puts them into a group.
    pub(crate) fn prepare(&mut self, group: &mut Group, appends: &mut Vec<Asked>) {
        let (write_start, position) = self.ahead();
        let time_ms = now_ms();
        let judged = self.judge.noted();
        let inner = self.inner.clone();
        let mut shared = inner.shared();
        for (append, answer) in appends.drain(..) {
            let offset = write_start + group.entries.len() as u64;
            let (index, shown) = match shared.channels.get_full(&append.key) {
                Some((index, _, shown)) => (index, *shown),
                None => {
                    let new = Channel::beginning_at(shared.forgotten + 1);
                    (shared.channels.insert_full(append.key.clone(), new).0, new)
                }
            };
            let before = || self.under_way.iter().rev().find_map(|group| group.channels.get(&index));
            let channel = group.channels.get(&index).or_else(before).copied().unwrap_or(shown);
            let identity = append.identity.as_deref();
            if let Some(suppressed) = identity.and_then(|i| self.judge.suppressed(offset, &append.key, i)) {
                let (offset, number) = match suppressed {
                    Suppressed::Duplicate(first) => first,
                    Suppressed::OldVersion => (offset, channel.last),
                };
                group.outcomes.push((answer, Appended { offset, number, suppressed: true }));
                continue;
            }
            let number = channel.last + 1;
            if let Some(identity) = identity {
                self.judge.note((offset, number), &append.key, identity);
            }
            group.channels.insert(index, channel.with(number, offset, time_ms, append.keep));
            group.outcomes.push((answer, Appended { offset, number, suppressed: false }));
            let entry = entry(append, (offset, number), (write_start, time_ms), &channel);
            group.starts.push(position + group.bytes.len() as u64);
            format::encode(&entry, &mut group.bytes);
            group.entries.push(entry);
        }
        group.judged += self.judge.noted() - judged;
        group.end = (write_start + group.entries.len() as u64, position + group.bytes.len() as u64);
    }

    /// Offset and position of the next record, once what is under way is stored.
    pub(crate) fn ahead(&self) -> (u64, u64) {
        let newest = self.under_way.back().map(|group| group.end);
        newest.unwrap_or_else(|| self.active().map_or((0, 0), |segment| segment.shown()))
    }

    pub(crate) fn active(&self) -> Option<Arc<Segment>> {
        self.inner.shared().segments.last().cloned()
    }
}

/// An append as a record that follows `channel`.
fn entry(append: Append, at: (u64, u64), write: (u64, i64), channel: &Channel) -> Entry {
    let Append { key, meta, payload, identity, keep } = append;
    let ((offset, number), (write_start, time_ms)) = (at, write);
    Entry {
        offset,
        number,
        time_ms,
        key,
        meta,
        payload,
        identity,
        keep,
        write_start,
        previous: channel.last_offset,
        skip: chain::skip_offset(number, &channel.marks),
    }
}
