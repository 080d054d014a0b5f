//! One partition on this node: its window, its tail, and the lock that both share.
//!
//! Appending to the window and choosing the shards happen under [`Cell::lock`]; so does registering a listener together
//! with reading the position. That is why nothing falls between a snapshot and the live stream. Lock order: a broker's
//! own lock, then this, then an inbox. The log is never called under this lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_broker::{Refused, TailHandle, TailLoss, TailSink, Tailed};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::{Clock, Seldom};
use crate::hub::CellId;
use crate::inbox::{Delivery, Inbox, ShardEvent};
use crate::judge::Verdict;
use crate::metrics::NodeMetrics;
use crate::namespace::Namespaces;
use crate::window::{Numbering, Window};

/// Where the tail of a partition is.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Nobody needs it.
    Cold,
    /// Being started.
    Starting,
    /// Running. Subscriptions are served once the window has read up to `warm_at`.
    Running { warm_at: u64, handle: TailHandle },
    /// Its log lost records: whoever needs one drops this, outside of a call of the log's, and starts another.
    Ended(#[expect(dead_code, reason = "dropping it stops the tail")] TailHandle),
}

/// Verdicts kept per partition for publishers that have not learned their offset yet.
const VERDICTS_MAX: usize = 4_096;

/// What the lock of a cell guards.
#[derive(Debug)]
pub(crate) struct CellState {
    pub(crate) window: Window,
    pub(crate) tail: Tail,
    /// Number of the tail that feeds the window: one that was ended may still be in a call.
    feeder: u32,
    /// Publishes that wait for the verdict on their record.
    waiters: BTreeMap<u64, oneshot::Sender<Verdict>>,
    /// Verdicts on the newest records that had a key or a version, by log offset: the window may pass a record before
    /// its publisher has learned the offset.
    recent: VecDeque<(u64, Verdict)>,
    /// When the last listener left (monotonic us); `None` while there are some.
    pub(crate) idle_since_us: Option<u64>,
}

impl CellState {
    /// Whether subscriptions can be served.
    pub(crate) fn is_warm(&self) -> bool {
        matches!(self.tail, Tail::Running { warm_at, .. } if self.window.next() >= warm_at)
    }

    /// The tail that serves subscriptions, once it can.
    pub(crate) fn serving(&self) -> Option<u32> {
        self.is_warm().then_some(self.feeder)
    }

    /// The window begins anew at `from`, and nothing that a tail of before still brings goes into it. Returns the number
    /// of the tail that feeds it from now on.
    pub(crate) fn restart(&mut self, from: u64, serve_from: u64, dedup_offsets: u64) -> u32 {
        self.feeder = self.feeder.wrapping_add(1);
        self.window.restart(from, serve_from, dedup_offsets);
        self.feeder
    }

    /// Whether the tail of this number still feeds the window.
    pub(crate) fn is_fed_by(&self, feeder: u32) -> bool {
        self.feeder == feeder
    }

    /// The log begins at `start` now, or ends there, or what lies before it was skipped. Offsets may come again, after an
    /// election that lost records: what was read of them is no more, nor what was decided of them.
    fn truncate(&mut self, start: u64, dedup_offsets: u64, goes_on: bool) {
        self.recent.clear();
        self.waiters.clear();
        if goes_on || self.window.numbering() == Numbering::Channel {
            // Where the log itself decides what is a duplicate its tail may go on. So it must where another one would fail
            // over the same record again.
            self.window.restart(start, start, dedup_offsets);
            if let Tail::Running { warm_at, .. } = &mut self.tail {
                *warm_at = start.min(*warm_at);
            }
            return;
        }
        // What lies before `start` has to be judged again, so that the verdicts on what follows are everybody's.
        self.restart(start, start, dedup_offsets);
        self.tail = match std::mem::replace(&mut self.tail, Tail::Cold) {
            Tail::Running { handle, .. } => Tail::Ended(handle),
            other => other,
        };
    }
}

/// What every cell of a node shares.
#[derive(Debug)]
pub(crate) struct CellContext {
    pub(crate) shards: Box<[Arc<Inbox>]>,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) clock: Clock,
    pub(crate) losses: mpsc::Sender<usize>,
    pub(crate) dedup_offsets: u64,
}

/// A cell for as long as what was read of its log stays true.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CellLife {
    pub(crate) cell: CellId,
    pub(crate) truncations: u32,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: CellId,
    /// Index of its log in the hub.
    log: usize,
    /// Its log's name and its number, for log lines.
    name: String,
    context: Arc<CellContext>,
    state: Mutex<CellState>,
    /// The log's end as last asked for; 0 = never.
    pub(crate) known_end: AtomicU64,
    passed_over: Seldom,
    /// Its tail has said that the numbering changed.
    ended: AtomicBool,
    truncations: AtomicU32,
    /// Wakes who waits for the window to move.
    pub(crate) progressed: Notify,
    /// Where a namespace on this log takes JSON only.
    formats: Option<Arc<Namespaces>>,
}

