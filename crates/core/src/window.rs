//! This node's replica of the recent past of one partition.
//!
//! Fed by a tail in log order, it decides which records count, keeps the newest payloads by key, and names the shards
//! that want a publication. Pure: no lock, no clock, no waiting; [`crate::hub`] guards it with one lock per partition,
//! under which appending and choosing of shards happen together.
//!
//! # Invariants
//! - Everything of a key with an offset above the key's *floor* is held, in order. At the floor lies the key's newest
//!   publication that is not held, or nothing where that one lies before all that is known.
//! - Where the broker numbers channels, everything of a listened key above what it has *passed* is held or was not read
//!   yet. So who listened before the broker forgot the channel has missed nothing, wherever its top lies since.
//! - `index` knows the last offset of every key that occurred since `index_since`, far deeper than the payloads.
//! - On a log with holes the offset that clients see is the log's offset + 1, so that 0 is before everything.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use smallvec::SmallVec;
use tidegate_broker::{ChannelTop, Key, Tailed};
use tidegate_types::{Meta, Offset, Publication};

use crate::judge::{Judge, Verdict};
use crate::payload;
use crate::start::{Hidden, ReadAfter, ReadLimits};

mod budget;
mod shown;

pub(crate) use budget::Budget;
pub(crate) use shown::Wanted;

/// How the offsets that clients see come about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Numbering {
    /// The log's own offsets + 1, with holes between the publications of a channel.
    Log,
    /// The broker numbers each channel, without holes unless it forgot it, and has decided duplicates and versions already.
    Channel,
}

/// A channel of a shard that wants the publications of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listener {
    pub(crate) shard: u16,
    pub(crate) slot: u32,
    pub(crate) registration: u32,
}

type Listeners = SmallVec<[Listener; 1]>;

#[derive(Debug)]
struct KeyState {
    listeners: Listeners,
    /// Boxed because most keys of an idle node have listeners and nothing else.
    held: Option<Box<Held>>,
    /// See the module docs; [`UNKNOWN`] where nothing is known.
    passed: Offset,
}

const UNKNOWN: Offset = Offset(u64::MAX);

impl Default for KeyState {
    fn default() -> Self {
        Self { listeners: Listeners::new(), held: None, passed: UNKNOWN }
    }
}

#[derive(Debug)]
struct Held {
    publications: VecDeque<Arc<Publication>>,
    floor: Offset,
    /// The latest time that occurred.
    latest_ms: i64,
    /// How far a time lay behind one before it at most: times come from several clocks.
    disorder_ms: u64,
}

impl Held {
    fn new(floor: Offset) -> Self {
        Self { publications: VecDeque::new(), floor, latest_ms: i64::MIN, disorder_ms: 0 }
    }

    fn push(&mut self, publication: Arc<Publication>) {
        if publication.time_ms < self.latest_ms {
            self.disorder_ms = self.disorder_ms.max(self.latest_ms.abs_diff(publication.time_ms));
        } else {
            self.latest_ms = publication.time_ms;
        }
        self.publications.push_back(publication);
    }
}

/// What a record became.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    pub(crate) verdict: Verdict,
    /// The namespace does not take such a payload.
    pub(crate) refused: bool,
    /// The publication and who wants it; `None` when the record does not count, is refused or is a tombstone.
    pub(crate) publication: Option<(Arc<Publication>, &'a [Listener])>,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Window {
    numbering: Numbering,
    /// Log offset up to which this window has read.
    next: u64,
    /// Records before this log offset are judged and indexed, and not held.
    serve_from: u64,
    keys: HashMap<Key, KeyState, RandomState>,
    /// Held publications in log order, for eviction.
    order: VecDeque<(Key, u32)>,
    bytes: usize,
    /// On a log with holes: by hash of the key, the last offset that clients see.
    index: HashMap<u64, Offset, RandomState>,
    /// A key that is not in the index has nothing after this.
    index_since: Offset,
    index_max: usize,
    /// Keys that the index keeps however old, because somebody listens to them.
    index_kept: usize,
    judge: Judge,
    budget: Arc<Budget>,
    listeners: usize,
}

