//! Tails of partitions: started by who needs one, stopped when nobody does.
//!
//! # Invariants
//! - A cell's tail reads the log at the epoch of its cell, or ends: a start that met a change is undone.
//! - A log whose epoch changed is started anew within [`HOUSEKEEPING`], whether or not a tail was there to notice.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidegate_broker::{BrokerError, Partition};
use tokio::sync::mpsc;

use crate::cell::{Cell, Tail};
use crate::hub::{Hub, OpenLog};
use crate::window::Numbering;

/// Between two looks at the tails.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// Before a tail that could not be started is tried again.
const START_PAUSE: Duration = Duration::from_millis(200);
/// Publications that a window frees under one lock of its cell.
const SHRINK_SLICE: usize = 1_000;

impl Hub {
    /// Starts the housekeeping. It ends with the hub.
    pub(crate) fn look_after_tails(self: &Arc<Self>, lost: mpsc::Receiver<usize>) {
        self.runtime().spawn(housekeeping(Arc::downgrade(self), lost));
        self.runtime().spawn(ask_for_ends(Arc::downgrade(self)));
        self.runtime().spawn(follow_rules_again(Arc::downgrade(self)));
    }

    /// Waits until the cell's window can serve, starting its tail when nobody did.
    ///
    /// # Errors
    /// A retryable one when the log is at another epoch by now.
    pub(crate) async fn warm(&self, log: &Arc<OpenLog>, cell: &Arc<Cell>) -> Result<(), BrokerError> {
        loop {
            let progressed = cell.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            log.check()?;
            let ended = {
                let mut state = cell.lock();
                if state.is_warm() {
                    return Ok(());
                }
                let wanted = matches!(state.tail, Tail::Cold | Tail::Ended(_));
                wanted.then(|| std::mem::replace(&mut state.tail, Tail::Starting))
            };
            if let Some(ended) = ended {
                drop(ended);
                let depth = self.options.window.dedup_offsets;
                self.runtime().spawn(start_tail(log.clone(), cell.clone(), self.numbering, depth));
            }
            progressed.await;
        }
    }

    /// Stops tails that nobody needs, re-opens logs whose numbering changed, and has the largest windows give way.
    async fn tidy(&self) {
        for (index, log) in self.open_logs() {
            self.reopen(index);
            for cell in &log.cells {
                drop(self.stop_if_idle(cell));
                while cell.lock().window.shrink(SHRINK_SLICE) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// The tail of a cell that nobody has needed for a while. To be dropped when no lock is held.
    fn stop_if_idle(&self, cell: &Cell) -> Option<Tail> {
        let linger_us = u64::try_from(self.options.window.linger.as_micros()).unwrap_or(u64::MAX);
        let mut state = cell.lock();
        // Under the lock: nobody's mark is later than this.
        let now_us = self.clock().monotonic_us();
        let idle = state.idle_since_us.is_some_and(|since| now_us.saturating_sub(since) > linger_us);
        if !matches!(state.tail, Tail::Running { .. } | Tail::Ended(_)) || !idle || state.window.listeners() > 0 {
            return None;
        }
        state.restart(0, 0, self.options.window.dedup_offsets);
        Some(std::mem::replace(&mut state.tail, Tail::Cold))
    }

    async fn ask_for_ends(&self) {
        for (_, log) in self.open_logs() {
            for (cell, partition) in log.cells.iter().zip(0..) {
                let is_running = matches!(cell.lock().tail, Tail::Running { .. });
                if is_running && let Ok(bounds) = log.log.bounds(Partition(partition)).await {
                    cell.set_known_end(bounds.end);
                }
            }
        }
    }
}

/// Starts the tail of a cold cell. On trouble the cell is cold again after a pause, and who waits tries anew.
async fn start_tail(log: Arc<OpenLog>, cell: Arc<Cell>, numbering: Numbering, dedup_offsets: u64) {
    if let Err(error) = try_start_tail(&log, &cell, numbering, dedup_offsets).await {
        tracing::warn!(partition = cell.name(), %error, "cannot tail yet");
        tokio::time::sleep(START_PAUSE).await;
        let ended = std::mem::replace(&mut cell.lock().tail, Tail::Cold);
        drop(ended);
    }
    cell.progressed.notify_waiters();
}

async fn try_start_tail(
    log: &Arc<OpenLog>,
    cell: &Arc<Cell>,
    numbering: Numbering,
    dedup_offsets: u64,
) -> Result<(), BrokerError> {
    let partition = log.cells.iter().position(|c| c.id == cell.id).unwrap_or_default();
    let partition = Partition(u32::try_from(partition).unwrap_or(u32::MAX));
    let bounds = log.log.bounds(partition).await?;
    let (from, serve_from) = match numbering {
        // Twice the depth: the first half makes the verdicts on the second everybody's.
        Numbering::Log => match bounds.end.saturating_sub(dedup_offsets.saturating_mul(2)) {
            from if from > bounds.start => (from, from + dedup_offsets),
            _ => (bounds.start, bounds.start),
        },
        // The broker decides duplicates itself, and the past is read by channel.
        Numbering::Channel => (bounds.end, bounds.end),
    };
    let number = cell.lock().restart(from, serve_from, dedup_offsets);
    cell.set_known_end(bounds.end);
    let handle = log.log.tail(partition, from, cell.feeder()).await?;
    // The log changes first and tells its tails then: who looks here has seen the change or will be told.
    log.check()?;
    let mut state = cell.lock();
    if !state.is_fed_by(number) || log.is_replaced() {
        drop(state);
        return Err(BrokerError::Unavailable(
            "the log lost records or was made anew while the tail began, retry".into(),
        ));
    }
    state.tail = Tail::Running { warm_at: bounds.end, handle };
    Ok(())
}

/// Re-opens logs as soon as their tails say that the numbering changed, and looks after everything now and then.
async fn housekeeping(hub: Weak<Hub>, mut lost: mpsc::Receiver<usize>) {
    loop {
        let index = tokio::time::timeout(HOUSEKEEPING, lost.recv()).await;
        let Some(hub) = hub.upgrade() else { return };
        match index {
            Ok(Some(index)) => hub.reopen(index),
            Ok(None) => return,
            Err(_) => hub.tidy().await,
        }
    }
}

/// Asks the logs how far they go. Apart from the housekeeping, because a log that is away lets it wait.
async fn ask_for_ends(hub: Weak<Hub>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(hub) = hub.upgrade() else { return };
        hub.ask_for_ends().await;
    }
}

/// Follows the log of rules again where it was lost.
async fn follow_rules_again(hub: Weak<Hub>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(hub) = hub.upgrade() else { return };
        if let Some(rules) = hub.rules() {
            rules.follow_again().await;
        }
    }
}
