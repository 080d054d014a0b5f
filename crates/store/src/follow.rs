//! Followers: who is told of every record, in order, once it is on disk.
//!
//! A follower that panics disturbs nobody else: it is told that it lost what it was given, and goes on behind it. One
//! that panics over that too is left out from then on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};

use crate::error::{self, ReadError};
use crate::format::Entry;
use crate::read::PageLimits;
use crate::store::Store;

/// Who is told of every record, in order, once it is on disk. Calls must not wait and not call the store.
pub trait Follower: Send + Sync + 'static {
    /// Records in order; everything before `next` was given.
    fn records(&self, entries: &[Entry], next: u64);

    /// What lay before `start` is gone, or this follower panicked over it; it goes on from there.
    fn truncated(&self, start: u64);
}

/// Names a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerId(u64);

struct Following {
    id: FollowerId,
    from: u64,
    follower: Arc<dyn Follower>,
}

impl Following {
    /// Gives records; `false` when it must not be given any more.
    fn give(&self, entries: &[Entry], end: u64) -> bool {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.follower.records(entries, end))) else { return true };
        let from = entries.first().map_or(end, |e| e.offset);
        tracing::error!(
            from,
            end,
            panic = error::panic_text(&*panic),
            "a follower panicked, for it these records are lost"
        );
        let goes_on = catch_unwind(AssertUnwindSafe(|| self.follower.truncated(end))).is_ok();
        if !goes_on {
            tracing::error!("a follower panicked again, it is told nothing more");
        }
        goes_on
    }
}

/// Everybody who follows.
#[derive(Default)]
pub(crate) struct Followers {
    list: Vec<Following>,
    end: u64,
    next_id: u64,
}

impl Followers {
    pub(crate) fn new(end: u64) -> Self {
        Self { end, ..Self::default() }
    }

    /// Gives a write that is on disk to everybody.
    pub(crate) fn give(&mut self, entries: &[Entry], end: u64) {
        self.end = end;
        self.list.retain(|following| {
            let skip = entries.partition_point(|e| e.offset < following.from);
            skip == entries.len() || following.give(&entries[skip..], end)
        });
    }
}

impl Store {
    /// Tells `follower` of everything from `from` on: first what is there, on this thread, and then what comes.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn follow(&self, mut from: u64, follower: Arc<dyn Follower>) -> Result<FollowerId, ReadError> {
        const PAGE: PageLimits = PageLimits { records_max: 1_000, bytes_max: 1 << 20 };
        loop {
            let end = {
                let mut followers = self.followers();
                if from >= followers.end {
                    followers.next_id += 1;
                    let id = FollowerId(followers.next_id);
                    followers.list.push(Following { id, from, follower });
                    return Ok(id);
                }
                followers.end
            };
            match self.read(from, end, PAGE) {
                Ok(page) => {
                    from = page.next;
                    follower.records(&page.entries, page.next);
                }
                Err(ReadError::OutOfRange { start, .. }) => {
                    follower.truncated(start);
                    from = start;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends what [`Store::follow`] began.
    pub fn unfollow(&self, id: FollowerId) {
        self.followers().list.retain(|following| following.id != id);
    }

    fn followers(&self) -> MutexGuard<'_, Followers> {
        self.inner.followers()
    }
}
