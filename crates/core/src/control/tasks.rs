//! What a node does for the control log without being asked: writes what waits, keeps its lease, sees what is over, and
//! begins anew when the log was made anew.
//!
//! Both tasks end when their node is dropped.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tidegate_broker::{Keep, Key, Log, Record, TailHandle};
use tokio::time::{Instant, timeout_at};

use super::record::{Alive, Entry, Proposal, Weighed};
use super::{Carrier, Control, KEY, lock, micros};

/// Older records say nothing that a node still needs.
const KEEP: Keep = Keep { count_max: 100_000, age_max: Duration::from_secs(600) };
/// Pauses between two tries to write a record.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Changes of presence that come within this time of the last record share the next one, for which nobody is woken before.
/// A record costs every node about as much whatever is in it; of 500 joins a second on three nodes each had its own.
const GATHER: Duration = Duration::from_millis(50);

/// Writes one record after the other.
pub(super) async fn write(control: Weak<Control>) {
    let mut gathers_until = Instant::now();
    let mut pause = RETRY_MIN;
    loop {
        let Some(held) = control.upgrade() else { return };
        if Instant::now() < gathers_until && lock(&held.outbox).gather() {
            // Ended early by what is not to wait.
            let _ = timeout_at(gathers_until, held.filled.notified()).await;
            continue;
        }
        let log = match &*lock(&held.carrier) {
            Carrier::Log { log, .. } => Some(log.clone()),
            Carrier::Alone(_) | Carrier::None => None,
        };
        match log.and_then(|log| Some((log, held.next()?))) {
            Some((log, proposal)) => {
                gathers_until = Instant::now() + GATHER;
                if append(&held, &*log, proposal).await {
                    pause = RETRY_MIN;
                    continue;
                }
                // One that takes nothing at all, for want of a permission, is not asked all the time.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            None => {
                let filled = held.filled.notified();
                // The timeout lets go of a node that has ended.
                let _ = tokio::time::timeout(RETRY_MAX, filled).await;
            }
        }
    }
}

