//! Tails: a *lane* is one consumer polled by one thread, and carries at most one tail per partition. A second tail of
//! the same partition gets another lane.
//!
//! The thread sleeps until librdkafka's queue has something or a command came, drains it, and hands each tail its
//! batch. Only this thread assigns, so nothing of an old assignment can be taken for the new one. Progress over
//! control records and aborted batches is the consumer's position, read when the end of a partition is reported.
//!
//! A sink that panics disturbs nobody else: it is told that it lost what it was given, and goes on behind it. One that
//! panics over that too is told nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, TopicPartitionList};
use tidegate_broker::{Bounds, BrokerError, Partition, Refused, TailLoss, TailSink, Tailed};
use tidegate_types::Epoch;

use crate::connect::Consumer;
use crate::log::Shared;
use crate::read::{at, number, position_of};
use crate::record;

/// Records taken before the tails get theirs.
const BATCH_MAX: usize = 1_024;
/// The thread looks around this often even when nothing calls it.
const IDLE: Duration = Duration::from_millis(500);
/// Before the ends are asked for again that did not settle where a tail goes on.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// What a lane's thread is told.
pub(crate) enum Command {
    Start(Tail),
    Stop { partition: Partition, stopped: Arc<AtomicBool> },
    Bounds(Vec<(Asked, Option<Bounds>)>),
    NewEpoch { epoch: Epoch, why: String },
    End,
}

/// A tail whose partition's ends are asked for, as it stood then: the answer says nothing about what came later.
pub(crate) struct Asked {
    partition: Partition,
    next: u64,
    stopped: Arc<AtomicBool>,
}

/// One tail.
pub(crate) struct Tail {
    partition: Partition,
    next: u64,
    sink: Arc<dyn TailSink>,
    stopped: Arc<AtomicBool>,
    batch: Vec<Tailed>,
    progressed: bool,
    delivered: bool,
    assigned: bool,
}

impl Tail {
    pub(crate) fn new(partition: Partition, from: u64, sink: Arc<dyn TailSink>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let batch = Vec::new();
        Self { partition, next: from, sink, stopped, batch, progressed: false, delivered: false, assigned: false }
    }

    pub(crate) fn stopped(&self) -> Arc<AtomicBool> {
        self.stopped.clone()
    }

    pub(crate) fn partition(&self) -> Partition {
        self.partition
    }

    fn asked(&self) -> Asked {
        Asked { partition: self.partition, next: self.next, stopped: self.stopped.clone() }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.progressed) && !self.stopped.load(Relaxed) {
            self.delivered = true;
            let (sink, batch) = (&self.sink, &mut self.batch);
            if catch_unwind(AssertUnwindSafe(|| sink.records(batch, self.next))).is_err() {
                let (partition, next) = (self.partition.0, self.next);
                tracing::error!(partition, next, "a sink panicked, for it the records before this offset are lost");
                self.lost(TailLoss::Skipped { next: self.next });
            }
        }
        self.batch.clear();
    }

    fn lost(&self, loss: TailLoss) {
        if self.stopped.load(Relaxed) {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| self.sink.lost(loss))).is_err() {
            tracing::error!(partition = self.partition.0, "a sink panicked over a loss, it is told nothing more");
            self.stopped.store(true, Relaxed);
        }
    }

    /// No record is lost by it: one that is delivered nevertheless comes with the others.
    fn refused(&self, offset: u64, why: Refused) {
        if !self.stopped.load(Relaxed) && catch_unwind(AssertUnwindSafe(|| self.sink.refused(offset, why))).is_err() {
            tracing::error!(partition = self.partition.0, offset, "a sink panicked over a record that is left out");
        }
    }
}

/// The outside of a lane.
#[derive(Default)]
pub(crate) struct Lane {
    // Held to put in or take out.
    inbox: Mutex<Inbox>,
    wake: Condvar,
    /// Partitions that have a tail here. Only the log touches it, under its own lock.
    pub(crate) taken: Mutex<BTreeSet<u32>>,
}

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    called: bool,
}

