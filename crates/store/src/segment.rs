//! One file of records, and where in it they are.
//!
//! While it is written to, zeros may follow the records in the file: they were laid ahead of the next ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::error::ReadError;
use crate::format::{self, Entry, Found, NO_OFFSET};
use crate::fs::{self, File, Fs};
use crate::state::{Channel, Channels, Sealed, Unsealed};

/// Bytes before the first record.
pub(crate) const HEAD: u64 = 16;
const MAGIC: &[u8; 8] = b"TGLOG\0\0\x02";
const INDEX_MAGIC: &[u8; 8] = b"TGIDX\0\0\x01";
/// Bytes between two entries of the sparse index.
const INDEX_EVERY: u64 = 16 << 10;
/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// Where records start: (offset, position), a few of them, rising.
pub(crate) type Sparse = Vec<(u64, u64)>;

/// See the module docs. What lies behind [`Segment::end`] is not on disk for sure and is never read.
pub(crate) struct Segment {
    /// Offset of its first record.
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    /// Offset after its last synced record.
    pub(crate) end: AtomicU64,
    /// Bytes up to there.
    pub(crate) bytes: AtomicU64,
    /// Time of its newest record, ms since 1970.
    pub(crate) newest_ms: AtomicI64,
    /// `None` = not read yet.
    index: Mutex<Option<Sparse>>,
}

/// The path of a file that belongs to the segment at `base`.
pub(crate) fn path(directory: &Path, base: u64, extension: &str) -> PathBuf {
    directory.join(format!("{base:020}.{extension}"))
}

/// The bytes that a segment starts with.
pub(crate) fn head(base: u64) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..].copy_from_slice(&base.to_le_bytes());
    head
}

impl Segment {
    /// A segment whose records are known: `sparse` is given for the active one.
    pub(crate) fn new(
        base: u64,
        path: PathBuf,
        file: Box<dyn File>,
        end: u64,
        bytes: u64,
        newest_ms: i64,
        sparse: Option<Sparse>,
    ) -> Self {
        let [end, bytes] = [end, bytes].map(AtomicU64::new);
        Self { base, path, file, end, bytes, newest_ms: AtomicI64::new(newest_ms), index: Mutex::new(sparse) }
    }

