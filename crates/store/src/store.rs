//! The store: what callers see, and what the committer and the readers share.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use crate::committer::Committer;
use crate::error::OpenError;
use crate::follow::Followers;
use crate::format;
use crate::fs::{Fs, RealFs};
use crate::open;
use crate::queue::{Done, Queue};
use crate::segment::Segment;
use crate::state::Channels;

/// Settings of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// A segment is sealed when the next write would make it longer.
    pub segment_bytes: u64,
    /// Sealed segments whose newest record is older are deleted; `None` = never.
    pub retention_age: Option<Duration>,
    /// The oldest sealed segments are deleted while all together are longer; `None` = never.
    pub retention_bytes: Option<u64>,
    /// The oldest sealed segments are deleted while no channel wants anything in them kept; see [`Keep`].
    pub delete_unwanted: bool,
    /// An idempotency key or version counts as seen among so many newest records.
    pub dedup_records: u64,
    /// A channel of which no record is kept and whose newest record is older is forgotten; see the crate docs.
    pub history_meta_ttl: Duration,
    /// Appends that may wait for the disk.
    pub queue_max: usize,
    /// Bytes of payloads that may wait for the disk.
    pub queue_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            retention_age: None,
            retention_bytes: None,
            delete_unwanted: true,
            dedup_records: 50_000,
            history_meta_ttl: Duration::from_secs(7 * 86_400),
            queue_max: 65_536,
            queue_bytes_max: 64 << 20,
        }
    }
}

/// One record to append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The channel.
    pub key: Arc<str>,
    /// What is stored beside the payload.
    pub meta: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// What makes it a duplicate of another, or older than one; most have nothing such.
    pub identity: Option<Box<Identity>>,
    /// How much of its past the channel wants from now on.
    pub keep: Keep,
}

/// What a record is compared with others by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Empty = none.
    pub idempotency_key: String,
    /// In which `version` counts.
    pub version_epoch: String,
    /// 0 = none.
    pub version: u64,
}

impl Identity {
    pub(crate) const NONE: &Self = &Self { idempotency_key: String::new(), version_epoch: String::new(), version: 0 };
}

/// How much of its past a channel wants kept: what is both newer than `age_s` seconds and among the `count` newest.
/// Records go by whole segments, so more may be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Newest records.
    pub count: u32,
    /// Seconds.
    pub age_s: u32,
}

impl Keep {
    /// Everything, until [`Options`] end it.
    pub const ALL: Self = Self { count: u32::MAX, age_s: u32::MAX };
}

/// The offsets that are kept: `start <= end`, `end` is where the next record will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Offset of the oldest record.
    pub start: u64,
    /// One past the newest.
    pub end: u64,
}

/// Ends of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelTop {
    /// Number of its newest record. For a channel that has none, or was forgotten: the number before the one that its
    /// next record will have at least; 0 while no channel was forgotten.
    pub last: u64,
    /// Number of its oldest record that is kept; `last + 1` when none is.
    pub first_kept: u64,
}

/// What readers and the committer share.
pub(crate) struct Shared {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) channels: Channels,
    /// No channel that is not in the table ever had a higher number. On disk before it is here.
    pub(crate) forgotten: u64,
}

impl Shared {
    /// Ends of a channel.
    pub(crate) fn top(&self, key: &str) -> ChannelTop {
        let (last, first_kept) = match self.channels.get(key) {
            Some(channel) => (channel.last, channel.first),
            None => (self.forgotten, self.forgotten + 1),
        };
        ChannelTop { last, first_kept }
    }
}

pub(crate) struct Inner {
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) shared: Mutex<Shared>,
    pub(crate) followers: Mutex<Followers>,
    pub(crate) queue: Queue,
    /// Why the committer ended before it was told to.
    pub(crate) broken: OnceLock<String>,
    /// The damage that readers met last; empty = none.
    pub(crate) damage: Mutex<String>,
    epoch: u64,
}

impl Inner {
    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the crate docs. Dropping it closes it: what was accepted is written first.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    committer: Mutex<Option<JoinHandle<()>>>,
    _lock: Option<std::fs::File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a directory on the machine's file system, and makes it a store when it is empty or not there.
    ///
    /// # Errors
    /// [`OpenError`]; the text says what to do.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        let lock = open::lock(directory)?;
        Self::start(Arc::new(RealFs), directory, options, Some(lock))
    }

    /// Opens a directory of another file system, without a lock.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(fs: Arc<dyn Fs>, directory: &Path, options: Options) -> Result<Self, OpenError> {
        Self::start(fs, directory, options, None)
    }

    fn start(
        fs: Arc<dyn Fs>,
        directory: &Path,
        options: Options,
        lock: Option<std::fs::File>,
    ) -> Result<Self, OpenError> {
        let opened = open::open(&*fs, directory, &options)?;
        let end = opened.shared.segments.last().map_or(0, |s| s.end.load(Relaxed));
        let queue = Queue::new(options.queue_max, options.queue_bytes_max);
        let inner = Arc::new(Inner {
            directory: directory.to_owned(),
            options,
            fs,
            shared: Mutex::new(opened.shared),
            followers: Mutex::new(Followers::new(end)),
            queue,
            broken: OnceLock::new(),
            damage: Mutex::default(),
            epoch: opened.epoch,
        });
        let committer = Committer::new(inner.clone(), opened.judge, opened.state_base, opened.gone);
        let committer = committer.map_err(OpenError::io(directory))?;
        let thread = std::thread::Builder::new().name("tidegate-store".to_owned()).spawn(move || committer.run());
        let thread = thread.map_err(OpenError::io(directory))?;
        Ok(Self { inner, committer: Mutex::new(Some(thread)), _lock: lock })
    }

    /// The random number that this log got when it was made.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Appends a record. `done` is called once, from the committer's thread, when the record is on disk and was given
    /// to the followers, or when it is certain that it was not stored; at once, on this thread, when it cannot wait.
    pub fn append(&self, append: Append, done: Done) {
        match format::check(&append) {
            Ok(()) => self.inner.queue.push(append, done),
            Err(error) => done(Err(error)),
        }
    }

    /// What is kept.
    pub fn bounds(&self) -> Bounds {
        let shared = self.shared();
        Bounds {
            start: shared.segments.first().map_or(0, |s| s.base),
            end: shared.segments.last().map_or(0, |s| s.end.load(Relaxed)),
        }
    }

    /// Ends of a channel.
    pub fn channel_top(&self, key: &str) -> ChannelTop {
        self.shared().top(key)
    }

    /// How many channels it remembers.
    pub fn channels(&self) -> usize {
        self.shared().channels.len()
    }

    /// Writes what was accepted and ends the committer; appends after it fail.
    pub fn close(&self) {
        self.inner.queue.close();
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the committer ended with a panic");
        }
    }

    /// Why nothing is stored any more, until the process starts anew; `None` while all is well.
    pub fn broken(&self) -> Option<&str> {
        self.inner.broken.get().map(String::as_str)
    }

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared()
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.inner.fs
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