impl Lane {
    /// Makes the consumer and starts the thread.
    pub(crate) fn start(log: &Arc<Shared>) -> Result<Arc<Self>, BrokerError> {
        let lane = Arc::new(Self::default());
        let mut consumer = log.connection.consumer()?;
        let caller = Arc::downgrade(&lane);
        consumer.set_nonempty_callback(move || {
            if let Some(lane) = caller.upgrade() {
                lane.lock().called = true;
                lane.wake.notify_one();
            }
        });
        let runner = Runner {
            lane: lane.clone(),
            log: Arc::downgrade(log),
            topic: log.topic.clone(),
            consumer,
            tails: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            asked: false,
            ask_at: Instant::now(),
        };
        std::thread::Builder::new()
            .name(format!("kafka-tail-{}", log.topic))
            .spawn(move || runner.run())
            .map_err(|error| BrokerError::Internal(format!("cannot start a thread: {error}").into()))?;
        Ok(lane)
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, command: Command) {
        self.lock().commands.push(command);
        self.wake.notify_one();
    }

    fn wait(&self) -> Vec<Command> {
        let inbox = self.lock();
        let idle = |inbox: &mut Inbox| inbox.commands.is_empty() && !inbox.called;
        let waited = self.wake.wait_timeout_while(inbox, IDLE, idle);
        let (mut inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inbox.called = false;
        std::mem::take(&mut inbox.commands)
    }
}

/// The inside: owned by the thread.
struct Runner {
    lane: Arc<Lane>,
    log: Weak<Shared>,
    topic: Arc<str>,
    consumer: Consumer,
    tails: BTreeMap<u32, Tail>,
    /// Partitions whose tail may stand outside of it: the ends must be asked for.
    unsettled: BTreeSet<u32>,
    /// They are being asked for.
    asked: bool,
    /// Not before this: the last answer changed nothing.
    ask_at: Instant,
}

impl Runner {
    fn run(mut self) {
        loop {
            for command in self.lane.wait() {
                if !self.obey(command) {
                    return;
                }
            }
            while self.drain() == BATCH_MAX && self.lane.lock().commands.is_empty() {}
            if !self.unsettled.is_empty() && !self.asked && self.ask_at <= Instant::now() {
                self.ask_bounds();
            }
        }
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Start(mut tail) => {
                if let Some(old) = self.tails.get(&tail.partition.0) {
                    self.unassign(old.partition);
                }
                self.unsettled.remove(&tail.partition.0);
                self.assign(&mut tail);
                self.tails.insert(tail.partition.0, tail);
            }
            Command::Stop { partition, stopped } => {
                if self.tails.get(&partition.0).is_some_and(|tail| Arc::ptr_eq(&tail.stopped, &stopped)) {
                    self.unassign(partition);
                    self.tails.remove(&partition.0);
                    self.unsettled.remove(&partition.0);
                }
            }
            Command::Bounds(all) => {
                self.asked = false;
                for (asked, bounds) in all {
                    self.settle(&asked, bounds);
                }
            }
            Command::NewEpoch { epoch, why } => {
                for tail in self.tails.values_mut() {
                    tail.flush();
                    tail.lost(TailLoss::NewEpoch { epoch: epoch.clone(), why: why.clone() });
                }
                return false;
            }
            Command::End => return false,
        }
        true
    }

    fn assign(&mut self, tail: &mut Tail) {
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(&self.topic, number(tail.partition), at(tail.next))
            .and_then(|()| self.consumer.incremental_assign(&list));
        tail.assigned = assigned.is_ok();
        if let Err(error) = assigned {
            tracing::warn!(topic = %self.topic, partition = tail.partition.0, "cannot tail yet: {error}");
            self.unsettled.insert(tail.partition.0);
        }
    }