impl Cell {
    pub(crate) fn new(
        id: CellId,
        log: usize,
        name: String,
        window: Window,
        context: Arc<CellContext>,
        formats: Option<Arc<Namespaces>>,
    ) -> Self {
        let state = CellState {
            window,
            tail: Tail::Cold,
            feeder: 0,
            waiters: BTreeMap::new(),
            recent: VecDeque::new(),
            idle_since_us: None,
        };
        Self {
            id,
            log,
            name,
            context,
            state: Mutex::new(state),
            known_end: AtomicU64::new(0),
            passed_over: Seldom::default(),
            ended: AtomicBool::new(false),
            truncations: AtomicU32::new(0),
            progressed: Notify::new(),
            formats,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its tail has ended with its epoch.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Itself, until its log loses records.
    pub(crate) fn life(&self) -> CellLife {
        CellLife { cell: self.id, truncations: self.truncations.load(Relaxed) }
    }

    /// The verdict on the record at `log_offset`, now or when the window gets there.
    pub(crate) fn verdict(&self, log_offset: u64) -> oneshot::Receiver<Verdict> {
        let (tx, rx) = oneshot::channel();
        let mut state = self.lock();
        match state.recent.binary_search_by_key(&log_offset, |(at, _)| *at) {
            Ok(at) => {
                let _ = tx.send(state.recent[at].1);
            }
            Err(_) => {
                state.waiters.insert(log_offset, tx);
            }
        }
        rx
    }

    /// Forgets a waiter that gave up.
    pub(crate) fn give_up_verdict(&self, log_offset: u64) {
        self.lock().waiters.remove(&log_offset);
    }

    /// Tells every shard that this partition's subscriptions have no sound position any more.
    pub(crate) fn invalidate(&self) {
        for shard in &self.context.shards {
            shard.send(ShardEvent::Invalidated { cell: self.id });
        }
    }

    /// Whether the record's namespace takes such a payload.
    fn takes(&self, record: &Tailed) -> bool {
        let namespace = self.formats.as_ref().and_then(|namespaces| namespaces.of_key(self.log, &record.key));
        namespace.is_none_or(|namespace| namespace.takes(record))
    }

    /// Counts a record that nobody gets. A line a minute and partition says which and why.
    fn pass_over(&self, log_offset: u64, why: &str) {
        self.context.metrics.undecodable.add(1);
        if self.passed_over.is_due(self.context.clock) {
            tracing::warn!(partition = %self.name, offset = log_offset, "a record is passed over: {why}");
        }
    }

    fn take(&self, state: &mut CellState, record: Tailed, entered_us: u64) {
        let metrics = &self.context.metrics;
        let log_offset = record.log_offset;
        // A tail may begin before where it was asked to.
        if log_offset < state.window.next() {
            return;
        }
        let judged = record.meta.as_ref().is_some_and(|m| m.idempotency_key.is_some() || m.version.is_some());
        let applied = state.window.apply(record, |record| self.takes(record));
        if applied.refused {
            self.pass_over(log_offset, "its namespace takes JSON only and it is none");
        }
        match applied.verdict {
            Verdict::Accepted => {}
            Verdict::Duplicate { .. } => metrics.duplicates.add(1),
            Verdict::OldVersion => metrics.old_versions.add(1),
        }
        if let Some((publication, listeners)) = applied.publication {
            for l in listeners {
                let publication = publication.clone();
                let delivery = Delivery { slot: l.slot, registration: l.registration, entered_us, publication };
                self.context.shards[usize::from(l.shard)].deliver(delivery);
            }
        }
        let verdict = applied.verdict;
        if judged {
            if state.recent.len() == VERDICTS_MAX {
                state.recent.pop_front();
            }
            state.recent.push_back((log_offset, verdict));
            if let Some(waiter) = state.waiters.remove(&log_offset) {
                // Who published may have given up; the record stands all the same.
                let _ = waiter.send(verdict);
            }
        }
    }
}

/// What feeds a cell, from one restart of its window to the next.
struct Feeder {
    cell: Arc<Cell>,
    number: u32,
}

impl Feeder {
    /// The cell's state, unless another tail feeds it by now.
    fn lock(&self) -> Option<MutexGuard<'_, CellState>> {
        Some(self.cell.lock()).filter(|state| state.feeder == self.number)
    }

    fn truncated(&self, start: u64, skipped: bool) {
        let cell = &self.cell;
        let Some(mut state) = self.lock() else { return };
        let why = match skipped {
            true => "this node failed over records, which its subscribers lack",
            false => "records vanished before they were read: retention is shorter than the outage",
        };
        tracing::warn!(partition = %cell.name, start, "{why}");
        cell.truncations.fetch_add(1, Relaxed);
        state.truncate(start, cell.context.dedup_offsets, skipped);
        // Under the lock: no shard is given what comes again before it knows.
        cell.invalidate();
        drop(state);
        cell.progressed.notify_waiters();
    }
}

impl TailSink for Feeder {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        let cell = &self.cell;
        let entered_us = cell.context.clock.monotonic_us();
        let Some(mut state) = self.lock() else { return batch.clear() };
        cell.context.metrics.records.add(batch.len() as u64);
        for record in batch.drain(..) {
            cell.take(&mut state, record, entered_us);
        }
        state.window.set_next(next);
        drop(state);
        cell.progressed.notify_waiters();
    }

