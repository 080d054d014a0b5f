//! What reads of the log share: permits, a read that several ask for at the same time, and where pages ended.
//!
//! On a log with holes a page for a slow reader begins [`dedup_offsets`](crate::config::WindowOptions) before its cursor,
//! to see the duplicates that everybody else suppressed. That is paid once: the next page of whoever reads the same
//! channel goes on where the last one ended, and what a page had more than was sent is not read again.
//!
//! # Invariant
//! An answer is the same as that of a read of its own: pages and reads under way are known by the epoch of their
//! partition, and what lies up to a position in a log does not change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidegate_broker::{BrokerError, Key};
use tidegate_types::{Offset, Publication};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::cell::CellLife;
use crate::judge::Judge;
use crate::reader::{LogRead, Span};
use crate::window::cost;

/// Reads of the log at the same time: recoveries, slow readers and history share them.
const READS_MAX: usize = 8;
/// Pages that are kept: those of slow readers that are being served.
const PAGES_MAX: usize = 64;
/// Bytes of what is in them. One page is kept in any case.
const PAGES_BYTES_MAX: usize = 8 << 20;
/// Reads that have ended are swept out when so many are known.
const SWEEP_FROM: usize = 64;

/// A read that whoever asks for the same waits for.
pub(crate) type Shared = Arc<OnceCell<Result<LogRead, BrokerError>>>;

/// What is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct What {
    pub(crate) cell: CellLife,
    pub(crate) key: Key,
    pub(crate) span: Span,
}

/// A page that did not come to the end of what was asked for.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) cell: CellLife,
    pub(crate) key: Key,
    /// Where it began.
    pub(crate) after: Offset,
    /// At least one.
    pub(crate) publications: Vec<Arc<Publication>>,
    /// `None` when somebody has gone on from there: the next page has it.
    pub(crate) end: Option<PageEnd>,
}

/// How to go on behind a page.
#[derive(Debug)]
pub(crate) struct PageEnd {
    /// The log offset of the next record.
    pub(crate) next: u64,
    /// What was seen of the channel up to there.
    pub(crate) judge: Judge,
}

/// What is known of what follows a cursor.
#[derive(Debug)]
pub(crate) enum Known {
    /// This follows.
    Publications(Vec<Arc<Publication>>),
    /// A page ended here.
    End(PageEnd),
}

impl Page {
    fn last(&self) -> Offset {
        self.publications.last().map_or(self.after, |p| p.offset)
    }

    /// Roughly, without what is at its end.
    fn bytes(&self) -> usize {
        self.publications.iter().map(|p| cost(p)).sum()
    }

    fn end_bytes(&self) -> usize {
        self.end.as_ref().map_or(0, |end| end.judge.bytes())
    }
}

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<What, Weak<OnceCell<Result<LogRead, BrokerError>>>>,
    /// The newest last.
    pages: VecDeque<Page>,
    bytes: usize,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Reads {
    permits: Semaphore,
    state: Mutex<State>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { permits: Semaphore::new(READS_MAX), state: Mutex::default() }
    }
}

