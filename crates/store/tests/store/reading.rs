//! Pages of a channel: right whatever the limits, and at a price that other channels do not raise.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidegate_store::{File, Fs, Options, PageLimits, ReadError, RealFs, Store};

use crate::rig::{ALL, append, append_all, everything, fill, record, segments};

/// The machine's file system, counting reads.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

struct Counted(Box<dyn File>, Arc<AtomicU64>);

impl File for Counted {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.1.fetch_add(1, Relaxed);
        self.0.read_at(buffer, position)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl Fs for Counting {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Counted(RealFs.open(path, create)?, self.0.clone())))
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealFs.list(directory)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        RealFs.sync_directory(directory)
    }
}

/// `hot` has every second record of 24,000, `cold` every 400th, a crowd the rest.
fn crowd(directory: &Path, fs: Counting) -> Store {
    let options = Options { segment_bytes: 400_000, ..Options::default() };
    let store = Store::open_on(Arc::new(fs), directory, options).unwrap();
    for chunk in (0..24_000).collect::<Vec<_>>().chunks(500) {
        let key = |n: usize| match n {
            n if n % 400 == 0 => "cold".to_owned(),
            n if n % 2 == 0 => "hot".to_owned(),
            n => format!("crowd-{}", n % 97),
        };
        let all = chunk.iter().map(|n| record(&key(*n), &"x".repeat(n % 113))).collect();
        assert!(append_all(&store, all).into_iter().all(|r| r.is_ok()));
    }
    store
}

fn check(store: &Store, key: &str, expected: &[u64], after: u64, limits: PageLimits) {
    let page = store.read_channel(key, after, limits).unwrap();
    let numbers: Vec<_> = page.entries.iter().map(|e| e.number).collect();
    let rest: Vec<_> = expected.iter().copied().filter(|n| *n > after).collect();
    assert!(rest.starts_with(&numbers) && page.entries.iter().all(|e| &*e.key == key), "{key} {after} {limits:?}");
    assert_eq!(numbers.is_empty(), rest.is_empty(), "{key} {after} {limits:?}");
    let bytes: Vec<_> = page.entries.iter().map(|e| e.key.len() + e.payload.len()).collect();
    assert!(numbers.len() == 1 || bytes.iter().sum::<usize>() <= limits.bytes_max.max(1), "{key} {after} {limits:?}");
    // It ends where a limit or the channel ends it, and nowhere else.
    let short = numbers.len() < rest.len().min(limits.records_max);
    assert!(!short || bytes.iter().sum::<usize>() + 200 > limits.bytes_max, "{key} {after} {limits:?}");
}

#[test]
fn pages_are_right_from_anywhere_with_any_limits() {
    let directory = tempfile::tempdir().unwrap();
    drop(crowd(directory.path(), Counting::default()));
    let store = Store::open_on(Arc::new(Counting::default()), directory.path(), Options::default()).unwrap();
    let entries = everything(&store);
    for key in ["hot", "cold", "crowd-5"] {
        let expected: Vec<_> = entries.iter().filter(|e| &*e.key == key).map(|e| e.number).collect();
        assert_eq!(expected, (1..=expected.len() as u64).collect::<Vec<_>>());
        for after in [0, 1, 59, 62, 63, 64, 65, 127, 4_031, 4_095, 4_096, 8_200, 11_875, 11_939, u64::MAX] {
            for records_max in [1, 2, 63, 64, 65, 700] {
                for bytes_max in [0, 90, 5_000, usize::MAX] {
                    check(&store, key, &expected, after, PageLimits { records_max, bytes_max });
                }
            }
        }
    }
}

#[test]
fn a_page_far_behind_costs_its_own_records() {
    let directory = tempfile::tempdir().unwrap();
    let counting = Counting::default();
    let store = crowd(directory.path(), counting.clone());
    let reads = |key, after, records_max| {
        store.read_channel(key, after, PageLimits { records_max, bytes_max: usize::MAX }).unwrap();
        let before = counting.0.load(Relaxed);
        store.read_channel(key, after, PageLimits { records_max, bytes_max: usize::MAX }).unwrap();
        counting.0.load(Relaxed) - before
    };
    // Each record of `hot` that is looked at far away is a read at most; neighbours share one.
    for after in [0, 1_000, 6_000, 11_000] {
        let reads = reads("hot", after, 50);
        assert!(reads <= 160, "{reads} reads for 50 records after {after}");
    }
    assert!(reads("hot", 0, 1_000) <= 260, "{} reads for 1,000 neighbours", reads("hot", 0, 1_000));
    assert!(reads("cold", 0, 10) <= 60, "{} reads for a rare channel", reads("cold", 0, 10));
}

#[test]
fn damage_in_a_sealed_segment_fails_who_reads_it_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { segment_bytes: 20_000, ..Options::default() };
    fill(&Store::open(directory.path(), options()).unwrap(), 1_500);
    let log = segments(directory.path()).remove(2);
    let mut bytes = std::fs::read(&log).unwrap();
    let payload = bytes.windows(20).position(|w| w.iter().all(|b| *b == b'x')).unwrap();
    bytes[payload] ^= 1;
    std::fs::write(&log, bytes).unwrap();

    let store = Store::open(directory.path(), options()).unwrap();
    assert_eq!(store.damage(), "", "sealed segments are not read at a start");
    let page = store.read(0, u64::MAX, ALL).unwrap();
    let damaged = page.next;
    assert_eq!(page.entries.len() as u64, damaged, "what lies before it is read");
    let error = store.read(damaged, u64::MAX, ALL).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("is damaged at byte") && error.to_string().contains("backup"), "{error}");
    assert_eq!(store.damage(), error.to_string());
    assert_eq!(store.read(damaged + 1, u64::MAX, ALL).unwrap().next, 1_500, "and what lies after it");

    let (key, number) = (format!("c{}", damaged % 3), damaged / 3 + 1);
    assert!(matches!(store.read_channel(&key, number - 1, ALL), Err(ReadError::Damaged { .. })));
    let after = store.read_channel(&key, number, ALL).unwrap();
    assert_eq!(after.entries.first().map(|e| e.number), Some(number + 1));
    for other in ["c0", "c1", "c2"].into_iter().filter(|other| *other != key) {
        assert_eq!(store.read_channel(other, 0, ALL).unwrap().entries.len(), 500, "{other}");
    }
    assert_eq!(append(&store, record(&key, "on")).unwrap().number, 501);

    let cut = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    cut.set_len(10_000).unwrap();
    let base = store.read(0, damaged, ALL).unwrap().next;
    let mut at = damaged + 1;
    let error = loop {
        match store.read(at, u64::MAX, ALL) {
            Ok(page) => at = page.next,
            Err(error) => break error,
        }
    };
    assert!(base == damaged && matches!(error, ReadError::Damaged { .. }), "{error}");
}
