//! Which records of a log count: duplicates of an idempotency key and old versions do not.
//!
//! Invariant: a verdict depends only on the `depth` offsets before the record, never on when this node began to read
//! (as long as it began at least `depth` offsets earlier) nor on any clock. So every node judges alike.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::{BuildHasher, Hash};
use tidegate_broker::Tailed;
use tidegate_types::Meta;

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It counts.
    Accepted,
    /// The same idempotency key occurred within the depth; `first` is the log offset of the first known occurrence.
    Duplicate {
        /// Log offset of the first known occurrence.
        first: u64,
    },
    /// A version as high of this key occurred within the depth.
    OldVersion,
}

#[derive(Clone, Debug)]
struct Seen {
    first: u64,
    last: u64,
}

/// Remembers idempotency keys and versions of the last `depth` offsets. Memory is bounded by `depth` entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    depth: u64,
    keys: HashMap<u128, Seen>,
    order: VecDeque<(u64, u128)>,
    /// Per (key, version epoch): offsets with the numbers that no later offset exceeds, numbers falling.
    versions: HashMap<u128, VecDeque<(u64, u64)>>,
    version_order: VecDeque<(u64, u128)>,
}

fn hash(parts: (&str, &str)) -> u128 {
    let half = |seed| {
        let mut h = FixedState::with_seed(seed).build_hasher();
        parts.hash(&mut h);
        std::hash::Hasher::finish(&h)
    };
    u128::from(half(1)) << 64 | u128::from(half(2))
}

impl Judge {
    pub(crate) fn new(depth: u64) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Bytes that it takes in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        const ENTRY: usize = 80;
        (self.keys.len() + self.order.len() + self.versions.len() + self.version_order.len()) * ENTRY
    }

    /// Judges the next record of the partition. Records must come in order.
    pub(crate) fn judge(&mut self, record: &Tailed) -> Verdict {
        self.forget(record.log_offset);
        match record.meta.as_deref() {
            Some(meta) => self.judge_meta(record, meta),
            None => Verdict::Accepted,
        }
    }

    fn judge_meta(&mut self, record: &Tailed, meta: &Meta) -> Verdict {
        let at = record.log_offset;
        let mut verdict = Verdict::Accepted;
        if let Some(key) = &meta.idempotency_key {
            let id = hash((&record.key, key));
            self.order.push_back((at, id));
            match self.keys.get_mut(&id) {
                Some(seen) => {
                    seen.last = at;
                    verdict = Verdict::Duplicate { first: seen.first };
                }
                None => {
                    self.keys.insert(id, Seen { first: at, last: at });
                }
            }
        }
        if let Some(version) = &meta.version {
            let id = hash((&record.key, &version.epoch));
            let seen = self.versions.entry(id).or_default();
            if verdict == Verdict::Accepted && seen.front().is_some_and(|(_, number)| *number >= version.number) {
                verdict = Verdict::OldVersion;
            }
            while seen.back().is_some_and(|(_, number)| *number <= version.number) {
                seen.pop_back();
            }
            seen.push_back((at, version.number));
            self.version_order.push_back((at, id));
        }
        verdict
    }

    /// Forgets what lies more than `depth` offsets before `at`.
    fn forget(&mut self, at: u64) {
        let oldest = at.saturating_sub(self.depth);
        while let Some((_, id)) = self.order.pop_front_if(|(offset, _)| *offset < oldest) {
            if self.keys.get(&id).is_some_and(|seen| seen.last < oldest) {
                self.keys.remove(&id);
            }
        }
        while let Some((_, id)) = self.version_order.pop_front_if(|(offset, _)| *offset < oldest) {
            let Some(seen) = self.versions.get_mut(&id) else { continue };
            while seen.pop_front_if(|(offset, _)| *offset < oldest).is_some() {}
            if seen.is_empty() {
                self.versions.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_types::Version;

    fn record(log_offset: u64, key: &str, id: Option<&str>, version: Option<u64>) -> Tailed {
        let version = version.map(|number| Version { epoch: String::new(), number });
        let meta = Meta { idempotency_key: id.map(Into::into), version, ..Default::default() }.boxed();
        Tailed { log_offset, channel_offset: None, time_ms: 0, key: key.into(), payload: None, meta }
    }

    #[test]
    fn a_key_counts_once_within_the_depth() {
        let mut judge = Judge::new(10);
        assert_eq!(judge.judge(&record(0, "c", Some("x"), None)), Verdict::Accepted);
        assert_eq!(judge.judge(&record(1, "d", Some("x"), None)), Verdict::Accepted, "another channel");
        assert_eq!(judge.judge(&record(10, "c", Some("x"), None)), Verdict::Duplicate { first: 0 });
        assert_eq!(judge.judge(&record(20, "c", Some("x"), None)), Verdict::Duplicate { first: 0 }, "by the one at 10");
        assert_eq!(judge.judge(&record(31, "c", Some("x"), None)), Verdict::Accepted, "11 offsets later");
    }

    #[test]
    fn old_versions_are_suppressed_within_the_depth() {
        let mut judge = Judge::new(10);
        let mut check = |at, version, verdict| assert_eq!(judge.judge(&record(at, "c", None, Some(version))), verdict);
        check(0, 5, Verdict::Accepted);
        check(1, 4, Verdict::OldVersion);
        check(2, 5, Verdict::OldVersion);
        check(3, 6, Verdict::Accepted);
        check(14, 1, Verdict::Accepted);
        assert!(judge.versions.len() == 1 && judge.version_order.len() == 1, "what is out of reach is forgotten");
    }

    #[test]
    fn the_verdict_does_not_depend_on_where_reading_began() {
        let records: Vec<_> =
            (0..500).map(|i| record(i * 3, "c", Some(&format!("k{}", i * i % 37)), Some(i * 7 % 50))).collect();
        let verdicts = |from: usize| {
            let mut judge = Judge::new(60);
            records[from..].iter().map(|r| matches!(judge.judge(r), Verdict::Accepted)).collect::<Vec<_>>()
        };
        let all = verdicts(0);
        for from in [100, 237, 300] {
            assert_eq!(all[from + 20..], verdicts(from)[20..], "20 records are the 60 offsets of warm-up");
        }
    }
}
