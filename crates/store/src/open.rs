//! Starting on a directory: lock, state, the records after it, and the torn end of the last write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::committer::now_ms;
use crate::error::OpenError;
use crate::format::{self, Entry, Found, NO_OFFSET, RECORD_HEAD};
use crate::fs::{self, Fs};
use crate::judge::Judge;
use crate::retention;
use crate::segment::{self, HEAD, Segment, Sparse};
use crate::state::{self, Channel, Channels, Known};
use crate::store::{Options, Shared};

/// What a start found.
pub(crate) struct Opened {
    pub(crate) epoch: u64,
    pub(crate) shared: Shared,
    pub(crate) judge: Judge,
    /// Where the state file reached to; 0 = there was none.
    pub(crate) state_base: u64,
    /// Bases of deleted segments whose index is still there.
    pub(crate) gone: Vec<u64>,
}

/// Takes the lock of a directory; it is held until the file is dropped.
pub(crate) fn lock(directory: &Path) -> Result<std::fs::File, OpenError> {
    std::fs::create_dir_all(directory).map_err(OpenError::io(directory))?;
    let path = directory.join("LOCK");
    let options = || std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = options().map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for the message of a second process.
            let _ = std::fs::write(&path, std::process::id().to_string());
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
            Err(OpenError::Locked { directory: directory.to_owned(), holder })
        }
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::Io { path, error }),
    }
}

/// Reads what a directory holds; makes it a store when it is empty.
pub(crate) fn open(fs: &dyn Fs, directory: &Path, options: &Options) -> Result<Opened, OpenError> {
    let names = fs.list(directory).map_err(OpenError::io(directory))?;
    let epoch = epoch(fs, directory, &names)?;
    let bases = bases(&names, ".log");
    let mut judge = Judge::new(options.dedup_records);
    let (known, state_base) = newest_state(fs, directory, &names, &bases, &mut judge);
    let Known { mut channels, forgotten } = known;
    if let Some(first) = bases.first().copied().filter(|first| state_base < *first) {
        let what =
            "no .state file can be read and the oldest segments are gone, so the numbers of channels are unknown"
                .to_owned();
        return Err(OpenError::Damaged { file: segment::path(directory, first, "state"), position: 0, what });
    }
    let mut segments = Vec::new();
    for (i, base) in bases.iter().copied().enumerate() {
        let next = bases.get(i + 1).copied();
        let known = next.filter(|next| *next <= state_base);
        let segment = match known {
            Some(next) => sealed(fs, directory, base, next)?,
            None => Some(recover(fs, directory, base, next, &mut channels, &mut judge)?),
        };
        if let Some(segment) = segment {
            if let Some(end) = next.filter(|next| *next != segment.end.load(std::sync::atomic::Ordering::Relaxed)) {
                let what = format!("it ends at another offset than {end}, where the next file begins");
                let position = segment.bytes.load(std::sync::atomic::Ordering::Relaxed);
                return Err(OpenError::Damaged { file: segment.path.clone(), position, what });
            }
            segments.push(Arc::new(segment));
        }
    }
    let gone = note_deleted(fs, directory, &names, segments.first().map_or(0, |s| s.base), &mut channels);
    Ok(Opened { epoch, shared: Shared { segments, channels, forgotten }, judge, state_base, gone })
}

/// Takes into the table what retention deleted since the state was written: all before `start`.
fn note_deleted(fs: &dyn Fs, directory: &Path, names: &[String], start: u64, channels: &mut Channels) -> Vec<u64> {
    let gone: Vec<u64> = bases(names, ".idx").into_iter().filter(|base| *base < start).collect();
    for base in &gone {
        let numbers = segment::last_numbers(fs, &segment::path(directory, *base, "idx"), *base);
        retention::note_gone(channels, &numbers.unwrap_or_default());
    }
    for channel in channels.values_mut().filter(|c| c.last_offset < start) {
        channel.first = channel.last + 1;
    }
    gone
}

fn bases(names: &[String], extension: &str) -> Vec<u64> {
    let mut bases: Vec<u64> = names.iter().filter_map(|n| n.strip_suffix(extension)?.parse().ok()).collect();
    bases.sort_unstable();
    bases
}

