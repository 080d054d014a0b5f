//! Channels that are forgotten, and what holds when they come back.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_store::{Append, ChannelTop, Entry, Follower, Keep, Options, Store};

use crate::rig::{ALL, append, append_all, record};

const NOTHING: Keep = Keep { count: 0, age_s: 0 };

fn options() -> Options {
    Options { segment_bytes: 20_000, history_meta_ttl: Duration::ZERO, ..Options::default() }
}

fn open(directory: &Path, options: Options) -> Store {
    Store::open(directory, options).unwrap()
}

fn passing(key: &str) -> Append {
    Append { keep: NOTHING, ..record(key, &"x".repeat(100)) }
}

/// Appends to `on` until something holds.
fn until(store: &Store, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        append(store, passing("on")).unwrap();
    }
}

/// A store that has nothing of `long`, with 50 records, and `short`, with 5.
fn emptied(directory: &Path, options: Options) -> Store {
    let store = open(directory, options);
    for (key, count) in [("short", 5), ("long", 50)] {
        assert!(append_all(&store, vec![passing(key); count]).into_iter().all(|r| r.is_ok()));
    }
    until(&store, "their records are deleted", || store.bounds().start > 55);
    store
}

/// A store that has forgotten them too.
fn forgetful(directory: &Path) -> Store {
    let store = emptied(directory, options());
    until(&store, "both are forgotten", || store.channels() == 1);
    store
}

fn begins_after(last: u64) -> ChannelTop {
    ChannelTop { last, first_kept: last + 1 }
}

#[test]
fn a_channel_that_comes_back_goes_on_above_every_number_that_was_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = forgetful(directory.path());
    for key in ["short", "long", "never"] {
        assert_eq!(store.channel_top(key), begins_after(50), "{key}");
        let page = store.read_channel(key, 5, ALL).unwrap();
        assert!(page.entries.is_empty() && page.top == begins_after(50), "a position of before is gone");
    }
    assert_eq!(append(&store, passing("short")).unwrap().number, 51);
    drop(store);

    let store = open(directory.path(), options());
    assert_eq!(store.channel_top("long"), begins_after(50), "also after a start");
    let numbers: Vec<_> = ["short", "long"].map(|key| append(&store, passing(key)).unwrap().number).into();
    assert_eq!(numbers, [52, 51]);
    let page = store.read_channel("short", 5, ALL).unwrap();
    let numbers: Vec<_> = page.entries.iter().map(|e| e.number).collect();
    assert_eq!((numbers.as_slice(), page.top), ([51, 52].as_slice(), ChannelTop { last: 52, first_kept: 51 }));
}

#[test]
fn a_channel_is_remembered_while_it_is_young_or_has_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let young = Options { history_meta_ttl: Duration::from_secs(60), ..options() };
    let store = open(directory.path(), young.clone());
    append(&store, passing("young")).unwrap();
    until(&store, "its record is deleted", || store.channel_top("young").first_kept == 2);
    let start = store.bounds().start;
    until(&store, "more is deleted", || store.bounds().start > start + 1_000);
    assert_eq!(store.channel_top("young"), begins_after(1));
    append(&store, Append { keep: Keep { count: 1, age_s: u32::MAX }, ..record("kept", "x") }).unwrap();
    drop(store);

    let store = open(directory.path(), young);
    assert_eq!(store.channels(), 3);
    drop(store);
    let store = open(directory.path(), options());
    until(&store, "it is forgotten", || store.channels() == 2);
    assert_eq!(store.channel_top("kept"), ChannelTop { last: 1, first_kept: 1 });
}

#[test]
fn a_start_that_lost_the_newest_state_begins_no_lower() {
    let directory = tempfile::tempdir().unwrap();
    drop(emptied(directory.path(), Options { history_meta_ttl: Duration::from_secs(60), ..options() }));
    // The state before the newest remembers them.
    let store = open(directory.path(), Options { delete_unwanted: false, ..options() });
    until(&store, "both are forgotten", || store.channels() == 1);
    drop(store);
    let names = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path());
    let mut states: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "state")).collect();
    states.sort();
    assert_eq!(states.len(), 2);
    std::fs::write(states.pop().unwrap(), "damaged").unwrap();
    let store = open(directory.path(), options());
    for key in ["short", "long", "never"] {
        let told = store.channel_top(key).last;
        assert!(told >= 50, "{key} at {told}");
        assert!(append(&store, passing(key)).unwrap().number > told, "{key}");
    }
}

#[test]
fn names_that_never_come_back_take_no_more_than_those_of_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options { segment_bytes: 1 << 20, ..options() });
    let mut most = 0;
    for batch in 0..200 {
        let all = (0..1_000).map(|n| passing(&format!("request-{batch}-{n}"))).collect();
        assert!(append_all(&store, all).into_iter().all(|r| r.is_ok()));
        most = most.max(store.channels());
    }
    assert!(most < 40_000, "{most} of 200,000");
    assert!(store.channel_top("request-0-0").last >= 1);
}

/// Checks that numbers of a channel rise, whatever was forgotten between them.
#[derive(Default)]
struct Rising(Mutex<HashMap<Arc<str>, u64>>);

impl Follower for Rising {
    fn records(&self, entries: &[Entry], _: u64) {
        let mut last = self.0.lock().unwrap();
        for entry in entries {
            let before = last.insert(entry.key.clone(), entry.number).unwrap_or(0);
            assert!(entry.number > before, "{}: {} after {before}", entry.key, entry.number);
        }
    }

    fn truncated(&self, _: u64) {
        panic!("it panicked over what it was given");
    }
}

#[test]
fn channels_come_and_go_under_load_and_none_gets_anothers_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path(), options()));
    let rising = Arc::new(Rising::default());
    store.follow(0, rising.clone()).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread: usize| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut random = thread as u64;
                let mut key = || {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Some often, most seldom.
                    format!("c{}", (random >> 33) % if random >> 63 == 0 { 20 } else { 3_000 })
                };
                for _ in 0..100 {
                    let all = (0..100).map(|_| passing(&key())).collect();
                    assert!(append_all(&store, all).into_iter().all(|r| r.is_ok()));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    until(&store, "most are forgotten", || store.channels() < 2_000);
    until(&store, "all were told", || rising.0.lock().unwrap().len() > 2_500);
    let last = rising.0.lock().unwrap().clone();
    for (key, number) in last {
        let top = store.channel_top(&key);
        assert!(top.last >= number, "{key}: {top:?}");
        let page = store.read_channel(&key, 0, ALL).unwrap();
        let numbers: Vec<_> = page.entries.iter().map(|e| e.number).collect();
        assert_eq!(numbers, (page.top.first_kept..=page.top.last).collect::<Vec<_>>(), "{key}");
    }
}
