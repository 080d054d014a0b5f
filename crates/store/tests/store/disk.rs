//! On a real disk: numbers, reading, starting, retention, errors.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use tidegate_store::{Append, Entry, Follower, Identity, Options, PageLimits, Store};

use crate::rig::{ALL, append, append_all, everything, fill, keyed, record, segments};

fn open(directory: &Path) -> Store {
    Store::open(directory, Options { segment_bytes: 20_000, ..Options::default() }).unwrap()
}

#[test]
fn channels_are_numbered_from_one_without_holes_across_starts() {
    let directory = tempfile::tempdir().unwrap();
    let epoch = open(directory.path()).epoch();
    for round in 0..4 {
        let store = open(directory.path());
        assert_eq!(store.epoch(), epoch);
        fill(&store, 600);
        let entries = everything(&store);
        assert_eq!(entries.len(), 600 * (round + 1));
        for key in ["c0", "c1", "c2"] {
            let numbers: Vec<_> = entries.iter().filter(|e| &*e.key == key).map(|e| e.number).collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
            assert_eq!(store.channel_top(key).last, numbers.len() as u64);
        }
        assert!(entries.iter().enumerate().all(|(i, e)| e.offset == i as u64));
    }
    assert!(segments(directory.path()).len() > 3);
}

#[test]
fn what_was_appended_before_the_store_is_closed_is_stored_and_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    for round in 0..30 {
        let store = open(directory.path());
        let (answers, answered) = mpsc::channel();
        // Groups that are written while others are judged, and some that were not begun.
        let count = 300 + 40 * round;
        for _ in 0..count {
            let answers = answers.clone();
            store.append(record("c", &"x".repeat(90)), Box::new(move |result| answers.send(result).unwrap()));
        }
        store.close();
        drop(answers);
        for result in answered {
            number += 1;
            assert_eq!(result.unwrap().number, number);
        }
        assert_eq!(store.channel_top("c").last, number);
    }
}

#[test]
fn a_channel_is_read_by_pages_from_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, 900);
    for after in [0, 1, 150, 298, 299, 300, 900] {
        let page = store.read_channel("c1", after, ALL).unwrap();
        let numbers: Vec<_> = page.entries.iter().map(|e| e.number).collect();
        assert_eq!(numbers, (after + 1..=300).collect::<Vec<_>>());
        assert_eq!((page.top.last, page.top.first_kept), (300, 1));
    }
    let page = store.read_channel("c1", 10, PageLimits { records_max: 5, bytes_max: usize::MAX }).unwrap();
    assert_eq!(page.entries.iter().map(|e| e.number).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
    assert!(store.read_channel("nobody", 0, ALL).unwrap().entries.is_empty());
}

#[test]
fn duplicates_and_old_versions_store_nothing_also_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let keyed = |id: &str| Append { identity: keyed(id), ..record("c", "x") };
    let version = |n| Identity { version_epoch: "e".into(), version: n, ..Identity::default() };
    let versioned = |n| Append { identity: Some(Box::new(version(n))), ..record("v", "x") };
    let first = {
        let store = open(directory.path());
        let first = append(&store, keyed("a")).unwrap();
        let group =
            append_all(&store, vec![keyed("b"), keyed("b"), keyed("a"), versioned(5), versioned(4), versioned(6)]);
        let suppressed: Vec<_> = group.iter().map(|r| r.as_ref().unwrap().suppressed).collect();
        assert_eq!(suppressed, [false, true, true, false, true, false]);
        fill(&store, 2_000);
        first
    };
    let store = open(directory.path());
    let again = append(&store, keyed("a")).unwrap();
    assert_eq!((again.offset, again.number, again.suppressed), (first.offset, first.number, true));
    assert!(append(&store, versioned(6)).unwrap().suppressed);
    assert_eq!(append(&store, versioned(7)).unwrap().number, 3);
}

#[test]
fn a_start_without_index_and_state_files_reads_the_records_instead() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1_500);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "idx" || e == "state") {
            fs::remove_file(path).unwrap();
        }
    }
    let store = open(directory.path());
    assert_eq!(everything(&store).len(), 1_500);
    assert_eq!(store.channel_top("c0").last, 500);
}

#[derive(Default)]
struct Seen(Mutex<Vec<u64>>);

impl Follower for Seen {
    fn records(&self, entries: &[Entry], next: u64) {
        assert!(entries.iter().all(|e| e.offset < next));
        self.0.lock().unwrap().extend(entries.iter().map(|e| e.offset));
    }

    fn truncated(&self, _: u64) {}
}

#[test]
fn followers_see_everything_once_and_in_order_however_they_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let writer = {
        let store = store.clone();
        std::thread::spawn(move || fill(&store, 3_000))
    };
    let mut followers = Vec::new();
    while !writer.is_finished() {
        let seen = Arc::new(Seen::default());
        followers.push((store.follow(0, seen.clone()).unwrap(), seen));
    }
    writer.join().unwrap();
    for (id, seen) in followers {
        store.unfollow(id);
        assert_eq!(*seen.0.lock().unwrap(), (0..3_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let error = Store::open(directory.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
}

#[test]
fn damage_in_the_middle_is_named_and_a_torn_end_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    fill(&store, 500);
    drop(store);
    let log = segments(directory.path()).remove(0);
    let whole = fs::read(&log).unwrap();

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let error = Store::open(directory.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte") && error.contains("restore the file from a backup"), "{error}");

    fs::write(&log, &whole[..whole.len() - 3]).unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(store.bounds().end, 499);
    drop(store);

    fs::write(&log, b"something else altogether").unwrap();
    let error = Store::open(directory.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("is not of a format that this version reads"), "{error}");
}