fn epoch(fs: &dyn Fs, directory: &Path, names: &[String]) -> Result<u64, OpenError> {
    let path = directory.join("META");
    let io = |error| OpenError::Io { path: path.clone(), error };
    if !names.iter().any(|n| n == "META") {
        if names.iter().any(|n| n.ends_with(".log")) {
            let what = "there are segments and no META file".to_owned();
            return Err(OpenError::Format { file: path, what });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| io(std::io::Error::other(e)))?;
        let epoch = u64::from_le_bytes(random);
        fs::replace(fs, &path, format!("tidegate-store 2\nepoch {epoch:016x}\n").as_bytes()).map_err(io)?;
        return Ok(epoch);
    }
    let bytes = fs::read_all(&*fs.open(&path, false).map_err(io)?).map_err(io)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let parsed =
        text.strip_prefix("tidegate-store 2\nepoch ").and_then(|rest| u64::from_str_radix(rest.trim(), 16).ok());
    parsed.ok_or_else(|| OpenError::Format {
        file: path.clone(),
        what: format!("{:?}", text.lines().next().unwrap_or("")),
    })
}

/// The newest state file that is whole and belongs to a segment, and the offset that it reaches to.
///
/// Where that is not the newest file, the one that was lost may have left out channels, and somebody was told that they
/// stand above all that was forgotten. All of them have no record any more, and nothing was deleted that this one does not
/// cover, so it knows their numbers, and forgets them too.
fn newest_state(fs: &dyn Fs, directory: &Path, names: &[String], segments: &[u64], judge: &mut Judge) -> (Known, u64) {
    let mut lost = false;
    for base in bases(names, ".state").into_iter().rev() {
        let read = fs.open(&segment::path(directory, base, "state"), false).and_then(|f| fs::read_all(&*f));
        if segments.contains(&base)
            && let Ok(bytes) = read
            && let Some(mut known) = state::read(&bytes, base, now_ms(), judge)
        {
            if lost {
                let start = segments.first().copied().unwrap_or_default();
                let empty = known.channels.values().filter(|channel| channel.last_offset < start);
                known.forgotten = empty.map(|channel| channel.last).max().unwrap_or(0).max(known.forgotten);
                known.channels.retain(|_, channel| channel.last_offset >= start);
            }
            return (known, base);
        }
        lost = true;
        tracing::warn!(base, "a state file is damaged or stray, reading more of the log instead");
    }
    (Known::default(), 0)
}

/// A segment that the state covers: its records are read when somebody asks.
fn sealed(fs: &dyn Fs, directory: &Path, base: u64, end: u64) -> Result<Option<Segment>, OpenError> {
    let path = segment::path(directory, base, "log");
    let io = |error| OpenError::Io { path: path.clone(), error };
    let file = fs.open(&path, false).map_err(io)?;
    let bytes = file.size().map_err(io)?;
    let facts = fs.open(&path.with_extension("idx"), false).and_then(|f| fs::read_all(&*f)).ok();
    let facts = facts.and_then(|b| segment::sealed_facts(&b, base));
    if let Some((indexed, _)) = facts.filter(|(indexed, _)| *indexed != end) {
        let what = format!("its index says that it ends at offset {indexed}, the next file begins at {end}");
        return Err(OpenError::Damaged { file: path, position: bytes, what });
    }
    let newest_ms = facts.map_or(i64::MAX, |(_, newest)| newest);
    Ok(Some(Segment::new(base, path, file, end, bytes, newest_ms, None)))
}

struct Scan {
    end: u64,
    position: u64,
    newest_ms: i64,
    sparse: Segment,
}

