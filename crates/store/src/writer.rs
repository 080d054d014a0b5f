//! The thread that waits for the disk: writes a group, syncs, and says so. The committer judges the next one meanwhile and
//! offers it, so that the disk has no pause.
//!
//! Invariant: it has one group at a time, so no byte of a group is written before the group before it is on disk, and
//! none at all after one that failed, until the committer offers anew.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Result as Unpanicked};
use std::time::{Duration, Instant};

use crate::segment::Segment;
use crate::store::Inner;

/// What is to be written, and where. Nothing at all counts as written.
pub(crate) struct Order {
    pub(crate) segment: Arc<Segment>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) position: u64,
}

/// What became of an order.
pub(crate) struct Written {
    /// For the next group.
    pub(crate) bytes: Vec<u8>,
    /// A panic is for the committer to pass on.
    pub(crate) result: Unpanicked<io::Result<()>>,
    pub(crate) took: Duration,
}

#[derive(Default)]
struct Slot {
    orders: VecDeque<Order>,
    /// The last one failed: what is offered counts on it.
    failed: bool,
    idle: bool,
    closed: bool,
}

/// Where the committer leaves the next orders; it bounds how many.
#[derive(Default)]
struct Offers {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an order; `None` when there will be none.
    fn take(&self) -> Option<Order> {
        let mut slot = self.lock();
        loop {
            if let Some(order) = (!slot.failed).then(|| slot.orders.pop_front()).flatten() {
                return Some(order);
            }
            if slot.closed {
                return None;
            }
            slot.idle = true;
            slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// See the module docs. Ends when it is dropped.
pub(crate) struct Writer {
    offers: Arc<Offers>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; it answers through the queue of `inner`.
    pub(crate) fn start(inner: &Arc<Inner>) -> io::Result<Self> {
        let offers = Arc::<Offers>::default();
        let (taken, inner) = (offers.clone(), inner.clone());
        let work = move || {
            while let Some(order) = taken.take() {
                let written = carry_out(order);
                if !matches!(written.result, Ok(Ok(()))) {
                    taken.lock().failed = true;
                }
                inner.queue.written(written);
            }
        };
        let thread = std::thread::Builder::new().name("tidegate-disk".to_owned()).spawn(work)?;
        Ok(Self { offers, thread: Some(thread) })
    }

    /// Leaves an order, to be carried out after those before it.
    pub(crate) fn offer(&self, order: Order) {
        let mut slot = self.offers.lock();
        slot.orders.push_back(order);
        if std::mem::take(&mut slot.idle) {
            drop(slot);
            self.offers.changed.notify_one();
        }
    }

    /// Takes the newest order back, unless it was begun.
    pub(crate) fn withdraw(&self) -> Option<Order> {
        self.offers.lock().orders.pop_back()
    }

    /// Takes back what was offered after an order that failed; from here on orders are carried out again.
    pub(crate) fn restart(&self) {
        let mut slot = self.offers.lock();
        slot.orders.clear();
        slot.failed = false;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.offers.lock().closed = true;
        self.offers.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer ended with a panic");
        }
    }
}

fn carry_out(order: Order) -> Written {
    let Order { segment, bytes, position } = order;
    let began = Instant::now();
    let write = || {
        if bytes.is_empty() {
            return Ok(());
        }
        segment.file.write_all_at(&bytes, position)?;
        segment.file.sync()
    };
    let result = catch_unwind(AssertUnwindSafe(write));
    Written { bytes, result, took: began.elapsed() }
}
