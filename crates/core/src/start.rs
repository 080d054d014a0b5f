//! Where a subscription begins and what a reader gets: the one vocabulary of recovery, catch-up and history.

use std::sync::Arc;

use tidegate_types::{Offset, Publication, StreamPosition};

/// Where a subscription begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Everything up to here is in `publications` or lies before the subscription; live delivery follows it.
    pub cursor: Offset,
    /// What the client is told as its position.
    pub position: StreamPosition,
    /// What was missed, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// All that was missed is in `publications`. `false` also when nothing was asked for.
    pub recovered: bool,
}

/// What a reader behind the live stream gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadAfter {
    /// What follows the cursor, oldest first, as far as bytes allowed; nothing when the cursor is at the top.
    Publications(Vec<Arc<Publication>>),
    /// The window no longer has it: ask the log.
    NeedsLog,
    /// Nobody has it any more.
    Lost,
}

/// Bounds of what a reader may get.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ReadLimits {
    /// Publications.
    pub(crate) count_max: usize,
    /// Bytes of payloads.
    pub(crate) bytes_max: usize,
}

impl ReadLimits {
    /// The first that fit, one at least where any may be taken, and whether these limits ended the list.
    pub(crate) fn take<'a>(
        self,
        publications: impl Iterator<Item = &'a Arc<Publication>>,
    ) -> (Vec<Arc<Publication>>, bool) {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        for publication in publications {
            bytes = bytes.saturating_add(publication.payload.json().len());
            let has_room = taken.is_empty() || bytes <= self.bytes_max;
            if taken.len() >= self.count_max || !has_room {
                return (taken, true);
            }
            taken.push(publication.clone());
        }
        let full = taken.len() >= self.count_max;
        (taken, full)
    }
}

/// How a namespace hides what its log still keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hidden {
    /// Only this many newest publications show.
    pub(crate) size: usize,
    /// Only what is not older than this shows, ms since 1970.
    pub(crate) oldest_ms: i64,
    /// Only what lies after this shows: before it the history was removed.
    pub(crate) removed: Offset,
}

impl Hidden {
    /// Whether a publication shows, if it is among the newest.
    pub(crate) fn shows(&self, publication: &Publication) -> bool {
        publication.time_ms >= self.oldest_ms && publication.offset > self.removed
    }
}
