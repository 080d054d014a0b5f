//! What the store costs beside the bare disk, as ratios taken in one run:
//!
//! - `append`: batches of 1,000 records, beside one write and one fdatasync of the same bytes per batch;
//! - `open`: a start after `kill -9`, beside reading and checksumming the last segment and all indexes, and how a log of
//!   four times the size compares.
//!
//! Prints Markdown; ends with 1 when a bar is missed.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::Parser;
use tidegate_store::{Append, AppendError, Appended, Keep, Options, Store};

/// Measures the store beside the bare disk
#[derive(Parser)]
struct Args {
    /// A directory on the disk that is measured; needs six times the size
    #[arg(long, default_value = "target/store-bench")]
    dir: PathBuf,
    /// Interleaved rounds; medians count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB of the smaller log; the larger one has four times as many
    #[arg(long, default_value_t = 1_024)]
    size: u64,
    /// Fills a log until it is killed
    #[arg(long, hide = true)]
    fill: bool,
}

const BATCH: usize = 1_000;
const BATCHES: usize = 100;
/// Batches under way: while one is synced the next gathers.
const IN_FLIGHT: usize = 4;
const PAYLOAD_BYTES_MAX: usize = 1_024;
const CHANNELS: usize = 10_000;
const APPEND_AT_LEAST: f64 = 0.6;
const OPEN_AT_MOST: f64 = 3.0;
const GROWTH_AT_MOST: f64 = 1.3;

fn main() -> ExitCode {
    let args = Args::parse();
    let run = if args.fill { fill(&args.dir).map(|()| true) } else { measure(&args) };
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> io::Result<bool> {
    std::fs::create_dir_all(&args.dir)?;
    println!("| store | measured | bar | reached |\n| --- | --- | --- | --- |");
    let append = append(args)?;
    let row = |what: &str, ratios: &[f64], bar: &str, yes: bool| {
        let (median, least, most) = spread(ratios);
        println!("| {what} | {median:.2} ({least:.2}-{most:.2}) | {bar} | {} |", if yes { "yes" } else { "**no**" });
        yes
    };
    let mut all = row(
        "batches of 1,000 records of 128 B, rate beside write + fdatasync of the same bytes",
        &append,
        ">= 0.6",
        spread(&append).0 >= APPEND_AT_LEAST,
    );
    let [small, large] = [args.size, 4 * args.size].map(|mib| Killed::new(&args.dir.join(format!("log-{mib}")), mib));
    let (small, large) = (small?, large?);
    let mut open = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let (floor, first, second) = (small.checksum()?, small.open()?, large.open()?);
        open.0.push(first / floor);
        open.1.push(second / first);
    }
    let title = format!("open {} MiB after kill -9, beside a checksum of last segment and indexes", args.size);
    all &= row(&title, &open.0, "<= 3", spread(&open.0).0 <= OPEN_AT_MOST);
    let title = format!("open {} MiB of the same channels, beside {} MiB", 4 * args.size, args.size);
    all &= row(&title, &open.1, "<= 1.3", spread(&open.1).0 <= GROWTH_AT_MOST);
    Ok(all)
}

/// Median, least and most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    (at(sorted.len() / 2), at(0), at(sorted.len().saturating_sub(1)))
}

/// Records with payloads of so many bytes over the channels in turn.
fn records(payload_bytes: usize) -> impl Iterator<Item = Append> {
    let keys: Vec<Arc<str>> = (0..CHANNELS).map(|n| format!("channel-{n}").into()).collect();
    // Static: a count that two threads share for every record would cost more than the store.
    let payload = bytes::Bytes::from_static(&[b'x'; PAYLOAD_BYTES_MAX]).slice(..payload_bytes);
    (0..).map(move |n: usize| Append {
        key: keys[n % CHANNELS].clone(),
        meta: bytes::Bytes::new(),
        payload: payload.clone(),
        identity: None,
        keep: Keep::ALL,
    })
}

/// The store's rate by that of the disk, once per round.
fn append(args: &Args) -> io::Result<Vec<f64>> {
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let directory = args.dir.join(format!("append-{round}"));
        let (took, bytes) = append_to_store(&directory)?;
        let bare = write_bare(&args.dir.join("bare"), bytes / BATCHES)?;
        std::fs::remove_dir_all(&directory)?;
        let per_batch = |took: Duration| took / BATCHES as u32;
        eprintln!("batch of {} bytes: store {:?}, bare {:?}", bytes / BATCHES, per_batch(took), per_batch(bare));
        ratios.push(bare.as_secs_f64() / took.as_secs_f64());
    }
    Ok(ratios)
}

