//! Which channels are forgotten, and how they leave the table.
//!
//! The state that is written when a segment is sealed leaves out every channel of which no record is kept and whose newest
//! record is older than [`Options::history_meta_ttl`](crate::Options). It holds the largest last number of all channels that
//! were ever left out. When it is on disk, that number becomes the one that every channel without an entry stands at, and
//! the entries leave the table, a slice at a time between two groups.
//!
//! # Invariants
//! - A channel without an entry never had a number above [`Shared::forgotten`](crate::store::Shared): its next record has
//!   a higher one than all before, whoever remembers them.
//! - That number is on disk before anybody sees it. Otherwise a position at it, told of a channel that has nothing, would
//!   mean a record after a crash.

use std::time::Duration;

use crate::committer::Committer;
use crate::format::NO_OFFSET;
use crate::retention::ago;
use crate::state::Channel;

/// Channels looked at under one lock.
pub(crate) const SLICE: usize = 1_024;
/// Between two slices while nothing is appended.
const PAUSE: Duration = Duration::from_millis(1);
/// So many channels are looked at for each append of the last group, so that a table that grows is gone through all the same.
const EACH: usize = 4;

/// Up to where channels are forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Where the log began.
    start: u64,
    /// The age that a channel has at least.
    before_ms: i64,
}

impl Limit {
    /// Whether a channel is over. One that has got a record since never is. One without any has nothing to remember; it
    /// must not be under way.
    pub(crate) fn forgets(&self, channel: &Channel) -> bool {
        let is_gone = channel.last_offset < self.start && channel.newest_ms <= self.before_ms;
        is_gone || channel.last_offset == NO_OFFSET
    }
}

/// A walk through the table, from its end: what fills a gap was looked at already, or is new.
#[derive(Debug)]
pub(crate) struct Forgetting {
    limit: Limit,
    /// Indexes below this one are to be looked at.
    at: usize,
    /// The limit has risen since it began.
    again: bool,
}

impl Committer {
    pub(crate) fn forgetting_limit(&self) -> Limit {
        let start = self.lock_shared().segments.first().map_or(0, |segment| segment.base);
        Limit { start, before_ms: ago(self.inner.options.history_meta_ttl) }
    }

    /// How long the next slice can wait.
    pub(crate) fn forgetting_patience(&self) -> Duration {
        if self.forgetting.is_some() { PAUSE } else { Duration::MAX }
    }

    /// Shows every channel, while readers wait for no more than a slice. Nothing may be under way.
    pub(crate) fn in_slices(&self, mut each: impl FnMut(&str, &Channel)) {
        let count = self.lock_shared().channels.len();
        for from in (0..count).step_by(SLICE) {
            let shared = self.lock_shared();
            let slice = shared.channels.get_range(from..count.min(from + SLICE));
            slice.into_iter().flatten().for_each(|(key, channel)| each(key, channel));
        }
    }

    /// A state is on disk that leaves out what is within the limit.
    pub(crate) fn begin_forgetting(&mut self, limit: Limit, forgotten: u64) {
        let count = {
            let mut shared = self.lock_shared();
            shared.forgotten = forgotten;
            shared.channels.len()
        };
        match &mut self.forgetting {
            Some(forgetting) => (forgetting.limit, forgetting.again) = (limit, true),
            None => self.forgetting = Some(Forgetting { limit, at: count, again: false }),
        }
    }

    /// Goes on with what was begun.
    pub(crate) fn forget(&mut self) {
        let Some(mut forgetting) = self.forgetting.take() else { return };
        for _ in 0..=self.answered * EACH / SLICE {
            if forgetting.at == 0 && forgetting.again {
                forgetting = Forgetting { at: self.lock_shared().channels.len(), again: false, ..forgetting };
            }
            if forgetting.at == 0 {
                return;
            }
            self.forget_slice(&mut forgetting);
        }
        self.forgetting = Some(forgetting);
    }

    fn forget_slice(&mut self, forgetting: &mut Forgetting) {
        let inner = self.inner.clone();
        let channels = &mut inner.shared().channels;
        for _ in 0..SLICE.min(forgetting.at) {
            forgetting.at -= 1;
            let at = forgetting.at;
            let is_over = channels.get_index(at).is_some_and(|(_, channel)| forgetting.limit.forgets(channel));
            if is_over && self.under_way.iter().all(|group| !group.channels.contains_key(&at)) {
                channels.swap_remove_index(at);
                self.under_way.iter_mut().for_each(|group| group.moved(channels.len(), at));
            }
        }
    }
}
