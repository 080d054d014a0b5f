//! Mistakes in the program: whoever makes one loses, nobody waits for ever.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use tidegate_store::{AppendError, Entry, Follower, Options, Store};

use crate::faulty::FaultyFs;
use crate::rig::{append, append_all, everything, record};

/// Panics over a payload, and notes what it is told.
#[derive(Default)]
struct Fragile {
    numbers: Mutex<Vec<u64>>,
    truncated: Mutex<Vec<u64>>,
    fatal: bool,
}

impl Follower for Fragile {
    fn records(&self, entries: &[Entry], _: u64) {
        assert!(entries.iter().all(|e| *e.payload != *b"poison"), "this follower does not like it");
        self.numbers.lock().unwrap().extend(entries.iter().map(|e| e.number));
    }

    fn truncated(&self, start: u64) {
        assert!(!self.fatal, "nor does it like this");
        self.truncated.lock().unwrap().push(start);
    }
}

fn open(fs: &FaultyFs) -> Store {
    Store::open_on(Arc::new(fs.clone()), Path::new("/store"), Options::default()).unwrap()
}

#[test]
fn a_follower_that_panics_is_told_what_it_lost_and_holds_nobody_up() {
    let store = open(&FaultyFs::default());
    let (fragile, fatal) = (Arc::new(Fragile::default()), Arc::new(Fragile { fatal: true, ..Fragile::default() }));
    for follower in [&fragile, &fatal] {
        store.follow(0, follower.clone()).unwrap();
    }
    for payload in ["1", "poison", "3"] {
        assert!(append(&store, record("c", payload)).is_ok(), "{payload}");
    }
    assert_eq!(*fragile.numbers.lock().unwrap(), [1, 3]);
    assert_eq!(*fragile.truncated.lock().unwrap(), [2], "it goes on after the record that it panicked over");
    assert_eq!(*fatal.numbers.lock().unwrap(), [1]);
    assert_eq!(everything(&store).len(), 3);
}

#[test]
fn an_answer_that_panics_keeps_nobody_from_theirs() {
    let store = open(&FaultyFs::default());
    store.append(record("c", "1"), Box::new(|_| panic!("whoever asked has a mistake")));
    assert_eq!(append(&store, record("c", "2")).unwrap().number, 2);
}

#[test]
fn a_broken_committer_is_named_in_every_answer() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    append(&store, record("c", "1")).unwrap();
    fs.0.lock().unwrap().panics = true;
    let (answer, answered) = mpsc::channel();
    store.append(record("c", "2"), Box::new(move |result| answer.send(result).unwrap()));
    let error = answered.recv().unwrap().unwrap_err();
    assert!(matches!(error, AppendError::Unknown(_)), "it may be on disk: {error}");
    for result in append_all(&store, vec![record("c", "3"), record("c", "4")]) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("a mistake in the program") && error.contains("started anew"), "{error}");
    }
    assert!(store.broken().unwrap().contains("a mistake in the program"));
    assert_eq!(everything(&store).len(), 1, "what was stored can still be read");
    drop(store);
    fs.0.lock().unwrap().panics = false;
    let numbers: Vec<_> = everything(&open(&fs)).iter().map(|e| e.number).collect();
    assert!(numbers == [1] || numbers == [1, 2], "{numbers:?}");
}