/// How long all batches took, and the bytes they became.
fn append_to_store(directory: &Path) -> io::Result<(Duration, usize)> {
    let options = Options { segment_bytes: 1 << 30, ..Options::default() };
    let store = Store::open(directory, options).map_err(io::Error::other)?;
    let mut records = records(128);
    let began = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..BATCHES {
        if waiting.len() == IN_FLIGHT {
            await_batch(waiting.remove(0))?;
        }
        let (ended, answer) = channel();
        let batch = Arc::new(Batch { left: AtomicUsize::new(BATCH), ended });
        for record in records.by_ref().take(BATCH) {
            let batch = batch.clone();
            store.append(record, Box::new(move |result| batch.done(result)));
        }
        waiting.push(answer);
    }
    waiting.into_iter().try_for_each(await_batch)?;
    let took = began.elapsed();
    drop(store);
    Ok((took, files(directory, "log")?.iter().map(|(_, bytes)| *bytes as usize).sum()))
}

/// Wakes who waits once, when its last record is stored.
struct Batch {
    left: AtomicUsize,
    ended: Sender<Result<(), AppendError>>,
}

impl Batch {
    fn done(&self, result: Result<Appended, AppendError>) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 || result.is_err() {
            // Nobody listens any more after an error, which was told already.
            let _ = self.ended.send(result.map(drop));
        }
    }
}

fn await_batch(answer: Receiver<Result<(), AppendError>>) -> io::Result<()> {
    answer.recv().map_err(io::Error::other)?.map_err(io::Error::other)
}

fn write_bare(path: &Path, batch_bytes: usize) -> io::Result<Duration> {
    let file = File::create(path)?;
    let batch = vec![b'x'; batch_bytes];
    let began = Instant::now();
    for n in 0..BATCHES {
        file.write_all_at(&batch, (n * batch_bytes) as u64)?;
        file.sync_data()?;
    }
    let took = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

/// A log whose writer was killed. Removed when it is dropped.
struct Killed(PathBuf);

impl Killed {
    /// Fills a log to so many MiB and half a segment, so that logs of all sizes have as much behind their last index.
    fn new(directory: &Path, mib: u64) -> io::Result<Self> {
        eprintln!("filling {} with {mib} MiB", directory.display());
        let killed = Self(directory.to_owned());
        let segment = Options::default().segment_bytes;
        let full = usize::try_from((mib << 20).div_ceil(segment)).unwrap_or(usize::MAX);
        let mut writer =
            Writer(Command::new(std::env::current_exe()?).arg("--fill").arg("--dir").arg(directory).spawn()?);
        let is_filled = || {
            let files = files(directory, "log").unwrap_or_default();
            files.len() > full && files.iter().max().is_some_and(|(_, bytes)| *bytes >= segment / 2)
        };
        while !is_filled() {
            if let Some(status) = writer.0.try_wait()? {
                return Err(io::Error::other(format!("the writer ended with {status}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(killed)
    }

    /// Seconds until the store is open.
    fn open(&self) -> io::Result<f64> {
        let began = Instant::now();
        let store = Store::open(&self.0, Options::default()).map_err(io::Error::other)?;
        let took = began.elapsed().as_secs_f64();
        assert!(store.bounds().end > 0, "something was written");
        Ok(took)
    }

    /// Seconds to read and checksum what a start cannot do without.
    fn checksum(&self) -> io::Result<f64> {
        let last = files(&self.0, "log")?.into_iter().map(|(path, _)| path).max();
        let paths = last.into_iter().chain(files(&self.0, "idx")?.into_iter().map(|(path, _)| path));
        let began = Instant::now();
        for path in paths {
            std::hint::black_box(crc32c::crc32c(&std::fs::read(path)?));
        }
        Ok(began.elapsed().as_secs_f64())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // What stays behind is in the way of nobody but the disk.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Killed when it is dropped, as its kind ends.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Appends until it is killed.
fn fill(directory: &Path) -> io::Result<()> {
    let store = Store::open(directory, Options::default()).map_err(io::Error::other)?;
    let (done, answers) = mpsc::sync_channel::<Result<(), AppendError>>(64 * BATCH);
    for (n, record) in records(1_024).enumerate() {
        let done = done.clone();
        store.append(record, Box::new(move |result| drop(done.send(result.map(drop)))));
        if n >= 8 * BATCH {
            answers.recv().map_err(io::Error::other)?.map_err(io::Error::other)?;
        }
    }
    io::stdout().flush()
}

/// Files of a directory by extension, with their sizes.
fn files(directory: &Path, extension: &str) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == extension) {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}
