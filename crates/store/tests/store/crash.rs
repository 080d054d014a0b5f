//! Crashes at any operation: nothing acknowledged is lost, no number is used twice, nothing that was given to a follower
//! is taken back, and a duplicate stays one. The same while segments are deleted that no channel wants, and while channels
//! are forgotten.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_store::{Append, Entry, Follower, Keep, Options, Store};

use crate::faulty::FaultyFs;
use crate::rig::{Told, append_all, everything, keyed, record};

#[derive(Default)]
struct Given(Mutex<Vec<(u64, u64, String)>>);

fn facts(e: &Entry) -> (u64, u64, String) {
    (e.offset, e.number, String::from_utf8(e.payload.to_vec()).unwrap())
}

impl Follower for Given {
    fn records(&self, entries: &[Entry], _: u64) {
        self.0.lock().unwrap().extend(entries.iter().map(facts));
    }

    fn truncated(&self, _: u64) {}
}

fn options() -> Options {
    Options { segment_bytes: 6_000, ..Options::default() }
}

/// One life of the store: appends groups until the machine stops or all are done.
fn live(fs: &FaultyFs, life: u64, keep: Keep, acknowledged: &mut HashMap<String, (u64, u64)>, given: &Arc<Given>) {
    let Ok(store) = Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options()) else { return };
    let from = store.bounds().end;
    store.follow(from, given.clone()).unwrap();
    for group in 0..12 {
        let payloads: Vec<_> =
            (0..7).map(|n| format!("{life}-{group}-{n}-{}", "x".repeat((group as usize * 31 + n) % 200))).collect();
        let all = payloads.iter().enumerate().map(|(n, payload)| Append {
            identity: if n == 3 { keyed(payload) } else { None },
            keep,
            ..record(&format!("c{}", n % 2), payload)
        });
        for (payload, result) in payloads.iter().zip(append_all(&store, all.collect())) {
            if let Ok(appended) = result {
                acknowledged.insert(payload.clone(), (appended.offset, appended.number));
            }
        }
    }
}

fn check(fs: &FaultyFs, seed: u64, acknowledged: &HashMap<String, (u64, u64)>, given: &Given) -> u64 {
    let options = Options { delete_unwanted: false, ..options() };
    let store = Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options)
        .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let entries = everything(&store);
    let by_offset: HashMap<_, _> = entries.iter().map(|e| (e.offset, facts(e))).collect();
    let start = store.bounds().start;
    for (payload, (offset, number)) in acknowledged.iter().filter(|(_, (offset, _))| *offset >= start) {
        assert_eq!(by_offset.get(offset), Some(&(*offset, *number, payload.clone())), "seed {seed}: acknowledged");
    }
    for fact in given.0.lock().unwrap().iter().filter(|fact| fact.0 >= start) {
        assert_eq!(by_offset.get(&fact.0), Some(fact), "seed {seed}: given to a follower");
    }
    for key in ["c0", "c1"] {
        let numbers: Vec<_> = entries.iter().filter(|e| &*e.key == key).map(|e| e.number).collect();
        let top = store.channel_top(key);
        assert_eq!(numbers, (top.first_kept..=top.last).collect::<Vec<_>>(), "seed {seed}");
        assert!(top.first_kept == 1 || numbers.len() >= 10, "seed {seed}: {key} wants ten");
    }
    let retried: Vec<_> = acknowledged.iter().filter(|(p, _)| p.split('-').nth(2) == Some("3")).take(3).collect();
    for (payload, (offset, _)) in retried {
        let retry = Append { identity: keyed(payload), ..record("c1", payload) };
        let again = append_all(&store, vec![retry]).pop().unwrap().unwrap();
        assert_eq!((again.suppressed, again.offset), (true, *offset), "seed {seed}: a retry");
    }
    start
}

#[test]
fn two_hundred_crash_points() {
    let mut deleted = 0;
    for seed in 0..200 {
        let fs = FaultyFs::default();
        let mut acknowledged = HashMap::new();
        let keep = if seed % 2 == 0 { Keep::ALL } else { Keep { count: 10, age_s: u32::MAX } };
        let given = Arc::new(Given::default());
        for life in 0..4 {
            fs.0.lock().unwrap().stops_in = Some(5 + (seed * 7 + life * 13) % 90);
            live(&fs, life, keep, &mut acknowledged, &given);
            fs.0.lock().unwrap().crash(seed * 4 + life);
        }
        deleted += check(&fs, seed, &acknowledged, &given);
    }
    assert!(deleted > 0, "some runs deleted something");
}