/// Writes a record, however long the log is away. Returns whether the log takes it at all.
async fn append(control: &Control, log: &dyn Log, proposal: Proposal) -> bool {
    let payload = Bytes::from(serde_json::to_vec(&proposal).expect("texts and numbers serialise"));
    let mut pause = RETRY_MIN;
    control.written_us.store(control.clock.monotonic_us(), Relaxed);
    loop {
        let record = Record { key: Key::from(KEY), payload: payload.clone(), meta: None, keep: KEEP };
        match log.append(record).await {
            Ok(_) => return true,
            Err(error) if error.is_retryable() => tracing::debug!(%error, "the control log takes nothing now"),
            Err(error) => {
                let (bytes, entries) = (payload.len(), proposal.entries.len());
                tracing::error!(%error, bytes, entries, "the control log refuses a record, who waits for it is told");
                lock(&control.outbox).refuse(proposal.seq, &error);
                return false;
            }
        }
        if control.lost.load(Relaxed) {
            // The log is made anew; this node will say all of it again.
            return true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Keeps the lease, and sees what is over.
pub(super) async fn watch(control: Weak<Control>) {
    loop {
        let Some(held) = control.upgrade() else { return };
        if held.lost.swap(false, Relaxed) {
            held.reopen().await;
        }
        held.tick();
        let pause = (held.options.lease / 12).min(held.options.grace / 4).max(Duration::from_millis(10));
        drop(held);
        tokio::time::sleep(pause).await;
    }
}

impl Control {
    /// What time asks for: a report, which is a sign of life, and proposals to end what is over.
    fn tick(&self) {
        let now_us = self.clock.monotonic_us();
        let third = micros(self.options.lease) / 3;
        let (written, read) = (self.written_us.load(Relaxed), self.read_own_us.load(Relaxed));
        if written > read && now_us.saturating_sub(written) > third {
            // What was written does not come back: what this node has not read may have been written all the same.
            self.live_since_us.store(0, Relaxed);
            // Nor is anybody given up by what it read before.
            lock(&self.outbox).drop_lapses();
        }
        // Also where nobody asks: from then on what is announced is news.
        self.is_whole();
        let live_since = self.live_since_us.load(Relaxed);
        let alone = matches!(*lock(&self.carrier), Carrier::Alone(_));
        let mut entries = Vec::new();
        // By the last report and not by the last record: who has much to say is no less alive, but others would see of it
        // what it was when it fell silent last. One that still waits, because the log is away, is enough.
        let due = now_us.saturating_sub(self.reported_us.load(Relaxed)) >= third;
        if !alone && due && !lock(&self.outbox).is_to_report() {
            entries.push(Entry::Alive(Alive { begins: false, asks: false, report: self.report_now() }));
        }
        if live_since > 0 {
            let (lease, grace) = (micros(self.options.lease), micros(self.options.grace));
            entries.extend(lock(&self.fold).overdue(lease, grace, live_since, now_us));
        }
        if !entries.is_empty() {
            let mut outbox = lock(&self.outbox);
            // When there is no room, the next tick proposes it again.
            for entry in entries {
                let _ = outbox.propose(Weighed::new(entry), None);
            }
            drop(outbox);
            self.flush();
        }
        let owes = lock(&self.outbox).owed().is_some();
        if owes {
            self.announce_all();
        }
        self.progressed.notify_waiters();
    }

    async fn reopen(self: &Arc<Self>) {
        let Carrier::Log { log, .. } = std::mem::take(&mut *lock(&self.carrier)) else { return };
        let mut effects = Vec::new();
        lock(&self.fold).forget(&mut effects);
        lock(&self.outbox).give_up_sent();
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        if let Err(error) = self.tail(log.clone()).await {
            tracing::warn!(%error, "cannot tail the control log yet");
            // The tail is gone; the next tick tries again.
            *lock(&self.carrier) = Carrier::Log { log, tail: TailHandle::new(()) };
            self.lost.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::control::ControlOptions;
    use crate::control::record::{Lapse, Report};

    /// A node with a lapse that waits for a log that is not open. It wrote last 10 ms after it began, at least 10 ms ago.
    fn proposing(lease: Duration) -> Arc<Control> {
        let options = ControlOptions { lease, ..ControlOptions::default() };
        let control = Control::new(options, "n1", Clock::default(), Box::default(), Arc::default(), Report::default);
        let lapse = Weighed::new(Entry::Lapse(Lapse { node: "n2".into(), seen: 7 }));
        lock(&control.outbox).propose(lapse, None).unwrap();
        control.live_since_us.store(1, Relaxed);
        control.written_us.store(10_000, Relaxed);
        while control.clock.monotonic_us() < 20_000 {
            std::thread::yield_now();
        }
        control
    }

    fn proposes_a_lapse(control: &Control) -> bool {
        let (_, entries) = lock(&control.outbox).next().unwrap_or_default();
        entries.iter().any(|entry| matches!(entry, Entry::Lapse(_)))
    }

    #[test]
    fn who_has_just_begun_does_not_say_for_whom_others_have_to_wait() {
        let options = ControlOptions::default();
        let control = Control::new(options, "n1", Clock::default(), Box::default(), Arc::default(), Report::default);
        let named = |asker: &str| {
            let asks = Entry::Alive(Alive { begins: true, asks: true, report: Report::default() });
            control.fold(1, Proposal { node: asker.into(), seq: 1, entries: vec![asks] });
            match lock(&control.outbox).next().unwrap().1.remove(0) {
                Entry::Snapshot(snapshot) => snapshot.peers,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named("n2"), Vec::<String>::new());
        lock(&control.fold).set_whole();
        let mut peers = named("n3");
        peers.sort();
        assert_eq!(peers, ["n2", "n3"]);
    }

    #[test]
    fn nobody_is_given_up_by_a_node_that_does_not_read_what_it_writes() {
        let away = proposing(Duration::from_millis(1));
        away.tick();
        assert_eq!((away.live_since_us.load(Relaxed), proposes_a_lapse(&away)), (0, false));
        // It may be on its way.
        let soon = proposing(Duration::from_secs(3_600));
        soon.tick();
        assert_eq!((soon.live_since_us.load(Relaxed), proposes_a_lapse(&soon)), (1, true));
        let read = proposing(Duration::from_millis(1));
        read.read_own_us.store(10_000, Relaxed);
        read.tick();
        assert_eq!((read.live_since_us.load(Relaxed), proposes_a_lapse(&read)), (1, true));
    }
}
