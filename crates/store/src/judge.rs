//! Which appends store nothing: duplicates of an idempotency key and old versions, among the newest records.
//!
//! Invariant: it reflects exactly the records on disk and those of the groups under way; when a write fails,
//! [`Judge::take_back`] makes it as it was.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use crate::store::Identity;

/// Where a record stands: its offset, and its number in the channel.
pub(crate) type Stands = (u64, u64);

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) epoch: Arc<str>,
    pub(crate) number: u64,
    pub(crate) offset: u64,
}

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) depth: u64,
    pub(crate) keys: HashMap<u128, Stands, RandomState>,
    keys_order: VecDeque<(u64, u128)>,
    pub(crate) versions: HashMap<u128, Seen, RandomState>,
    versions_order: VecDeque<(u64, u128)>,
    /// What lies before this offset was forgotten.
    oldest: u64,
    /// What groups that are not on disk yet changed, in order.
    changes: VecDeque<Change>,
}

/// What was noted at an offset, and what was there before.
#[derive(Debug)]
enum Change {
    Key(u64, u128, Option<Stands>),
    Version(u64, u128, Option<Seen>),
}

/// Why nothing is stored.
pub(crate) enum Suppressed {
    Duplicate(Stands),
    OldVersion,
}

fn hash(parts: (&str, &str)) -> u128 {
    let half = |seed| FixedState::with_seed(seed).hash_one(parts);
    u128::from(half(3)) << 64 | u128::from(half(4))
}

impl Judge {
    pub(crate) fn new(depth: u64) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Whether a record that would get `offset` stores nothing.
    pub(crate) fn suppressed(&self, offset: u64, key: &str, identity: &Identity) -> Option<Suppressed> {
        let oldest = offset.saturating_sub(self.depth);
        if !identity.idempotency_key.is_empty()
            && let Some(first) = self.keys.get(&hash((key, &identity.idempotency_key))).filter(|(at, _)| *at >= oldest)
        {
            return Some(Suppressed::Duplicate(*first));
        }
        if identity.version == 0 {
            return None;
        }
        let seen = self.versions.get(&hash((key, ""))).filter(|seen| seen.offset >= oldest)?;
        let old = *seen.epoch == *identity.version_epoch && seen.number >= identity.version;
        old.then_some(Suppressed::OldVersion)
    }

    /// Remembers a record.
    pub(crate) fn note(&mut self, at: Stands, key: &str, identity: &Identity) {
        if !identity.idempotency_key.is_empty() {
            let id = hash((key, &identity.idempotency_key));
            let before = self.keys.insert(id, at);
            self.keys_order.push_back((at.0, id));
            self.changes.push_back(Change::Key(at.0, id, before));
        }
        if identity.version > 0 {
            let id = hash((key, ""));
            let seen = Seen { epoch: identity.version_epoch.as_str().into(), number: identity.version, offset: at.0 };
            let before = self.versions.insert(id, seen);
            self.versions_order.push_back((at.0, id));
            self.changes.push_back(Change::Version(at.0, id, before));
        }
    }

    /// How much was noted and is neither kept nor taken back.
    pub(crate) fn noted(&self) -> usize {
        self.changes.len()
    }

    /// The oldest so many of what was noted are written and stay. Only by them something gets out of reach: what a write
    /// that fails would have put out of reach is still needed.
    pub(crate) fn keep(&mut self, count: usize) {
        let newest = self.changes.drain(..count).next_back();
        if let Some(Change::Key(at, ..) | Change::Version(at, ..)) = newest {
            self.forget(at.saturating_sub(self.depth));
        }
    }

    /// What was noted and not kept was never written.
    pub(crate) fn take_back(&mut self) {
        while let Some(change) = self.changes.pop_back() {
            match change {
                Change::Key(_, id, before) => {
                    match before.filter(|(at, _)| *at >= self.oldest) {
                        Some(stands) => self.keys.insert(id, stands),
                        None => self.keys.remove(&id),
                    };
                    self.keys_order.pop_back();
                }
                Change::Version(_, id, before) => {
                    match before.filter(|seen| seen.offset >= self.oldest) {
                        Some(seen) => self.versions.insert(id, seen),
                        None => self.versions.remove(&id),
                    };
                    self.versions_order.pop_back();
                }
            }
        }
    }