/// One life in which names come once, and some come back after a while. Whether any was forgotten.
fn live_with_names(fs: &FaultyFs, life: u64, told: &mut Told) -> bool {
    let options = Options { segment_bytes: 2_000, history_meta_ttl: Duration::ZERO, ..Options::default() };
    let Ok(store) = Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options) else { return false };
    told.look(&store, "never");
    for group in 0..18 {
        let keys: Vec<_> = (0..5)
            .map(|n| format!("{life}-{group}-{n}"))
            .chain([format!("again-{}", group % 7), "on".into()])
            .collect();
        keys.iter().for_each(|key| told.look(&store, key));
        let keep = Keep { count: 0, age_s: 0 };
        let all = keys.iter().map(|key| Append { keep, ..record(key, &"x".repeat(60)) }).collect();
        for (key, result) in keys.iter().zip(append_all(&store, all)) {
            if let Ok(appended) = result {
                told.number(key, appended.number);
            }
        }
    }
    told.numbers.keys().cloned().collect::<Vec<_>>().iter().for_each(|key| told.look(&store, key));
    store.channel_top("never").last > 0
}

#[test]
fn two_hundred_crash_points_while_channels_are_forgotten() {
    let mut forgot = 0;
    for seed in 0..200 {
        let (fs, mut told) = (FaultyFs::default(), Told::new(seed));
        for life in 0..3 {
            fs.0.lock().unwrap().stops_in = Some(30 + (seed * 7 + life * 131) % 200);
            forgot += u32::from(live_with_names(&fs, life, &mut told));
            fs.0.lock().unwrap().crash(seed * 4 + life);
        }
        assert!(live_with_names(&fs, 3, &mut told), "seed {seed}: it goes on, and forgets");
    }
    assert!(forgot > 100, "forgotten before {forgot} crashes of 600");
}

#[test]
fn a_full_disk_fails_publishes_and_heals_alone() {
    let fs = FaultyFs::default();
    let store = Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options()).unwrap();
    let good = append_all(&store, vec![record("c", "1")]).pop().unwrap().unwrap();
    fs.0.lock().unwrap().full = true;
    for _ in 0..3 {
        let error = append_all(&store, vec![record("c", "lost")]).pop().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("cannot write to disk"), "{error}");
    }
    fs.0.lock().unwrap().full = false;
    let next = append_all(&store, vec![record("c", "2")]).pop().unwrap().unwrap();
    assert_eq!((next.offset, next.number), (good.offset + 1, good.number + 1));
    drop(store);
    fs.0.lock().unwrap().crash(1);
    let store = Store::open_on(Arc::new(fs), Path::new("/store"), options()).unwrap();
    let payloads: Vec<_> = everything(&store).iter().map(|e| e.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2"]);
}

#[test]
fn a_segment_that_could_not_be_begun_hides_nothing() {
    let fs = FaultyFs::default();
    let open = || Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options()).unwrap();
    let store = open();
    let big = |n: usize| record("c", &format!("{n}-{}", "x".repeat(1_000)));
    let mut expected = 0;
    for n in 0..5 {
        expected += usize::from(append_all(&store, vec![big(n)])[0].is_ok());
    }
    fs.0.lock().unwrap().no_new_files = true;
    for n in 0..3 {
        expected += usize::from(append_all(&store, vec![big(n)])[0].is_ok());
        expected += usize::from(append_all(&store, vec![record("c", "small")])[0].is_ok());
    }
    fs.0.lock().unwrap().no_new_files = false;
    for n in 0..12 {
        expected += usize::from(append_all(&store, vec![big(n)])[0].is_ok());
    }
    drop(store);
    let store = open();
    assert_eq!(everything(&store).len(), expected);
    let all = crate::rig::ALL;
    let numbers: Vec<_> = store.read_channel("c", 0, all).unwrap().entries.iter().map(|e| e.number).collect();
    assert_eq!(numbers, (1..=expected as u64).collect::<Vec<_>>());
    for from in 0..expected as u64 {
        assert_eq!(store.read(from, u64::MAX, all).unwrap().entries[0].offset, from);
    }
}

#[test]
fn what_could_not_be_taken_back_is_of_unknown_outcome() {
    let fs = FaultyFs::default();
    let store = Store::open_on(Arc::new(fs.clone()), Path::new("/store"), options()).unwrap();
    append_all(&store, vec![record("c", "1")]);
    fs.0.lock().unwrap().sick = true;
    let error = append_all(&store, vec![record("c", "2")]).pop().unwrap().unwrap_err();
    assert!(matches!(error, tidegate_store::AppendError::Unknown(_)), "{error}");
    let error = append_all(&store, vec![record("c", "3")]).pop().unwrap().unwrap_err();
    assert!(matches!(error, tidegate_store::AppendError::Disk(_)), "nothing is begun on a sick disk: {error}");
    fs.0.lock().unwrap().sick = false;
    assert_eq!(append_all(&store, vec![record("c", "4")]).pop().unwrap().unwrap().number, 2);
}
