//! The one thread that writes: group commit.
//!
//! It takes everything that waits, judges and numbers it, writes it with one call, syncs once, and only then changes what
//! readers see, tells the followers and answers. While it syncs the next group gathers, so groups grow with load.
//!
//! Invariant: tables, index and judge never hold a record that is not on disk once a group is over: a group that could
//! not be written is taken back, in memory and in the file.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::chain;
use crate::error::{self, AppendError};
use crate::format::{self, Entry};
use crate::fs;
use crate::judge::{Judge, Suppressed};
use crate::queue::{Answer, Appended, GROUP_BYTES_MAX, weight};
use crate::retention::Retention;
use crate::segment::{self, HEAD, Segment, Sparse};
use crate::state::{self, Channel, Channels};
use crate::store::{Append, Inner, Shared};

/// See the module docs.
pub(crate) struct Committer {
    pub(crate) inner: Arc<Inner>,
    judge: Judge,
    /// The file may hold more than what is synced: it must be cut before the next write.
    uncut: bool,
    /// A new segment was begun and is not there yet.
    rolling: bool,
    pub(crate) retention: Retention,
    /// Where the newest state file reaches to: what it does not cover is not deleted.
    pub(crate) state_base: u64,
    buffer: Vec<u8>,
    prepared: Prepared,
}

/// A group that was judged and numbered. Kept for the next one: its tables are large.
#[derive(Default)]
struct Prepared {
    entries: Vec<Entry>,
    outcomes: Vec<(Answer, Appended)>,
    channels: Channels,
    /// Bytes that the entries become.
    bytes: u64,
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Committer {
    pub(crate) fn new(inner: Arc<Inner>, judge: Judge, state_base: u64, gone: Vec<u64>) -> Self {
        let retention = Retention::new(gone);
        Self {
            inner,
            judge,
            uncut: false,
            rolling: false,
            retention,
            state_base,
            buffer: Vec::new(),
            prepared: Prepared::default(),
        }
    }

    /// Writes until the queue is closed and empty. A panic is named in every answer from then on.
    pub(crate) fn run(mut self) {
        let inner = self.inner.clone();
        let Err(panic) = catch_unwind(AssertUnwindSafe(move || self.work())) else { return };
        let why = error::panic_text(&*panic);
        tracing::error!(directory = %inner.directory.display(), panic = why, "the log broke, start the process anew");
        inner.queue.fail(inner.broken.get_or_init(|| why.to_owned()));
    }

    fn work(&mut self) {
        while let Some(group) = self.inner.queue.take(self.retention.patience()) {
            if !group.is_empty() {
                self.commit(group);
            }
            if self.retention.is_due() {
                self.retain();
            }
        }
    }

    fn end(&self) -> u64 {
        self.lock_segments().last().map_or(0, |s| s.end.load(Relaxed))
    }

    pub(crate) fn lock_shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_segments(&self) -> Vec<Arc<Segment>> {
        self.lock_shared().segments.clone()
    }

    fn commit(&mut self, group: Vec<(Append, Answer)>) {
        // A segment is sealed with tables that know nothing of this group.
        let bytes = group.iter().map(|(append, _)| weight(append) as u64 + append.key.len() as u64).sum();
        let segment = match self.cut().and_then(|()| self.segment_for(bytes)) {
            Ok(segment) => segment,
            Err(error) => {
                tracing::error!(directory = %self.inner.directory.display(), %error, "cannot write, publishes fail until it can");
                group.into_iter().for_each(|(_, answer)| answer.give(Err(AppendError::Disk(error.to_string()))));
                return;
            }
        };
        let mut prepared = self.prepare(group);
        let written = if prepared.entries.is_empty() { Ok(0) } else { self.write(&segment, &prepared.entries) };
        match written {
            Ok(bytes) => {
                self.judge.keep();
                prepared.bytes = bytes;
                self.publish(&mut prepared);
            }
            Err(error) => {
                tracing::error!(directory = %self.inner.directory.display(), %error, "cannot write, publishes fail until it can");
                self.judge.take_back();
                self.uncut = true;
                let cut = self.cut();
                for (answer, appended) in prepared.outcomes.drain(..) {
                    let failed = match &cut {
                        Ok(()) => AppendError::Disk(error.to_string()),
                        Err(second) => AppendError::Unknown(format!("{error}; nor could it be taken back: {second}")),
                    };
                    answer.give(if appended.suppressed { Ok(appended) } else { Err(failed) });
                }
            }
        }
        prepared.entries.clear();
        prepared.channels.clear();
        self.prepared = prepared;
    }

    /// Judges and numbers a group as if it were stored.
    fn prepare(&mut self, group: Vec<(Append, Answer)>) -> Prepared {
        let (write_start, time_ms) = (self.end(), now_ms());
        let mut prepared = std::mem::take(&mut self.prepared);
        let shared = self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for (append, answer) in group {
            let offset = write_start + prepared.entries.len() as u64;
            let known = prepared.channels.get(&append.key).or_else(|| shared.channels.get(&append.key)).copied();
            let channel = known.unwrap_or_else(|| Channel::beginning_at(1));
            let last = channel.last;
            let version = (&*append.version.0, append.version.1);
            match self.judge.suppressed(offset, &append.key, &append.idempotency_key, version) {
                Some(Suppressed::Duplicate((offset, number))) => {
                    prepared.outcomes.push((answer, Appended { offset, number, suppressed: true }));
                    continue;
                }
                Some(Suppressed::OldVersion) => {
                    prepared.outcomes.push((answer, Appended { offset, number: last, suppressed: true }));
                    continue;
                }
                None => {}
            }
            let number = last + 1;
            let (previous, skip) = (channel.last_offset, chain::skip_offset(number, &channel.marks));
            self.judge.note(
                (offset, number),
                &append.key,
                &append.idempotency_key,
                (&append.version.0, append.version.1),
            );
            prepared.channels.insert(append.key.clone(), channel.with(number, offset, append.keep));
            prepared.outcomes.push((answer, Appended { offset, number, suppressed: false }));
            let Append { key, meta, payload, idempotency_key, version, keep } = append;
            prepared.entries.push(Entry {
                offset,
                number,
                time_ms,
                key,
                meta,
                payload,
                idempotency_key,
                version,
                keep,
                write_start,
                previous,
                skip,
            });
        }
        prepared
    }

    /// Writes and syncs a group; the bytes that it became.
    fn write(&mut self, segment: &Segment, entries: &[Entry]) -> io::Result<u64> {
        self.buffer.clear();
        let mut starts = Vec::with_capacity(entries.len());
        for entry in entries {
            starts.push(self.buffer.len() as u64);
            format::encode(entry, &mut self.buffer);
        }
        let position = segment.bytes.load(Relaxed);
        self.uncut = true;
        segment.file.write_all_at(&self.buffer, position)?;
        segment.file.sync()?;
        self.uncut = false;
        segment.note_all(entries.iter().zip(starts).map(|(entry, start)| (entry.offset, position + start)));
        let bytes = self.buffer.len() as u64;
        if self.buffer.capacity() > 2 * GROUP_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(bytes)
    }

    /// Cuts off what a failed write may have left.
    fn cut(&mut self) -> io::Result<()> {
        if let (true, Some(segment)) = (self.uncut, self.lock_segments().last()) {
            segment.file.set_len(segment.bytes.load(Relaxed))?;
            segment.file.sync()?;
            segment.take_back(segment.end.load(Relaxed));
        }
        self.uncut = false;
        Ok(())
    }

    /// The active segment, sealed and followed by a new one when so many bytes would make it too long.
    fn segment_for(&mut self, bytes: u64) -> io::Result<Arc<Segment>> {
        let active = self.lock_segments().last().cloned();
        match active {
            Some(active) if !self.rolling && active.bytes.load(Relaxed) + bytes <= self.inner.options.segment_bytes => {
                Ok(active)
            }
            Some(active) if !self.rolling && active.bytes.load(Relaxed) == HEAD => Ok(active),
            active => {
                // If this fails half-way, the old segment must not grow past the new one's base: the next try rolls again.
                self.rolling = true;
                let segment = self.new_segment(active.as_ref().map_or(0, |s| s.end.load(Relaxed)))?;
                // From here on the one before is never written to again, whatever fails.
                self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner).segments.push(segment.clone());
                self.rolling = false;
                if let Some(active) = &active {
                    match self.seal(active) {
                        Ok(()) => {
                            self.state_base = segment.base;
                            self.sweep();
                            self.retention.due = true;
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot write the tables of a sealed segment, the next start reads more")
                        }
                    }
                }
                Ok(segment)
            }
        }
    }