/// Bounds that a window works within.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) dedup_offsets: u64,
    pub(crate) index_max: usize,
    pub(crate) budget: Arc<Budget>,
}

/// What a publication costs besides its payload, roughly.
const OVERHEAD_BYTES: usize = 192;

/// Bytes that a publication takes in memory, roughly.
pub(crate) fn cost(p: &Publication) -> usize {
    let json = if p.payload.json().as_ptr() == p.payload.raw().as_ptr() { 0 } else { p.payload.json().len() };
    let meta = p.meta.as_deref().map_or(0, |meta| size_of::<Meta>() + meta.bytes());
    OVERHEAD_BYTES + p.payload.raw().len() + json + meta
}

fn index_hash(key: &str) -> u64 {
    FixedState::with_seed(7).hash_one(key)
}

impl Window {
    pub(crate) fn new(numbering: Numbering, bounds: &Bounds) -> Self {
        Self {
            numbering,
            next: 0,
            serve_from: 0,
            keys: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            index: HashMap::default(),
            index_since: Offset::ZERO,
            index_max: bounds.index_max,
            index_kept: 0,
            judge: Judge::new(bounds.dedup_offsets),
            budget: bounds.budget.clone(),
            listeners: 0,
        }
    }

    /// Forgets everything but the listeners; the tail will begin at log offset `from`. What lies before `serve_from` is
    /// only judged, so that the verdicts on what is served are everybody's.
    pub(crate) fn restart(&mut self, from: u64, serve_from: u64, dedup_offsets: u64) {
        self.budget.give(self.bytes, self.bytes);
        self.bytes = 0;
        self.order = VecDeque::new();
        self.keys.retain(|_, state| {
            (state.held, state.passed) = (None, UNKNOWN);
            !state.listeners.is_empty()
        });
        self.keys.shrink_to_fit();
        self.index = HashMap::default();
        self.index_since = Offset(from);
        self.index_kept = 0;
        self.serve_from = serve_from;
        self.next = from;
        self.judge = Judge::new(dedup_offsets);
    }

