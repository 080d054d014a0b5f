//! What is deleted, and what everybody is told of it, also after a start.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_store::{Append, ChannelTop, Keep, Options, ReadError, Store};

use crate::faulty::FaultyFs;
use crate::rig::{ALL, append, append_all, everything, files, fill, record, segments};

fn small() -> Options {
    Options { segment_bytes: 20_000, ..Options::default() }
}

fn open(directory: &Path, options: Options) -> Store {
    Store::open(directory, options).unwrap()
}

/// Appends to `c2` until the store has deleted what it may.
fn until(store: &Store, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        append(store, Append { keep: Keep { count: 1, age_s: u32::MAX }, ..record("c2", "on") }).unwrap();
    }
}

fn tops(store: &Store) -> Vec<ChannelTop> {
    ["c0", "c1", "c2"].iter().map(|key| store.channel_top(key)).collect()
}

fn check_pages(store: &Store, key: &str) {
    let top = store.channel_top(key);
    let page = store.read_channel(key, 0, ALL).unwrap();
    let numbers: Vec<_> = page.entries.iter().map(|e| e.number).collect();
    assert_eq!(numbers, (top.first_kept..=top.last).collect::<Vec<_>>(), "{key}");
    assert_eq!(page.top, top);
}

#[test]
fn old_segments_go_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options { retention_age: Some(Duration::ZERO), ..small() });
    append(&store, record("gone", "1")).unwrap();
    fill(&store, 1_000);
    until(&store, "old segments are deleted", || store.bounds().start > 900);
    assert!(matches!(store.read(0, 10, ALL), Err(ReadError::OutOfRange { offset: 0, .. })));
    assert_eq!(store.channel_top("gone"), ChannelTop { last: 1, first_kept: 2 });
    drop(store);
    let store = open(directory.path(), small());
    assert_eq!(store.channel_top("gone"), ChannelTop { last: 1, first_kept: 2 });
    assert_eq!(append(&store, record("gone", "on")).unwrap().number, 2);
    assert_eq!(append(&store, record("c0", "on")).unwrap().number, 335);
}

#[test]
fn a_start_knows_what_was_deleted_after_the_newest_state() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), small());
    fill(&store, 3_000);
    drop(store);
    // Deleted all at once, and no segment is sealed afterwards.
    let options = Options { retention_bytes: Some(60_000), ..small() };
    let store = open(directory.path(), options.clone());
    let count = segments(directory.path()).len();
    assert!(count > 8);
    let bytes = || segments(directory.path()).iter().map(|log| log.metadata().map_or(0, |m| m.len())).sum::<u64>();
    while bytes() > 60_000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = tops(&store);
    assert!(before.iter().all(|top| top.first_kept > 400));
    drop(store);
    let store = open(directory.path(), options.clone());
    assert_eq!(tops(&store), before);
    ["c0", "c1", "c2"].iter().for_each(|key| check_pages(&store, key));
    // The indexes that told it are removed once two newer states know.
    fill(&store, 1_500);
    let indexes = || files(directory.path(), "idx").len();
    until(&store, "older indexes are removed", || indexes() < count);
    let kept = before.iter().map(|top| top.first_kept).max().unwrap();
    until(&store, "more is deleted", || tops(&store).iter().all(|top| top.first_kept > kept));
    let before = tops(&store);
    drop(store);
    let store = open(directory.path(), options);
    assert!(tops(&store).iter().zip(&before).all(|(now, before)| now.first_kept >= before.first_kept));
    ["c0", "c1", "c2"].iter().for_each(|key| check_pages(&store, key));
}

#[test]
fn a_start_that_lost_indexes_finds_out_when_a_channel_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path(), small()), 3_000);
    let oldest = segments(directory.path());
    for log in &oldest[..4] {
        std::fs::remove_file(log).unwrap();
        std::fs::remove_file(log.with_extension("idx")).unwrap();
    }
    let store = open(directory.path(), small());
    for key in ["c0", "c1", "c2"] {
        let page = store.read_channel(key, 0, ALL).unwrap();
        assert!(page.entries[0].number > 100 && page.entries[0].number == page.top.first_kept);
        assert_eq!(page.entries.last().unwrap().number, 1_000);
        check_pages(&store, key);
    }
}

