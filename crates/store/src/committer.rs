//! The one thread that decides what is stored, and in which order: group commit.
//!
//! It takes what waits, judges, numbers and encodes it, and hands it to the writer. While that one waits for the disk
//! the next group gathers and, when it is large, is prepared. What is on disk is shown to readers, given to the
//! followers and answered. After a group, the next one waits for those who were answered last, as long as more come and
//! no longer than two writes take: so many small publishers share few writes, and a single one never waits.
//!
//! Invariant: tables, index and judge hold no record that is not on disk once its group is over: a group that could not
//! be written is taken back, in memory and in the file, with the one prepared behind it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{self, AppendError};
use crate::forget::Forgetting;
use crate::group::Group;
use crate::judge::Judge;
use crate::queue::{Asked, GROUP_BYTES_MAX, Next, Wanted, weight};
use crate::retention::Retention;
use crate::seal::{SEALING_PAUSE, Sealing};
use crate::segment::{self, HEAD, Segment, Sparse};
use crate::store::{Inner, Shared};
use crate::writer::{Order, Writer, Written};

/// So many records or bytes are prepared while the group before them is written; fewer gather.
const LARGE: (usize, usize) = (256, 64 << 10);
/// A group that is written, and one behind it.
const UNDER_WAY_MAX: usize = 2;
/// A write counts as no slower than this when a group waits for others.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// Groups smaller than this are written into zeros that were laid ahead: a sync is cheaper when the file stays as long.
const SMALL_BYTES: usize = 32 << 10;
/// Zeros laid at once.
const ZEROS: usize = 1 << 20;

/// See the module docs.
pub(crate) struct Committer {
    pub(crate) inner: Arc<Inner>,
    pub(crate) judge: Judge,
    writer: Writer,
    /// What the writer has: the group that it writes, and the one offered behind it.
    pub(crate) under_way: VecDeque<Group>,
    /// Tables for the next groups.
    pub(crate) spare: Vec<Group>,
    /// Answers of the group that ended last.
    pub(crate) answered: usize,
    /// How long the last write took.
    took: Duration,
    /// Bytes of the active file with the zeros behind its records.
    laid: u64,
    /// The file may hold more than what is synced and zeros: it must be cut before the next write.
    uncut: bool,
    /// A new segment was begun and is not there yet.
    rolling: bool,
    pub(crate) retention: Retention,
    /// Where the newest state file reaches to: what it does not cover is not deleted.
    pub(crate) state_base: u64,
    /// The newest sealed segment's tables are being written.
    pub(crate) sealing: Option<Sealing>,
    /// Channels that the newest state leaves out leave the table.
    pub(crate) forgetting: Option<Forgetting>,
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Committer {
    pub(crate) fn new(inner: Arc<Inner>, judge: Judge, state_base: u64, gone: Vec<u64>) -> io::Result<Self> {
        let laid = inner.shared().segments.last().map_or(0, |s| s.bytes.load(Relaxed));
        Ok(Self {
            writer: Writer::start(&inner)?,
            inner,
            judge,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            answered: 0,
            took: Duration::ZERO,
            laid,
            uncut: false,
            rolling: false,
            retention: Retention::new(gone),
            state_base,
            sealing: None,
            forgetting: None,
        })
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
        let mut appends = Vec::new();
        loop {
            match self.inner.queue.next(self.wanted(), &mut appends) {
                Next::Group => self.begin(&mut appends),
                Next::Written(written) => self.end(written),
                Next::Nothing => {}
                Next::Closed => break,
            }
            self.end_sealing(false);
            self.forget();
            if self.sealing.is_none() && self.retention.is_due() {
                self.settle();
                self.retain();
            }
        }
        // The writer goes on with what it was offered: nothing may be cut off under it.
        self.settle();
        self.end_sealing(true);
        if let Err(error) = self.cut() {
            tracing::warn!(directory = %self.inner.directory.display(), %error, "the next start has to cut the log's end");
        }
    }

    fn wanted(&self) -> Wanted {
        let (large, bytes) = LARGE;
        let patience = if self.sealing.is_some() {
            SEALING_PAUSE
        } else {
            self.retention.patience().min(self.forgetting_patience())
        };
        match self.under_way.back() {
            Some(newest) if self.under_way.len() == UNDER_WAY_MAX && newest.is_full() => Wanted::NOTHING,
            Some(_) => Wanted { records: large, bytes, most: usize::MAX, lull: Duration::MAX, patience: Duration::MAX },
            None => {
                let expected = (self.answered + self.inner.queue.len()).max(1);
                // Of many, half: the other half comes while these are written, so the disk has no pause.
                let (records, most) =
                    if expected < large { (expected, usize::MAX) } else { (expected / 2, expected / 2) };
                Wanted { records, bytes, most, lull: self.took.min(GATHER_MAX), patience }
            }
        }
    }

    /// Waits until a group is over.
    fn await_one(&mut self) {
        match self.inner.queue.next(Wanted::NOTHING, &mut Vec::new()) {
            Next::Written(written) => self.end(written),
            Next::Group | Next::Nothing | Next::Closed => {}
        }
    }

    /// Waits until nothing is under way.
    fn settle(&mut self) {
        while !self.under_way.is_empty() {
            self.await_one();
        }
    }

    pub(crate) fn lock_shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared()
    }

