//! Which appends store nothing: duplicates of an idempotency key, and old versions.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use tidegate_types::{Meta, Version};

/// Records among which an idempotency key counts as seen.
pub(crate) const DEDUP_OFFSETS: u64 = 50_000;

/// Where a record stands: (log offset, channel offset).
pub(crate) type Stands = (u64, u64);

/// A key and an idempotency key under it.
type Id = (Box<str>, Box<str>);

/// What is remembered of a partition for this purpose; bounded by [`DEDUP_OFFSETS`] entries each.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    keys: HashMap<Id, Stands, RandomState>,
    keys_order: VecDeque<(u64, Id)>,
    versions: HashMap<Box<str>, (Version, u64), RandomState>,
    versions_order: VecDeque<(u64, Box<str>)>,
}

/// Why nothing is stored.
pub(crate) enum Suppressed {
    Duplicate(Stands),
    OldVersion,
}

impl Judge {
    /// Whether a record that would land at `log_offset` stores nothing.
    pub(crate) fn suppressed(&mut self, key: &str, meta: &Meta, log_offset: u64) -> Option<Suppressed> {
        self.forget(log_offset.saturating_sub(DEDUP_OFFSETS));
        if let Some(id) = &meta.idempotency_key
            && let Some(first) = self.keys.get(&(key.into(), id.as_str().into()))
        {
            return Some(Suppressed::Duplicate(*first));
        }
        let (seen, version) = (self.versions.get(key), meta.version.as_ref()?);
        let old = seen.is_some_and(|(s, _)| s.epoch == version.epoch && s.number >= version.number);
        old.then_some(Suppressed::OldVersion)
    }

    /// Remembers a record that was stored.
    pub(crate) fn stored(&mut self, key: &str, meta: &Meta, at: Stands) {
        if let Some(id) = &meta.idempotency_key {
            let id: Id = (key.into(), id.as_str().into());
            self.keys.insert(id.clone(), at);
            self.keys_order.push_back((at.0, id));
        }
        if let Some(version) = &meta.version {
            self.versions.insert(key.into(), (version.clone(), at.0));
            self.versions_order.push_back((at.0, key.into()));
        }
    }

    fn forget(&mut self, oldest: u64) {
        while let Some((_, id)) = self.keys_order.pop_front_if(|(at, _)| *at < oldest) {
            self.keys.remove(&id);
        }
        while let Some((at, key)) = self.versions_order.pop_front_if(|(at, _)| *at < oldest) {
            if self.versions.get(&key).is_some_and(|(_, newest)| *newest == at) {
                self.versions.remove(&key);
            }
        }
    }
}