#[test]
fn a_segment_whose_index_was_lost_gets_a_new_one_and_goes_like_others() {
    let directory = tempfile::tempdir().unwrap();
    let none = Keep { count: 0, age_s: 0 };
    let store = open(directory.path(), Options { delete_unwanted: false, ..small() });
    for _ in 0..1_000 {
        append(&store, Append { keep: none, ..record("c0", &"x".repeat(100)) }).unwrap();
    }
    drop(store);
    // As after a crash between a segment's end and its index.
    let oldest = segments(directory.path()).remove(0).with_extension("idx");
    let content = std::fs::read(&oldest).unwrap();
    std::fs::remove_file(&oldest).unwrap();
    let age = Some(Duration::from_secs(3_600));
    let store = open(directory.path(), Options { delete_unwanted: false, retention_age: age, ..small() });
    let begun = Instant::now();
    while !oldest.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the index is made again");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(std::fs::read(&oldest).unwrap(), content);
    drop(store);
    std::fs::remove_file(&oldest).unwrap();
    let store = open(directory.path(), small());
    until(&store, "unwanted segments are deleted", || store.channel_top("c0").first_kept == 1_001);
}

#[test]
fn segments_go_when_no_channel_wants_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), small());
    let few = Keep { count: 10, age_s: u32::MAX };
    let add = |key: &str, keep| append(&store, Append { keep, ..record(key, &"x".repeat(100)) }).unwrap();
    add("pin", Keep { count: 1, age_s: u32::MAX });
    for n in 0..2_000 {
        add(&format!("c{}", n % 3), few);
    }
    assert_eq!(store.bounds().start, 0, "one record that is wanted keeps all");
    add("pin", Keep { count: 1, age_s: u32::MAX });
    until(&store, "unwanted segments are deleted", || segments(directory.path()).len() <= 3);
    for key in ["c0", "c1", "pin"] {
        let top = store.channel_top(key);
        assert!(top.last - top.first_kept + 1 >= top.last.min(1), "{key}: {top:?}");
        check_pages(&store, key);
    }
    assert!(store.channel_top("c0").last - store.channel_top("c0").first_kept >= 9);
    drop(store);

    let store = open(directory.path(), Options { delete_unwanted: false, ..small() });
    let start = store.bounds().start;
    let all = (0..1_000).map(|_| Append { keep: few, ..record("c0", &"x".repeat(100)) }).collect();
    assert!(append_all(&store, all).into_iter().all(|r| r.is_ok()));
    assert_eq!(store.bounds().start, start, "it was told to delete nothing");
}

#[test]
fn what_a_channel_wants_is_known_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let none = Keep { count: 0, age_s: 0 };
    let store = open(directory.path(), Options { delete_unwanted: false, ..small() });
    for _ in 0..1_000 {
        append(&store, Append { keep: none, ..record("c0", &"x".repeat(100)) }).unwrap();
    }
    drop(store);
    let store = open(directory.path(), small());
    until(&store, "unwanted segments are deleted", || store.channel_top("c0").first_kept == 1_001);
}

#[test]
fn what_is_too_much_goes_also_where_segments_fill_as_fast_as_states_are_written() {
    let fs = FaultyFs::default();
    fs.0.lock().unwrap().names_take = Duration::from_millis(4);
    let options = Options { retention_bytes: Some(100_000), delete_unwanted: false, ..small() };
    let store = Store::open_on(Arc::new(fs), Path::new("/log"), options).unwrap();
    let mut most = 0;
    for _ in 0..150 {
        fill(&store, 150);
        let bounds = store.bounds();
        most = most.max(bounds.end - bounds.start);
    }
    assert!(most < 5_000, "{most} of 22,500 records");
}

#[test]
fn a_file_that_cannot_be_removed_leaves_no_hole() {
    let fs = FaultyFs::default();
    let options = || Options { retention_bytes: Some(100_000), delete_unwanted: false, ..small() };
    let open = |fs: &FaultyFs| Store::open_on(Arc::new(fs.clone()), Path::new("/log"), options()).unwrap();
    let store = open(&fs);
    fill(&store, 1_500);
    fs.0.lock().unwrap().no_removal = true;
    // The first goes from the list, and no other.
    fill(&store, 1_500);
    let start = store.bounds().start;
    fill(&store, 1_500);
    assert_eq!(store.bounds().start, start, "nothing newer is deleted");
    drop(store);
    let store = open(&fs);
    let offsets: Vec<_> = everything(&store).iter().map(|entry| entry.offset).collect();
    assert!(offsets.len() > 3_000 && offsets.windows(2).all(|two| two[0] + 1 == two[1]));
    fs.0.lock().unwrap().no_removal = false;
    until(&store, "it is deleted after all", || store.bounds().start > start);
    let begun = Instant::now();
    while store.bounds().end - store.bounds().start > 3_000 {
        assert!(begun.elapsed() < Duration::from_secs(30), "and the others");
        fill(&store, 50);
    }
}
