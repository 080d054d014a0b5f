//! Short ways to append and read.

use std::sync::mpsc;

use tidegate_store::{Append, AppendError, Appended, Entry, PageLimits, Store};

pub(crate) const ALL: PageLimits = PageLimits { records_max: usize::MAX, bytes_max: usize::MAX };

pub(crate) fn record(key: &str, payload: &str) -> Append {
    Append {
        key: key.into(),
        meta: bytes::Bytes::new(),
        payload: payload.to_owned().into(),
        idempotency_key: "".into(),
        version: ("".into(), 0),
    }
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
