//! What is deleted: the oldest sealed segments, whole, one after the other.
//!
//! A segment goes when it is too old, when all together are too much, or when no channel wants anything of it any more.
//! Its index stays until two newer states know that its records are gone, so that a start knows it too.
//!
//! Invariant: nothing is deleted that the newest state does not cover, and readers are told first.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::committer::{Committer, now_ms};
use crate::forget::SLICE;
use crate::segment::{self, Segment};
use crate::state::Channel;
use crate::store::Shared;

/// Between two looks; a sealed segment is a reason to look at once.
const EVERY: Duration = Duration::from_secs(10);
/// Segments deleted at a look: publishes wait meanwhile.
const AT_ONCE_MAX: usize = 4;

/// What the committer remembers between two looks.
#[derive(Default)]
pub(crate) struct Retention {
    looked_ms: i64,
    pub(crate) due: bool,
    /// Bases of deleted segments whose index stays: since the newest state, and since the one before it.
    gone: [Vec<u64>; 2],
    /// Segments that are read no more and whose files could not be removed yet: a start would find a hole behind them.
    left: VecDeque<(u64, PathBuf)>,
    /// The channel that wanted something of the oldest segment, and its last number there.
    pinned: Option<(u64, Arc<str>, u64)>,
    /// A segment without an index, of which none can be made.
    damaged: Option<u64>,
}

impl Retention {
    pub(crate) fn new(gone: Vec<u64>) -> Self {
        Self { looked_ms: now_ms(), due: true, gone: [gone, Vec::new()], ..Self::default() }
    }

    /// How long it can wait.
    pub(crate) fn patience(&self) -> Duration {
        if self.due { Duration::ZERO } else { EVERY }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due || now_ms() - self.looked_ms >= i64::try_from(EVERY.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The time that was so long ago.
pub(crate) fn ago(age: Duration) -> i64 {
    now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

fn is_older(time_ms: i64, age: Duration) -> bool {
    time_ms < ago(age)
}

/// Whether a channel wants something up to `number`, stored at `time_ms` at the latest.
fn wants(channel: &Channel, number: u64, time_ms: i64) -> bool {
    let keep = channel.keep;
    channel.last - number.min(channel.last) < u64::from(keep.count)
        && !is_older(time_ms, Duration::from_secs(keep.age_s.into()))
}

impl Committer {
    /// Deletes what is no longer to be kept.
    pub(crate) fn retain(&mut self) {
        self.retention.looked_ms = now_ms();
        self.retention.due = false;
        if let Err(error) = self.remove_left() {
            tracing::warn!(%error, "cannot delete an old segment, nor any that is newer");
            return;
        }
        for _ in 0..AT_ONCE_MAX {
            let Some(oldest) = self.expired() else { return };
            if let Err(error) = self.delete(&oldest) {
                tracing::warn!(file = %oldest.path.display(), %error, "cannot delete an old segment");
                return;
            }
        }
        self.retention.due = true;
    }

    /// The oldest segment, if it is sealed and retention is over.
    fn expired(&mut self) -> Option<Arc<Segment>> {
        let segments = self.lock_segments();
        let (_, sealed) = segments.split_last()?;
        let oldest = sealed.first().filter(|s| s.end.load(Relaxed) <= self.state_base)?;
        if oldest.newest_ms.load(Relaxed) == i64::MAX {
            // A start that found no index knows no age.
            self.numbers_of(oldest);
        }
        let options = &self.inner.options;
        let old = options.retention_age.is_some_and(|age| is_older(oldest.newest_ms.load(Relaxed), age));
        let total: u64 = segments.iter().map(|s| s.bytes.load(Relaxed)).sum();
        let much = options.retention_bytes.is_some_and(|max| total > max);
        let unwanted = options.delete_unwanted;
        (old || much || (unwanted && !self.is_wanted(oldest))).then(|| oldest.clone())
    }

    /// Whether any channel wants something of a segment.
    fn is_wanted(&mut self, segment: &Segment) -> bool {
        let newest_ms = segment.newest_ms.load(Relaxed);
        let wanted = |shared: &Shared, key: &str, number| {
            shared.channels.get(key).is_some_and(|channel| wants(channel, number, newest_ms))
        };
        if let Some((base, key, number)) = &self.retention.pinned
            && *base == segment.base
            && wanted(&self.lock_shared(), key, *number)
        {
            return true;
        }
        // Where nobody can tell, only age and bytes count.
        let Some(numbers) = self.numbers_of(segment) else { return true };
        let pin = numbers.chunks(SLICE).find_map(|some| {
            let shared = self.lock_shared();
            some.iter().find(|(key, number)| wanted(&shared, key, *number))
        });
        self.retention.pinned = pin.map(|(key, number)| (segment.base, key.as_str().into(), *number));
        self.retention.pinned.is_some()
    }

    /// Each channel's last number in a segment.
    fn numbers_of(&mut self, segment: &Segment) -> Option<Vec<(String, u64)>> {
        if self.retention.damaged == Some(segment.base) {
            return None;
        }
        let numbers = segment.last_numbers(&*self.inner.fs);
        if numbers.is_none() {
            tracing::warn!(file = %segment.path.display(), "a segment without an index is damaged, only its size counts for retention");
            self.retention.damaged = Some(segment.base);
        }
        numbers
    }

    fn delete(&mut self, oldest: &Arc<Segment>) -> io::Result<()> {
        // Where nobody can tell, reading a channel finds out what it lacks.
        let numbers = self.numbers_of(oldest).unwrap_or_default();
        for some in numbers.chunks(SLICE) {
            note_gone(&mut self.lock_shared().channels, some);
        }
        self.lock_shared().segments.retain(|s| s.base != oldest.base);
        self.retention.left.push_back((oldest.base, oldest.path.clone()));
        self.remove_left()
    }

    fn remove_left(&mut self) -> io::Result<()> {
        while let Some((base, path)) = self.retention.left.front() {
            match self.inner.fs.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.inner.fs.sync_directory(&self.inner.directory)?,
            }
            self.retention.gone[0].push(*base);
            self.retention.left.pop_front();
        }
        Ok(())
    }

    /// A new state was written: it and the one before it know of what was deleted before that one.
    pub(crate) fn sweep(&mut self) {
        let [since_newest, before] = std::mem::take(&mut self.retention.gone);
        for base in before {
            // It may never have been written; a start removes what stays behind.
            let _ = self.inner.fs.remove(&segment::path(&self.inner.directory, base, "idx"));
        }
        self.retention.gone = [Vec::new(), since_newest];
    }
}

/// Notes that the records up to these numbers are gone.
pub(crate) fn note_gone(channels: &mut crate::state::Channels, numbers: &[(String, u64)]) {
    for (key, number) in numbers {
        if let Some(channel) = channels.get_mut(key.as_str()) {
            channel.first = channel.first.max(number + 1);
        }
    }
}