impl Reads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a read.
    pub(crate) async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("it is never closed")
    }

    /// The read of just this, under way or to be begun by who asks.
    pub(crate) fn join(&self, what: What) -> Shared {
        let mut state = self.lock();
        if let Some(read) = state.under_way.get(&what).and_then(Weak::upgrade) {
            return read;
        }
        if state.under_way.len() >= SWEEP_FROM {
            state.under_way.retain(|_, read| read.strong_count() > 0);
        }
        let read = Shared::default();
        state.under_way.insert(what, Arc::downgrade(&read));
        read
    }

    /// What pages say of what follows a cursor. The end of a page is given away: who has it keeps the page that follows.
    pub(crate) fn known(&self, cell: CellLife, key: &Key, after: Offset) -> Option<Known> {
        let mut state = self.lock();
        let state = &mut *state;
        let mut pages = state.pages.iter_mut().rev().filter(|page| page.cell == cell && page.key == *key);
        let page = pages.find(|page| (page.after..=page.last()).contains(&after))?;
        let from = page.publications.partition_point(|p| p.offset <= after);
        match &page.publications[from..] {
            [] => {
                let end = page.end.take()?;
                state.bytes -= end.judge.bytes();
                Some(Known::End(end))
            }
            rest => Some(Known::Publications(rest.to_vec())),
        }
    }

    /// Keeps a page for those who read on.
    pub(crate) fn keep(&self, page: Page) {
        let mut state = self.lock();
        state.bytes += page.bytes() + page.end_bytes();
        state.pages.push_back(page);
        while state.pages.len() > PAGES_MAX || (state.bytes > PAGES_BYTES_MAX && state.pages.len() > 1) {
            let Some(oldest) = state.pages.pop_front() else { return };
            state.bytes -= oldest.bytes() + oldest.end_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::CellId;
    use crate::window::to_publication;
    use tidegate_broker::Tailed;

    fn life(cell: u32) -> CellLife {
        CellLife { cell: CellId::for_tests(cell), truncations: 0 }
    }

    fn page(key: &str, after: u64, offsets: std::ops::Range<u64>, payload_bytes: usize) -> Page {
        let publication = |offset: u64| {
            let payload = Some(vec![b'1'; payload_bytes].into());
            let (key, log_offset) = (key.into(), offset - 1);
            let record = Tailed { log_offset, channel_offset: None, time_ms: 0, key, payload, meta: None };
            Arc::new(to_publication(record, Offset(offset)))
        };
        let end = Some(PageEnd { next: offsets.end, judge: Judge::new(10) });
        let publications = offsets.map(publication).collect();
        Page { cell: life(1), key: key.into(), after: Offset(after), publications, end }
    }

    #[test]
    fn a_page_is_read_on_from_wherever_a_reader_stands_in_it() {
        let reads = Reads::default();
        reads.keep(page("a", 5, 10..13, 1));
        let known = |key: &str, after| reads.known(life(1), &key.into(), Offset(after));
        let offsets = |known| match known {
            Some(Known::Publications(publications)) => publications.iter().map(|p| p.offset.0).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(offsets(known("a", 5)), [10, 11, 12]);
        assert_eq!(offsets(known("a", 11)), [12]);
        assert!(matches!(known("a", 12), Some(Known::End(PageEnd { next: 13, .. }))));
        assert!(known("a", 12).is_none(), "somebody goes on from there");
        assert!(known("a", 4).is_none() && known("a", 13).is_none() && known("b", 5).is_none());
        assert!(reads.known(life(2), &"a".into(), Offset(5)).is_none(), "another epoch");
    }

    #[test]
    fn pages_are_bounded_by_number_and_bytes() {
        let reads = Reads::default();
        for n in 0..1_000 {
            reads.keep(page("a", n * 10, n * 10 + 1..n * 10 + 2, 1));
        }
        assert_eq!(reads.lock().pages.len(), PAGES_MAX);
        for n in 0..20 {
            reads.keep(page("b", n * 10, n * 10 + 1..n * 10 + 2, 1 << 20));
        }
        let state = reads.lock();
        assert!(state.bytes <= PAGES_BYTES_MAX && state.pages.len() == 7, "{} {}", state.bytes, state.pages.len());
    }

    #[test]
    fn the_same_read_is_shared_while_somebody_waits_for_it() {
        let reads = Reads::default();
        let limits = crate::start::ReadLimits { count_max: 1, bytes_max: 1 };
        let what = |until| What {
            cell: life(1),
            key: "a".into(),
            span: Span { after: Offset(0), until: Offset(until), limits, partial: false, from_oldest: false },
        };
        let first = reads.join(what(5));
        assert!(Arc::ptr_eq(&first, &reads.join(what(5))) && !Arc::ptr_eq(&first, &reads.join(what(6))));
        drop(first);
        (0..1_000).for_each(|until| drop(reads.join(what(until))));
        assert!(reads.lock().under_way.len() <= SWEEP_FROM);
    }
}