    fn unassign(&self, partition: Partition) {
        if !self.tails.get(&partition.0).is_some_and(|tail| tail.assigned) {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, number(partition));
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(topic = %self.topic, partition = partition.0, "cannot end a tail: {error}");
        }
    }

    /// Takes what is there, at most [`BATCH_MAX`], and gives it to the tails.
    fn drain(&mut self) -> usize {
        let Some(log) = self.log.upgrade() else { return 0 };
        let state = log.state();
        let (mut taken, mut nothing) = (0, 0);
        // An event of the client itself also shows as nothing.
        while taken < BATCH_MAX && nothing < 2 {
            match self.consumer.poll(Duration::ZERO) {
                None => nothing += 1,
                Some(Ok(message)) => {
                    taken += 1;
                    let partition = u32::try_from(message.partition()).unwrap_or(u32::MAX);
                    let Some(tail) = self.tails.get_mut(&partition) else { continue };
                    let offset = record::offset(&message);
                    if offset < tail.next {
                        continue;
                    }
                    match record::decode(&message, &state) {
                        Ok(decoded) => {
                            if decoded.misplaced {
                                tail.refused(offset, Refused::Misplaced);
                                log.misplaced(&decoded.record.key, partition, &state);
                            }
                            tail.batch.push(decoded.record);
                        }
                        Err(why) => tail.refused(offset, why),
                    }
                    tail.next = offset + 1;
                    tail.progressed = true;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    taken += 1;
                    let partition = u32::try_from(partition).unwrap_or(u32::MAX);
                    let seen = position_of(&self.consumer, &self.topic, Partition(partition));
                    if let Some(tail) = self.tails.get_mut(&partition) {
                        // One that has nothing to deliver yet says at least that it stands at the end.
                        tail.progressed |= !tail.delivered || seen.is_some_and(|seen| seen > tail.next);
                        tail.next = tail.next.max(seen.unwrap_or(0));
                    }
                }
                Some(Err(error)) => {
                    taken += 1;
                    if trouble(&error, &log) {
                        // The error does not say whose it is.
                        self.unsettled.extend(self.tails.keys());
                    }
                }
            }
        }
        self.tails.values_mut().for_each(Tail::flush);
        taken
    }

    fn ask_bounds(&mut self) {
        let Some(log) = self.log.upgrade() else { return };
        // What fails from here on is asked for again.
        let unsettled = std::mem::take(&mut self.unsettled);
        let all: Vec<_> = unsettled.iter().filter_map(|partition| self.tails.get(partition)).map(Tail::asked).collect();
        let lane = self.lane.clone();
        let asker = log.clone();
        let submitted = log.connection.pool.submit(move || {
            // A topic that was made anew is told as that, not as truncated.
            asker.check();
            let ask = |asked: Asked| {
                let bounds = asker.bounds_now(asked.partition).ok();
                (asked, bounds)
            };
            lane.tell(Command::Bounds(all.into_iter().map(ask).collect()));
        });
        self.asked = submitted.is_ok();
        if !self.asked {
            // The pool is full; tried again at the next look around.
            self.unsettled = unsettled;
        }
    }

    fn ask_later(&mut self, partition: Partition) {
        self.unsettled.insert(partition.0);
        self.ask_at = Instant::now() + ASK_PAUSE;
    }

    /// The ends of a partition are known (or not): where does its tail go on?
    fn settle(&mut self, asked: &Asked, bounds: Option<Bounds>) {
        let Some(tail) = self.tails.get(&asked.partition.0) else { return };
        // Another tail by now, or one that has moved since, so it was not the one that failed: the ends are too old to
        // judge it.
        if !Arc::ptr_eq(&tail.stopped, &asked.stopped) || tail.next != asked.next {
            return;
        }
        let Some(bounds) = bounds else { return self.ask_later(asked.partition) };
        self.unassign(asked.partition);
        let Some(mut tail) = self.tails.remove(&asked.partition.0) else { return };
        tail.assigned = false;
        if tail.next < bounds.start {
            tail.lost(TailLoss::Truncated { start: bounds.start });
            tail.next = bounds.start;
        } else if tail.next > bounds.end && tail.delivered {
            // A new leader did not have what was read.
            tail.lost(TailLoss::Truncated { start: bounds.end });
            tail.next = bounds.end;
        }
        if tail.next > bounds.end {
            self.ask_later(asked.partition);
        } else {
            self.assign(&mut tail);
        }
        self.tails.insert(asked.partition.0, tail);
    }
}

/// Whether a tail stands outside of its partition. Everything else the client heals by itself.
fn trouble(error: &KafkaError, log: &Shared) -> bool {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => true,
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => {
            log.signal.check_soon();
            false
        }
        _ => {
            tracing::debug!(topic = %log.topic, "tail: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests;