    pub(crate) fn lock_segments(&self) -> Vec<Arc<Segment>> {
        self.lock_shared().segments.clone()
    }

    fn begin(&mut self, appends: &mut Vec<Asked>) {
        let bytes = appends.iter().map(|(append, _)| weight(append) as u64 + append.key.len() as u64).sum();
        if let Err(error) = self.make_room(bytes) {
            self.cannot_write(&error);
            appends.drain(..).for_each(|(_, answer)| answer.give(Err(AppendError::Disk(error.to_string()))));
            return;
        }
        let mut group = self.group();
        self.prepare(&mut group, appends);
        self.offer(group);
    }

    /// The group that the writer did not begin yet, or a new one.
    fn group(&mut self) -> Group {
        if self.under_way.len() == UNDER_WAY_MAX {
            if let Some(order) = self.writer.withdraw()
                && let Some(mut group) = self.under_way.pop_back()
            {
                group.bytes = order.bytes;
                return group;
            }
            // The writer has it, so it is done with the one before.
            self.await_one();
        }
        self.spare.pop().unwrap_or_default()
    }

    fn cannot_write(&self, error: &io::Error) {
        tracing::error!(directory = %self.inner.directory.display(), %error, "cannot write, publishes fail until it can");
    }

    /// Gives a group to the writer.
    fn offer(&mut self, mut group: Group) {
        let segment = self.active().expect("there is room for a group only in a segment");
        let (mut bytes, end) = (std::mem::take(&mut group.bytes), group.end.1);
        let position = end - bytes.len() as u64;
        if end > self.laid {
            self.laid = end;
            if bytes.len() < SMALL_BYTES && self.under_way.is_empty() {
                self.laid += ZEROS as u64;
                bytes.resize(bytes.len() + ZEROS, 0);
            }
        }
        self.under_way.push_back(group);
        self.writer.offer(Order { segment, bytes, position });
    }

    /// A group is on disk, or could not be written.
    fn end(&mut self, written: Written) {
        let Written { bytes, result, took } = written;
        let mut group = self.under_way.pop_front().expect("the writer was given a group");
        group.bytes = if bytes.capacity() > 2 * GROUP_BYTES_MAX { Vec::new() } else { bytes };
        self.took = took;
        match result {
            Ok(Ok(())) => {
                self.judge.keep(group.judged);
                self.publish(&mut group);
            }
            Ok(Err(error)) => self.take_back(&mut group, &error),
            Err(panic) => resume_unwind(panic),
        }
        self.recycle(group);
    }

    fn recycle(&mut self, mut group: Group) {
        group.clear();
        self.spare.push(group);
    }

    /// What is on disk becomes visible: to readers, then to followers, then to who appended.
    fn publish(&mut self, group: &mut Group) {
        if !group.entries.is_empty() {
            let segment = self.active().expect("it was written to one");
            group.show(&segment, &mut self.lock_shared());
            self.inner.followers().give(&group.entries, group.end.0);
        }
        self.answered = group.outcomes.len();
        for (answer, appended) in group.outcomes.drain(..) {
            answer.give(Ok(appended));
        }
    }

    /// Nothing of a group was stored, nor of the one behind it, which counts on it.
    fn take_back(&mut self, group: &mut Group, error: &io::Error) {
        self.cannot_write(error);
        self.writer.restart();
        self.judge.take_back();
        self.uncut = true;
        let cut = self.cut();
        group.fail(|| match &cut {
            Ok(()) => AppendError::Disk(error.to_string()),
            Err(second) => AppendError::Unknown(format!("{error}; nor could it be taken back: {second}")),
        });
        while let Some(mut behind) = self.under_way.pop_front() {
            behind.fail(|| AppendError::Disk(error.to_string()));
            self.recycle(behind);
        }
    }

    /// Cuts off zeros, and what a failed write may have left.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(segment) = self.active() {
            let (end, bytes) = segment.shown();
            if self.uncut || self.laid > bytes {
                self.uncut = true;
                segment.file.set_len(bytes)?;
                segment.file.sync()?;
                segment.take_back(end);
                self.laid = bytes;
            }
        }
        self.uncut = false;
        Ok(())
    }

    /// Makes sure that the active segment can be written to and take so many bytes more; seals it otherwise and begins
    /// a new one.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.uncut {
            self.cut()?;
        }
        let Some(active) = self.active() else { return self.roll(None) };
        let (_, before) = self.ahead();
        let fits = before + bytes <= self.inner.options.segment_bytes || before == HEAD;
        if fits && !self.rolling {
            return Ok(());
        }
        self.settle();
        self.cut()?;
        self.roll(Some(&active))
    }

    fn roll(&mut self, active: Option<&Arc<Segment>>) -> io::Result<()> {
        // If this fails half-way, the old segment must not grow past the new one's base: the next try rolls again.
        self.rolling = true;
        let segment = self.new_segment(active.map_or(0, |s| s.end.load(Relaxed)))?;
        // From here on the one before is never written to again, whatever fails.
        self.lock_shared().segments.push(segment.clone());
        self.laid = HEAD;
        self.rolling = false;
        if let Some(active) = active {
            self.seal(active);
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
}