    fn lost(&self, loss: TailLoss) {
        let cell = &self.cell;
        match loss {
            TailLoss::NewEpoch { epoch, why } => {
                tracing::error!(partition = %cell.name, %epoch, "positions are void, subscribers start anew: {why}");
                cell.ended.store(true, Relaxed);
                // One entry re-opens the log whole. Where others fill the queue, the housekeeping finds it.
                let _ = cell.context.losses.try_send(cell.log);
            }
            TailLoss::Truncated { start } => self.truncated(start, false),
            TailLoss::Skipped { next } => self.truncated(next, true),
        }
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        let why = match why {
            // The log itself says what to do.
            Refused::Misplaced => return self.cell.context.metrics.misplaced.add(1),
            Refused::NoKey => "it has no key, so it is of no channel",
            Refused::BinaryKey => "its key is not printable ASCII, so it is no channel's name",
            Refused::LongKey => "its key is longer than a channel's name can be",
            Refused::BadHeaders => "its headers cannot be read",
        };
        self.cell.pass_over(log_offset, why);
    }
}

impl Cell {
    /// What a tail of this cell feeds, until the window begins anew again.
    pub(crate) fn feeder(self: &Arc<Self>) -> Arc<dyn TailSink> {
        Arc::new(Feeder { cell: self.clone(), number: self.lock().feeder })
    }

    /// Tells the end that the log named.
    pub(crate) fn set_known_end(&self, end: u64) {
        self.known_end.store(end, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Bounds, Budget};

    fn cell() -> Arc<Cell> {
        let context = CellContext {
            shards: Box::default(),
            metrics: Arc::default(),
            clock: Clock::default(),
            losses: mpsc::channel(1).0,
            dedup_offsets: 10,
        };
        let bounds = Bounds { dedup_offsets: 10, index_max: 100, budget: Arc::new(Budget::new(1 << 20)) };
        let window = Window::new(Numbering::Log, &bounds);
        Arc::new(Cell::new(CellId(0), 0, "t/0".to_owned(), window, Arc::new(context), None))
    }

    fn keyed(log_offset: u64) -> Tailed {
        let meta = tidegate_types::Meta { idempotency_key: Some("k".into()), ..Default::default() };
        let (key, payload) = ("a".into(), Some("1".into()));
        Tailed { log_offset, channel_offset: None, time_ms: 5, key, payload, meta: Some(Box::new(meta)) }
    }

    #[test]
    fn a_tail_that_was_ended_feeds_nothing_and_loses_nothing() {
        let cell = cell();
        cell.lock().restart(0, 0, 10);
        let ended = cell.feeder();
        ended.records(&mut vec![keyed(0)], 5);
        cell.lock().restart(2, 2, 10);
        let feeder = cell.feeder();
        ended.records(&mut vec![keyed(50)], 60);
        ended.lost(TailLoss::Truncated { start: 90 });
        assert_eq!((cell.lock().window.next(), cell.life().truncations), (2, 0));
        feeder.records(&mut vec![keyed(3)], 7);
        assert_eq!(cell.lock().window.next(), 7);
    }

    #[test]
    fn verdicts_on_what_the_log_lost_answer_for_nothing_that_comes_again() {
        let cell = cell();
        cell.lock().restart(0, 0, 10);
        let feeder = cell.feeder();
        feeder.records(&mut vec![keyed(4)], 5);
        assert!(cell.verdict(4).try_recv().is_ok());
        let mut waits = cell.verdict(9);
        feeder.lost(TailLoss::Truncated { start: 3 });
        assert!(matches!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed)), "who waits is told at once");
        let mut again = cell.verdict(4);
        assert!(again.try_recv().is_err(), "not that of the record before");
        feeder.records(&mut vec![keyed(4)], 5);
        assert!(again.try_recv().is_err(), "that tail feeds nothing any more");
        cell.lock().restart(0, 0, 10);
        cell.feeder().records(&mut vec![keyed(4)], 5);
        assert!(again.try_recv().is_ok());
    }
}
