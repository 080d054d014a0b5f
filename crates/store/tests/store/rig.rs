//! Short ways to append and read, and what holds for numbers however the store ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tidegate_store::{Append, AppendError, Appended, Entry, Identity, Keep, PageLimits, Store};

pub(crate) const ALL: PageLimits = PageLimits { records_max: usize::MAX, bytes_max: usize::MAX };

pub(crate) fn record(key: &str, payload: &str) -> Append {
    Append {
        key: key.into(),
        meta: bytes::Bytes::new(),
        payload: payload.to_owned().into(),
        identity: None,
        keep: Keep::ALL,
    }
}

pub(crate) fn keyed(idempotency_key: &str) -> Option<Box<Identity>> {
    Some(Box::new(Identity { idempotency_key: idempotency_key.into(), ..Identity::default() }))
}

/// Appends all at once and waits for all.
pub(crate) fn append_all(store: &Store, all: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    let waits: Vec<_> = all
        .into_iter()
        .map(|append| {
            let (tx, rx) = mpsc::channel();
            store.append(append, Box::new(move |result| tx.send(result).unwrap()));
            rx
        })
        .collect();
    waits.into_iter().map(|rx| rx.recv().unwrap()).collect()
}

pub(crate) fn append(store: &Store, append: Append) -> Result<Appended, AppendError> {
    append_all(store, vec![append]).pop().unwrap()
}

/// The whole log.
pub(crate) fn everything(store: &Store) -> Vec<Entry> {
    let bounds = store.bounds();
    let mut entries = Vec::new();
    let mut at = bounds.start;
    while at < bounds.end {
        let page = store.read(at, bounds.end, PageLimits { records_max: 100, bytes_max: usize::MAX }).unwrap();
        assert!(page.next > at);
        at = page.next;
        entries.extend(page.entries);
    }
    entries
}

/// Appends `count` records over the channels `c0`, `c1` and `c2` in turn.
pub(crate) fn fill(store: &Store, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(50) {
        let all = chunk.iter().map(|n| record(&format!("c{}", n % 3), &format!("{n}{}", "x".repeat(n % 97)))).collect();
        assert!(append_all(store, all).into_iter().all(|r| r.is_ok()));
    }
}

/// The files of a directory with this extension, oldest first.
pub(crate) fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// The segment files of a directory, oldest first.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    files(directory, "log")
}

/// The highest number of each channel that anybody was told: that of a record, or where the channel stands.
pub(crate) struct Told {
    seed: u64,
    pub(crate) numbers: HashMap<String, u64>,
}

impl Told {
    /// The seed is for messages.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, numbers: HashMap::new() }
    }

    /// A channel's top was told.
    pub(crate) fn top(&mut self, key: &str, last: u64) {
        let (told, seed) = (self.numbers.entry(key.to_owned()).or_default(), self.seed);
        assert!(last >= *told, "seed {seed}: {key} stood at {told}, now at {last}");
        *told = last;
    }

    /// Asks for the top of a channel.
    pub(crate) fn look(&mut self, store: &Store, key: &str) {
        let top = store.channel_top(key);
        assert!(top.first_kept <= top.last + 1, "seed {}: {key}: {top:?}", self.seed);
        self.top(key, top.last);
    }

    /// A record was acknowledged.
    pub(crate) fn number(&mut self, key: &str, number: u64) {
        let told = self.numbers.insert(key.to_owned(), number).unwrap_or(0);
        assert!(number > told, "seed {}: {key} gets number {number}, {told} was told", self.seed);
    }
}