    /// Notes where a record is that was just written.
    pub(crate) fn note(&self, offset: u64, position: u64) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        note(index.get_or_insert_default(), offset, position);
    }

    /// [`Segment::note`] for a run of records.
    pub(crate) fn note_all(&self, records: impl Iterator<Item = (u64, u64)>) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let sparse = index.get_or_insert_default();
        records.for_each(|(offset, position)| note(sparse, offset, position));
    }

    /// Offset and position of its end, as readers see it.
    pub(crate) fn shown(&self) -> (u64, u64) {
        (self.end.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Shows readers more of it. Under the lock of the tables, so that nobody sees half of it.
    pub(crate) fn shows(&self, end: u64, bytes: u64, newest_ms: i64) {
        self.bytes.store(bytes, Relaxed);
        self.newest_ms.fetch_max(newest_ms, Relaxed);
        self.end.store(end, Relaxed);
    }

    /// Forgets notes from `offset` on, because the write failed.
    pub(crate) fn take_back(&self, offset: u64) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.get_or_insert_default().retain(|(at, _)| *at < offset);
    }

    /// Begins the content of the `.idx` file: where records are.
    pub(crate) fn index(&self) -> IndexDraft {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let sparse = index.as_deref().unwrap_or_default();
        let mut out = Sealed::new(INDEX_MAGIC);
        out.u64s(&[
            self.base,
            self.end.load(Relaxed),
            self.newest_ms.load(Relaxed).cast_unsigned(),
            sparse.len() as u64,
        ]);
        for (offset, position) in sparse {
            out.u64s(&[*offset, *position]);
        }
        let place = out.place();
        IndexDraft { out, base: self.base, place, count: 0 }
    }

    /// Each channel's last number in this segment. A lost index is made anew from the records; `None` when one of them
    /// is damaged.
    pub(crate) fn last_numbers(&self, fs: &dyn Fs) -> Option<Vec<(String, u64)>> {
        let path = self.path.with_extension("idx");
        last_numbers(fs, &path, self.base).or_else(|| {
            let content = self.index_again().ok()?;
            if let Err(error) = fs::replace(fs, &path, &content) {
                tracing::warn!(file = %path.display(), %error, "cannot write an index that was lost");
            }
            numbers(&content, self.base)
        })
    }

    /// The content of the `.idx` file from the records.
    fn index_again(&self) -> Result<Vec<u8>, ReadError> {
        let (mut sparse, mut channels, mut newest_ms) = (Sparse::new(), Channels::default(), i64::MIN);
        self.scan(HEAD, 0, &mut |entry, position| {
            note(&mut sparse, entry.offset, position);
            newest_ms = newest_ms.max(entry.time_ms);
            let channel = channels.entry(entry.key).or_insert(Channel::beginning_at(entry.number));
            *channel = channel.with(entry.number, entry.offset, entry.time_ms, entry.keep);
            true
        })?;
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Some(sparse);
        self.newest_ms.store(newest_ms, Relaxed);
        let mut index = self.index();
        channels.iter().for_each(|(key, channel)| index.add(key, channel));
        Ok(index.finish())
    }

    /// The two indexed places, offset and position, that the record at `offset` lies between; about [`INDEX_EVERY`]
    /// bytes apart.
    fn span(&self, fs: &dyn Fs, offset: u64) -> Result<[(u64, u64); 2], ReadError> {
        let written = self.shown();
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.is_none() {
            let read = fs.open(&self.path.with_extension("idx"), false).and_then(|f| fs::read_all(&*f)).ok();
            *index = read.and_then(|bytes| Some(read_index(&bytes, self.base)?.0));
        }
        if index.is_none() {
            // The index was lost: made anew from the records.
            let mut sparse = Sparse::new();
            self.scan(HEAD, 0, &mut |entry, position| {
                note(&mut sparse, entry.offset, position);
                true
            })?;
            *index = Some(sparse);
        }
        let sparse = index.as_deref().unwrap_or_default();
        let at = sparse.partition_point(|(first, _)| *first <= offset);
        let first = at.checked_sub(1).map_or((self.base, HEAD), |i| sparse[i]);
        let next = sparse.get(at).copied().filter(|(offset, _)| *offset < written.0);
        Ok([first, next.unwrap_or(written)])
    }

    /// The run of records that the one at `offset` lies in.
    pub(crate) fn run(&self, fs: &dyn Fs, offset: u64) -> Result<Run, ReadError> {
        let [(first, position), (end, end_position)] = self.span(fs, offset)?;
        let len = usize::try_from(end_position.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let io = |error| ReadError::Io { path: self.path.clone(), error };
        let read = self.file.read_at(&mut bytes, position).map_err(io)?;
        bytes.truncate(read);
        Ok(Run { first, end, position, bytes })
    }

    /// Hands out records with their positions from the one at `offset` on, until `each` says stop.
    pub(crate) fn read_from(
        &self,
        fs: &dyn Fs,
        offset: u64,
        each: &mut dyn FnMut(Entry, u64) -> bool,
    ) -> Result<(), ReadError> {
        let [(first, position), _] = self.span(fs, offset)?;
        self.scan(position, offset.saturating_sub(first), each)
    }

    /// Hands out records from a position on, up to what is synced; so many are left out first, unread.
    fn scan(
        &self,
        mut position: u64,
        mut left_out: u64,
        each: &mut dyn FnMut(Entry, u64) -> bool,
    ) -> Result<(), ReadError> {
        let end = self.bytes.load(Relaxed);
        let damaged = |position| ReadError::Damaged { file: self.path.clone(), position };
        let mut buffer = Vec::new();
        let mut want = BLOCK;
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(usize::MAX);
            buffer.resize(want.min(left), 0);
            let read = self.file.read_at(&mut buffer, position);
            let read = read.map_err(|error| ReadError::Io { path: self.path.clone(), error })?;
            let mut at = 0;
            want = BLOCK;
            while at < read {
                let found = match format::size(&buffer[at..read]) {
                    Found::Needs(size) if left_out > 0 && at + size <= read => {
                        left_out -= 1;
                        at += size;
                        continue;
                    }
                    sized if left_out > 0 => sized,
                    _ => format::decode(&buffer[at..read]),
                };
                match found {
                    Found::Record(entry, size) => {
                        if !each(entry, position + at as u64) {
                            return Ok(());
                        }
                        at += size;
                    }
                    Found::Needs(n) if n <= left && (at > 0 || n > buffer.len()) => {
                        want = n.max(BLOCK);
                        break;
                    }
                    Found::Needs(_) | Found::Bad(_) => return Err(damaged(position + at as u64)),
                }
            }
            if read == 0 {
                return Err(damaged(position));
            }
            position += at as u64;
        }
        Ok(())
    }
}