/// Reads all records of a segment that no state covers.
fn recover(
    fs: &dyn Fs,
    directory: &Path,
    base: u64,
    next: Option<u64>,
    channels: &mut Channels,
    judge: &mut Judge,
) -> Result<Segment, OpenError> {
    let path = segment::path(directory, base, "log");
    let io = |error| OpenError::Io { path: path.clone(), error };
    let file = fs.open(&path, false).map_err(io)?;
    let bytes = fs::read_all(&*file).map_err(io)?;
    let position = if segment::head_is_of(&bytes, base) {
        Some(HEAD)
    } else if next.is_none() && bytes.len() <= HEAD as usize {
        // Torn when it was made; no record was written yet.
        file.set_len(0)
            .and_then(|()| file.write_all_at(&segment::head(base), 0))
            .and_then(|()| file.sync())
            .map_err(io)?;
        None
    } else {
        let what = "it does not begin like a segment".to_owned();
        return Err(OpenError::Format { file: path, what });
    };
    let scratch = Segment::new(base, path.clone(), file, base, HEAD, i64::MIN, Some(Sparse::new()));
    let mut scan = Scan { end: base, position: position.unwrap_or(HEAD), newest_ms: i64::MIN, sparse: scratch };
    let bytes = if position.is_some() { &bytes[..] } else { &[] };
    take_records(bytes, &mut scan, channels, judge, &path)?;
    let Scan { end, position, newest_ms, sparse: segment } = scan;
    if position < bytes.len() as u64 {
        if next.is_some() {
            let what = "it ends in the middle of a record and another segment follows".to_owned();
            return Err(OpenError::Damaged { file: path, position, what });
        }
        let torn = &bytes[usize::try_from(position).unwrap_or(bytes.len())..];
        if torn.iter().any(|byte| *byte != 0) {
            tracing::info!(file = %path.display(), bytes = torn.len(), "cut off the torn end of the last write");
        }
        segment.file.set_len(position).and_then(|()| segment.file.sync()).map_err(io)?;
    }
    segment.end.store(end, std::sync::atomic::Ordering::Relaxed);
    segment.bytes.store(position, std::sync::atomic::Ordering::Relaxed);
    segment.newest_ms.store(newest_ms, std::sync::atomic::Ordering::Relaxed);
    Ok(segment)
}

fn take_records(
    bytes: &[u8],
    scan: &mut Scan,
    channels: &mut Channels,
    judge: &mut Judge,
    path: &Path,
) -> Result<(), OpenError> {
    while (scan.position as usize) < bytes.len() {
        let at = scan.position as usize;
        let damaged =
            |what: &str| OpenError::Damaged { file: PathBuf::from(path), position: at as u64, what: what.to_owned() };
        match format::decode(&bytes[at..]) {
            Found::Record(entry, size) if entry.offset == scan.end => {
                note(&entry, channels, judge);
                scan.sparse.note(entry.offset, scan.position);
                scan.newest_ms = scan.newest_ms.max(entry.time_ms);
                scan.end += 1;
                scan.position += size as u64;
            }
            Found::Record(..) => return Err(damaged("a record has another offset than the one that is due")),
            Found::Bad(what) if acknowledged_follows(&bytes[at..], scan.end) => return Err(damaged(what)),
            Found::Needs(_) if acknowledged_follows(&bytes[at..], scan.end) => {
                return Err(damaged("its length is wrong"));
            }
            Found::Bad(_) | Found::Needs(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Whether a whole record of a later write follows: then the one that is due at `offset` had been acknowledged.
fn acknowledged_follows(bytes: &[u8], offset: u64) -> bool {
    (1..bytes.len()).any(|at| {
        let bytes = &bytes[at..];
        // The two offsets are looked at first: next to nothing else passes for them, and checksums are dear.
        let field = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (Some(own), Some(write_start)) = (field(RECORD_HEAD), field(RECORD_HEAD + 8)) else { return false };
        let plausible = write_start > offset && own >= write_start && own - offset <= bytes.len() as u64 + REACH;
        plausible && matches!(format::decode(bytes), Found::Record(..))
    })
}

/// Records that a damaged stretch may have held, at most.
const REACH: u64 = 1 << 24;

/// Takes a record into the tables.
pub(crate) fn note(entry: &Entry, channels: &mut Channels, judge: &mut Judge) {
    let channel = channels.entry(entry.key.clone()).or_insert(Channel::beginning_at(entry.number));
    if entry.previous == NO_OFFSET {
        // It may have been forgotten since the state that is read.
        *channel = Channel::beginning_at(entry.number);
    }
    *channel = channel.with(entry.number, entry.offset, entry.time_ms, entry.keep);
    if let Some(identity) = &entry.identity {
        judge.note((entry.offset, entry.number), &entry.key, identity);
        judge.keep(judge.noted());
    }
}