    /// Puts back what a state file held.
    pub(crate) fn restore(&mut self, mut keys: Vec<(u128, Stands)>, mut versions: Vec<(u128, Seen)>) {
        keys.sort_unstable_by_key(|(_, at)| at.0);
        versions.sort_unstable_by_key(|(_, seen)| seen.offset);
        self.keys_order = keys.iter().map(|(id, at)| (at.0, *id)).collect();
        self.versions_order = versions.iter().map(|(id, seen)| (seen.offset, *id)).collect();
        self.keys = keys.into_iter().collect();
        self.versions = versions.into_iter().collect();
    }

    fn forget(&mut self, oldest: u64) {
        self.oldest = self.oldest.max(oldest);
        while let Some((at, id)) = self.keys_order.pop_front_if(|(at, _)| *at < oldest) {
            // The key may have been used again since.
            if self.keys.get(&id).is_some_and(|(offset, _)| *offset == at) {
                self.keys.remove(&id);
            }
        }
        while let Some((at, id)) = self.versions_order.pop_front_if(|(at, _)| *at < oldest) {
            if self.versions.get(&id).is_some_and(|seen| seen.offset == at) {
                self.versions.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(idempotency_key: &str, version: u64) -> Identity {
        Identity { idempotency_key: idempotency_key.into(), version, ..Identity::default() }
    }

    fn note(judge: &mut Judge, offset: u64, idempotency_key: &str, version: u64) {
        judge.note((offset, offset + 1), "c", &identity(idempotency_key, version));
    }

    #[test]
    fn a_write_that_failed_leaves_no_trace() {
        let mut judge = Judge::new(100);
        note(&mut judge, 0, "a", 5);
        judge.keep(judge.noted());
        note(&mut judge, 1, "b", 6);
        judge.take_back();
        assert!(judge.suppressed(1, "c", &identity("b", 0)).is_none());
        assert!(matches!(judge.suppressed(1, "c", &identity("a", 0)), Some(Suppressed::Duplicate((0, 1)))));
        assert!(matches!(judge.suppressed(1, "c", &identity("", 5)), Some(Suppressed::OldVersion)));
        assert!(judge.suppressed(1, "c", &identity("", 6)).is_none());
        assert!(judge.suppressed(101, "c", &identity("a", 1)).is_none(), "out of reach");
    }

    #[test]
    fn a_write_that_failed_puts_nothing_out_of_reach() {
        let mut judge = Judge::new(100);
        note(&mut judge, 0, "a", 5);
        judge.keep(judge.noted());
        // A group across the bound is taken back whole.
        for offset in 95..200 {
            note(&mut judge, offset, "", 6 + offset);
        }
        note(&mut judge, 200, "a", 0);
        judge.take_back();
        assert!(matches!(judge.suppressed(95, "c", &identity("a", 0)), Some(Suppressed::Duplicate((0, 1)))));
        assert!(matches!(judge.suppressed(95, "c", &identity("", 5)), Some(Suppressed::OldVersion)));
        note(&mut judge, 150, "b", 0);
        judge.keep(judge.noted());
        assert!(judge.suppressed(151, "c", &identity("a", 5)).is_none());
        assert!(!judge.versions.contains_key(&hash(("c", ""))) && judge.keys.len() == 1, "nothing stays for ever");
    }

    #[test]
    fn a_key_that_was_used_again_out_of_reach_is_remembered_by_its_newer_use() {
        let mut judge = Judge::new(100);
        note(&mut judge, 0, "a", 0);
        note(&mut judge, 150, "a", 0);
        note(&mut judge, 151, "b", 0);
        assert!(matches!(judge.suppressed(200, "c", &identity("a", 0)), Some(Suppressed::Duplicate((150, 151)))));
    }
}