/// The content of an `.idx` file as it is made: after where records are, each channel's last number in the segment, which
/// is its newest one when the segment is sealed.
pub(crate) struct IndexDraft {
    out: Sealed,
    base: u64,
    place: usize,
    count: u64,
}

impl IndexDraft {
    /// Adds a channel if it has a record in the segment.
    pub(crate) fn add(&mut self, key: &str, channel: &Channel) {
        if channel.last_offset != NO_OFFSET && channel.last_offset >= self.base {
            self.count += 1;
            self.out.text(key);
            self.out.u64(channel.last);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.fill(self.place, self.count);
        self.out.finish()
    }
}

/// Records that lie side by side, as they are on disk.
pub(crate) struct Run {
    first: u64,
    end: u64,
    pub(crate) position: u64,
    bytes: Vec<u8>,
}

impl Run {
    pub(crate) fn holds(&self, offset: u64) -> bool {
        (self.first..self.end).contains(&offset)
    }

    /// Its record at `offset`. Damage of other records does not matter, but for that of a length before it.
    pub(crate) fn record(&self, file: &Path, offset: u64) -> Result<Entry, ReadError> {
        let mut at = 0;
        let damaged = |at: usize| ReadError::Damaged { file: file.to_owned(), position: self.position + at as u64 };
        for _ in self.first..offset {
            match format::size(self.bytes.get(at..).unwrap_or_default()) {
                Found::Needs(size) => at += size,
                Found::Record(..) | Found::Bad(_) => return Err(damaged(at)),
            }
        }
        match format::decode(self.bytes.get(at..).unwrap_or_default()) {
            Found::Record(entry, _) if entry.offset == offset => Ok(entry),
            _ => Err(damaged(at)),
        }
    }
}

fn note(sparse: &mut Sparse, offset: u64, position: u64) {
    if sparse.last().is_none_or(|(_, last)| position >= last + INDEX_EVERY) {
        sparse.push((offset, position));
    }
}

fn read_index(bytes: &[u8], base: u64) -> Option<(Sparse, Unsealed<'_>)> {
    let mut from = Unsealed::open(bytes, INDEX_MAGIC)?;
    if from.u64()? != base {
        return None;
    }
    let (_end, _newest_ms, count) = (from.u64()?, from.u64()?, from.u64()?);
    let sparse = (0..count).map(|_| Some((from.u64()?, from.u64()?))).collect::<Option<_>>()?;
    Some((sparse, from))
}

/// Each channel's last number in the segment at `base`, from its index.
pub(crate) fn last_numbers(fs: &dyn Fs, path: &Path, base: u64) -> Option<Vec<(String, u64)>> {
    numbers(&fs::read_all(&*fs.open(path, false).ok()?).ok()?, base)
}

fn numbers(bytes: &[u8], base: u64) -> Option<Vec<(String, u64)>> {
    let (_, mut rest) = read_index(bytes, base)?;
    (0..rest.u64()?).map(|_| Some((rest.text()?.to_owned(), rest.u64()?))).collect()
}

/// End offset and newest time of a sealed segment, from its index.
pub(crate) fn sealed_facts(bytes: &[u8], base: u64) -> Option<(u64, i64)> {
    let mut from = Unsealed::open(bytes, INDEX_MAGIC)?;
    (from.u64()? == base).then_some(())?;
    Some((from.u64()?, from.u64()?.cast_signed()))
}

/// Checks the head of a segment file.
pub(crate) fn head_is_of(bytes: &[u8], base: u64) -> bool {
    bytes.len() >= head(base).len() && bytes[..head(base).len()] == head(base)
}