    /// Who numbers its records.
    pub(crate) fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// Log offset up to which this window has read.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn set_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// How many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn listen(&mut self, key: &Key, listener: Listener) {
        self.keys.entry(key.clone()).or_default().listeners.push(listener);
        self.listeners += 1;
    }

    /// Removes the listener of a shard's slot.
    pub(crate) fn unlisten(&mut self, key: &Key, listener: Listener) {
        let Some(state) = self.keys.get_mut(key) else { return };
        let before = state.listeners.len();
        state.listeners.retain(|l| *l != listener);
        self.listeners -= before - state.listeners.len();
        if state.listeners.is_empty() && state.held.is_none() {
            self.keys.remove(key);
        }
    }

    /// The offset that clients see for a record.
    fn client_offset(&self, record: &Tailed) -> Offset {
        match self.numbering {
            Numbering::Log => Offset(record.log_offset + 1),
            Numbering::Channel => Offset(record.channel_offset.unwrap_or_default()),
        }
    }

    /// Takes the next record of the partition. `takes` says whether the record's namespace takes such a payload: it is
    /// asked after the record was judged, so that what is refused suppresses what follows it, here and in a reader.
    pub(crate) fn apply(&mut self, record: Tailed, takes: impl FnOnce(&Tailed) -> bool) -> Applied<'_> {
        self.next = record.log_offset + 1;
        let verdict = match self.numbering {
            Numbering::Log => self.judge.judge(&record),
            Numbering::Channel => Verdict::Accepted,
        };
        let refused = verdict == Verdict::Accepted && record.payload.is_some() && !takes(&record);
        let offset = self.client_offset(&record);
        if verdict != Verdict::Accepted || record.payload.is_none() || refused {
            return Applied { verdict, refused, publication: None };
        }
        let floor = match self.numbering {
            Numbering::Log => self.note_in_index(&record.key, offset),
            Numbering::Channel => Offset(offset.0 - 1),
        };
        if record.log_offset < self.serve_from {
            return Applied { verdict, refused, publication: None };
        }
        let key = record.key.clone();
        let publication = Arc::new(to_publication(record, offset));
        self.hold(&key, floor, publication.clone());
        let listeners = self.keys.get(&key).map_or(&[][..], |state| &state.listeners);
        Applied { verdict, refused, publication: Some((publication, listeners)) }
    }

    /// Holds a publication of a key whose floor is `floor` if it holds nothing yet.
    fn hold(&mut self, key: &Key, floor: Offset, publication: Arc<Publication>) {
        let bytes = cost(&publication);
        let state = self.keys.entry(key.clone()).or_default();
        let floor = floor.min(state.passed);
        state.held.get_or_insert_with(|| Box::new(Held::new(floor))).push(publication);
        self.order.push_back((key.clone(), u32::try_from(bytes).unwrap_or(u32::MAX)));
        self.budget.take(self.bytes, bytes);
        self.bytes += bytes;
        self.shrink(usize::MAX);
    }

    /// Gives way where the node holds too much, by at most `count_max` publications and never by the newest. Whether
    /// there is more to do.
    pub(crate) fn shrink(&mut self, count_max: usize) -> bool {
        for _ in 0..count_max {
            if self.order.len() <= 1 || !self.budget.is_over(self.bytes) {
                return false;
            }
            self.evict_oldest();
        }
        true
    }

    /// Drops the oldest held publication.
    fn evict_oldest(&mut self) {
        let Some((key, bytes)) = self.order.pop_front() else { return };
        let bytes = (bytes as usize).min(self.bytes);
        if let Some(state) = self.keys.get_mut(&key)
            && let Some(held) = &mut state.held
        {
            if let Some(gone) = held.publications.pop_front() {
                held.floor = gone.offset;
            }
            if held.publications.is_empty() {
                if self.numbering == Numbering::Channel {
                    state.passed = held.floor;
                }
                state.held = None;
                if state.listeners.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
        self.budget.give(self.bytes, bytes);
        self.bytes -= bytes;
    }

    /// Notes where the key occurred; returns where it did before, or where nothing is known before.
    fn note_in_index(&mut self, key: &str, offset: Offset) -> Offset {
        let before = self.index.insert(index_hash(key), offset).unwrap_or(self.index_since);
        if self.index.len() > self.index_max + self.index_kept {
            self.forget_old_keys(offset);
        }
        before
    }

    /// Forgets the older half of the index, by offsets; rare enough to walk the tables. Keys that somebody listens to
    /// stay: their subscribers' cursors are as old as what they had last.
    fn forget_old_keys(&mut self, newest: Offset) {
        let since = self.index_since;
        let listened = self.keys.iter().filter(|(_, state)| !state.listeners.is_empty());
        let kept: Vec<_> = listened.map(|(key, _)| index_hash(key)).collect();
        let kept: Vec<_> = kept.into_iter().map(|key| (key, self.index.get(&key).copied().unwrap_or(since))).collect();
        let middle = Offset(since.0 + (newest.0 - since.0) / 2);
        self.index.retain(|_, last| *last > middle);
        self.index_kept = kept.len();
        self.index.extend(kept);
        self.index_since = middle;
    }

    /// Where the key's stream stands. `broker_top` is what the broker said *before* this window was locked, where it
    /// numbers per channel; the window may be ahead of it or behind.
    pub(crate) fn top(&self, key: &Key, broker_top: Option<ChannelTop>) -> Offset {
        match self.numbering {
            Numbering::Log => Offset(self.next),
            Numbering::Channel => match self.newest(key) {
                Some(newest) => newest.offset,
                None => Offset(broker_top.unwrap_or_default().last),
            },
        }
    }

    /// Where a listener of the key begins: at its top.
    pub(crate) fn begin(&mut self, key: &Key, broker_top: Option<ChannelTop>) -> Offset {
        let top = self.top(key, broker_top);
        if self.numbering == Numbering::Channel
            && let Some(state) = self.keys.get_mut(key).filter(|s| s.held.is_none() && s.passed == UNKNOWN)
        {
            state.passed = top;
        }
        top
    }

    /// The newest publication of the key, where it is held.
    pub(crate) fn newest(&self, key: &Key) -> Option<&Arc<Publication>> {
        self.keys.get(key)?.held.as_ref()?.publications.back()
    }

    /// Everything of the key above this is held. See the module docs for what lies there.
    pub(crate) fn floor(&self, key: &Key, broker_top: Option<ChannelTop>) -> Offset {
        match (self.keys.get(key).and_then(|state| state.held.as_ref()), self.numbering) {
            (Some(held), _) => held.floor,
            (None, Numbering::Channel) => Offset(broker_top.unwrap_or_default().last),
            (None, Numbering::Log) => self.index.get(&index_hash(key)).copied().unwrap_or(self.index_since),
        }
    }

    /// The same for a cursor that has followed since its listener began: it may lie below where the broker says that the
    /// channel stands, because the channel was forgotten.
    pub(crate) fn live_floor(&self, key: &Key, broker_top: Option<ChannelTop>) -> Offset {
        match self.keys.get(key) {
            Some(KeyState { held: None, passed, .. }) if *passed != UNKNOWN => *passed,
            _ => self.floor(key, broker_top),
        }
    }

    /// What the window has after `after`, oldest first.
    pub(crate) fn read_after(
        &self,
        key: &Key,
        after: Offset,
        broker_top: Option<ChannelTop>,
        limits: ReadLimits,
    ) -> ReadAfter {
        self.read_above(self.floor(key, broker_top), key, after, limits)
    }

    /// The same for a cursor that has followed since its listener began.
    pub(crate) fn read_on(
        &self,
        key: &Key,
        after: Offset,
        broker_top: Option<ChannelTop>,
        limits: ReadLimits,
    ) -> ReadAfter {
        self.read_above(self.live_floor(key, broker_top), key, after, limits)
    }

    fn read_above(&self, floor: Offset, key: &Key, after: Offset, limits: ReadLimits) -> ReadAfter {
        if after < floor {
            return ReadAfter::NeedsLog;
        }
        ReadAfter::Publications(limits.take(self.held_after(key, after)).0)
    }

    /// Held publications of the key after `after`, oldest first.
    fn held_after(&self, key: &Key, after: Offset) -> impl Iterator<Item = &Arc<Publication>> {
        self.keys.get(key).and_then(|state| state.held.as_deref()).into_iter().flat_map(move |held| {
            let from = held.publications.partition_point(|p| p.offset <= after);
            held.publications.range(from..)
        })
    }
}

/// Applies what a namespace hides: `None` when something after the position is hidden.
pub(crate) fn all_visible(publications: &[Arc<Publication>], hidden: Hidden) -> bool {
    publications.len() <= hidden.size && publications.first().is_none_or(|p| hidden.shows(p))
}

/// A record as subscribers see it.
pub(crate) fn to_publication(record: Tailed, offset: Offset) -> Publication {
    let Tailed { payload, meta, time_ms, .. } = record;
    // The rest of the meta has done its work in the judge; keep only what is delivered.
    let meta = meta.filter(|m| !m.tags.is_empty() || m.info.is_some() || m.delta || m.exclude.is_some());
    Publication { offset, time_ms, payload: payload::classify(payload.unwrap_or_default()), meta }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.give(self.bytes, self.bytes);
    }
}

#[cfg(test)]
mod tests;
