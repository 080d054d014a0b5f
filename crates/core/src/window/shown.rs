//! Reading kept publications from a window.
//!
//! Who reads holds the lock of the partition, so only what is answered is touched, however much is held: where it lies is
//! found by bisection. Times need not rise, because they come from several clocks. How far they fall is known, and only
//! those are looked at one by one that lie so close to the oldest that shows.

use std::sync::Arc;

use tidegate_broker::Key;
use tidegate_types::{Offset, Publication};

use super::{Held, Window};
use crate::start::{Hidden, ReadLimits};

/// Which of the publications that show are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Only what lies after it; with `reverse`, before it.
    pub(crate) since: Option<Offset>,
    /// Newest first.
    pub(crate) reverse: bool,
    /// What of it fits, in that order.
    pub(crate) limits: ReadLimits,
}

/// What a window has of what is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shown {
    /// In the order asked for.
    pub(crate) publications: Vec<Arc<Publication>>,
    /// The limits ended the list.
    pub(crate) full: bool,
    /// How many show of what is held, asked for or not.
    pub(crate) count: usize,
    /// How many are held, shown or not.
    pub(crate) held: usize,
}

impl Wanted {
    /// The newest that shows.
    pub(crate) const NEWEST: Self =
        Self { since: None, reverse: true, limits: ReadLimits { count_max: 1, bytes_max: usize::MAX } };

    /// Whether nothing at or below `floor` is in the answer, where the window has `shown` above it.
    pub(crate) fn is_met_above(&self, floor: Offset, shown: &Shown) -> bool {
        match self.reverse {
            true => shown.full,
            false => self.since.is_some_and(|since| since >= floor),
        }
    }

    /// How many of the newest `size` decide the answer.
    pub(crate) fn needs(&self, size: usize) -> usize {
        if self.reverse && self.since.is_none() { size.min(self.limits.count_max) } else { size }
    }

    /// The answer from what the log has, oldest first, and what a window has after that, unless that was
    /// [enough](Self::is_met_above).
    pub(crate) fn join(&self, hidden: Hidden, older: &[Arc<Publication>], newer: &Shown) -> Vec<Arc<Publication>> {
        let room = hidden.size.saturating_sub(newer.count);
        let older: Vec<_> = older.iter().rev().filter(|p| hidden.shows(p)).take(room).collect();
        let older = older.into_iter().filter(|p| self.lies_there(p.offset));
        let (joined, _) = match self.reverse {
            true => self.limits.take(newer.publications.iter().chain(older)),
            false => self.limits.take(older.rev().chain(&newer.publications)),
        };
        joined
    }

    fn lies_there(&self, offset: Offset) -> bool {
        self.since.is_none_or(|since| if self.reverse { offset < since } else { offset > since })
    }
}

impl Window {
    /// What is asked for of the key, as far as it is held.
    pub(crate) fn shown(&self, key: &Key, hidden: Hidden, wanted: &Wanted) -> Shown {
        let held = self.keys.get(key).and_then(|state| state.held.as_deref());
        held.map(|held| held.shown(hidden, wanted)).unwrap_or_default()
    }
}

impl Held {
    fn shown(&self, hidden: Hidden, wanted: &Wanted) -> Shown {
        let (begin, count) = self.begin(hidden);
        let all = &self.publications;
        let (from, to) = match wanted.since {
            None => (0, all.len()),
            Some(since) if wanted.reverse => (0, all.partition_point(|p| p.offset < since)),
            Some(since) => (all.partition_point(|p| p.offset <= since), all.len()),
        };
        let asked = all.range(from.max(begin).min(to)..to).filter(|p| hidden.shows(p));
        let (publications, full) = match wanted.reverse {
            true => wanted.limits.take(asked.rev()),
            false => wanted.limits.take(asked),
        };
        Shown { publications, full, count, held: all.len() }
    }

    /// Where the newest that show begin, no more than the namespace keeps, and how many they are.
    fn begin(&self, hidden: Hidden) -> (usize, usize) {
        let len = self.publications.len();
        let kept = self.publications.partition_point(|p| p.offset <= hidden.removed);
        let all_show_from = kept.max(self.bisect(|ms| !self.follow_not_before(ms, hidden.oldest_ms)));
        let none_shows_until = kept.max(self.bisect(|ms| self.precede_before(ms, hidden.oldest_ms)));
        let (mut begin, mut count) = (all_show_from, len - all_show_from);
        if count >= hidden.size {
            return (len - hidden.size, hidden.size);
        }
        for at in (none_shows_until..all_show_from).rev() {
            if count == hidden.size {
                break;
            }
            if self.publications.get(at).is_some_and(|p| hidden.shows(p)) {
                (begin, count) = (at, count + 1);
            }
        }
        (begin, count)
    }

    /// Whether this time and all that follow it are not before another.
    fn follow_not_before(&self, time_ms: i64, other_ms: i64) -> bool {
        time_ms.checked_sub_unsigned(self.disorder_ms).is_some_and(|earliest| earliest >= other_ms)
    }

    /// Whether this time and all that precede it are before another.
    fn precede_before(&self, time_ms: i64, other_ms: i64) -> bool {
        time_ms.checked_add_unsigned(self.disorder_ms).is_some_and(|latest| latest < other_ms)
    }

    /// A place where `is_below` ends, by the times. Where they do not rise there may be several: of this one it is certain
    /// that it was true of the place before it and false of itself, which `partition_point` does not promise.
    fn bisect(&self, is_below: impl Fn(i64) -> bool) -> usize {
        let (mut from, mut to) = (0, self.publications.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.publications.get(middle).is_some_and(|p| is_below(p.time_ms)) {
                true => from = middle + 1,
                false => to = middle,
            }
        }
        to
    }
}

#[cfg(test)]
mod tests;