    /// Writes what later starts need instead of this segment's records, once its successor is there. The state before
    /// this one stays, should this one get lost; then a start reads one segment more.
    fn seal(&self, active: &Segment) -> io::Result<()> {
        let base = active.end.load(Relaxed);
        let (index, state) = {
            let shared = self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
            (active.index_file(&shared.channels), state::write(base, &shared.channels, &self.judge))
        };
        let (fs, directory) = (&*self.inner.fs, &self.inner.directory);
        fs::replace(fs, &active.path.with_extension("idx"), &index)?;
        fs::replace(fs, &segment::path(directory, base, "state"), &state)?;
        for name in fs.list(directory)? {
            let older =
                name.strip_suffix(".state").and_then(|n| n.parse::<u64>().ok()).is_some_and(|b| b < active.base);
            if older {
                fs.remove(&directory.join(name))?;
            }
        }
        Ok(())
    }

    fn new_segment(&self, base: u64) -> io::Result<Arc<Segment>> {
        let path = segment::path(&self.inner.directory, base, "log");
        let file = self.inner.fs.open(&path, true)?;
        file.set_len(0)?;
        file.write_all_at(&segment::head(base), 0)?;
        file.sync()?;
        self.inner.fs.sync_directory(&self.inner.directory)?;
        let segment = Arc::new(Segment::new(base, path, file, base, HEAD, i64::MIN, Some(Sparse::new())));
        Ok(segment)
    }

    /// What is on disk becomes visible: to readers, then to followers, then to who appended.
    fn publish(&self, prepared: &mut Prepared) {
        let Prepared { entries, outcomes, channels, bytes } = prepared;
        if let Some(newest) = entries.last() {
            let end = newest.offset + 1;
            {
                let mut shared = self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.channels.extend(channels.drain());
                if let Some(segment) = shared.segments.last() {
                    segment.bytes.fetch_add(*bytes, Relaxed);
                    segment.newest_ms.fetch_max(newest.time_ms, Relaxed);
                    segment.end.store(end, Relaxed);
                }
            }
            self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner).give(entries, end);
        }
        for (answer, appended) in outcomes.drain(..) {
            answer.give(Ok(appended));
        }
    }
}
