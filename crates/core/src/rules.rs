//! Rules that backends make and that have to be kept: tokens and users that count no more, histories that were removed.
//!
//! They lie in a log of their own, one record per rule ([`Rule`]) under the rule's key, so that a log that is compacted
//! keeps what is in force. A node reads the whole log before it lets anybody in with a token, and follows it. Who makes a
//! rule is answered when it is stored and in force on the answering node; on the others it is when they read it.
//!
//! Where the log is read again from its start, a later rule takes an earlier one back: what it says goes into a table of its
//! own, which takes the place of the one in force when it is complete.
//!
//! Not for telling who may do what: that is the business of tokens and namespaces.

mod table;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use tidegate_broker::{
    Broker, BrokerError, Keep, Log, LogPurpose, LogSpec, Partition, Record, Refused, TailHandle, TailLoss, TailSink,
    Tailed,
};
use tidegate_types::Offset;
use tidegate_types::limits::{COMMAND_WAIT_MAX, RULES_MAX};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::error::HubError;
use crate::inbox::{Inbox, ShardEvent};

pub use table::{Bearer, Revoked, Rule, Token};

/// Settings of the rules of backends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RulesOptions {
    /// Name of their log; `None` = that of the default log with `.rules` behind it.
    pub log: Option<Arc<str>>,
}

/// One partition as far as it was read.
#[derive(Debug, Default)]
struct Progress {
    next: AtomicU64,
    lost: AtomicBool,
    /// It is lost because the log was made anew.
    anew: AtomicBool,
}

struct Open {
    log: Arc<dyn Log>,
    partitions: Vec<Arc<Progress>>,
    #[expect(dead_code, reason = "dropping them stops the tails")]
    tails: Vec<TailHandle>,
}

/// See the module docs.
pub struct Rules {
    options: RulesOptions,
    clock: Clock,
    shards: Box<[Arc<Inbox>]>,
    open: Mutex<Option<Open>>,
    loaded: AtomicBool,
    tables: RwLock<Tables>,
    progressed: Notify,
}

/// The rules in force, and those of a log that is being read from its start.
#[derive(Default)]
struct Tables {
    in_force: table::Table,
    /// Which reading of the log that is of; 0 = none yet.
    reading: u64,
    next: Option<(u64, table::Table)>,
    /// Readings ever begun.
    begun: u64,
    /// The log was made anew: it lacks what came before, and no reading of it takes that out of force.
    made_anew: bool,
    /// With so many rules, those that have ended are looked for.
    sweep_at: usize,
}

/// Rules that are kept without a look for those that have ended.
const SWEEP_FROM: usize = 1_024;

impl Tables {
    /// Names a reading that begins, instead of one that did not come to its end. Once the log was made `anew` they come to
    /// what is in force: who deletes a topic does not let revoked tokens in.
    fn begin(&mut self, anew: bool) -> u64 {
        self.begun += 1;
        self.made_anew |= anew;
        let before = if self.made_anew { self.in_force.clone() } else { table::Table::default() };
        self.next = Some((self.begun, before));
        self.begun
    }

    /// Takes a rule that a reading has found. Returns whether it is in force by that.
    fn apply(&mut self, reading: u64, rule: Rule, now: i64) -> bool {
        if reading == self.reading {
            self.in_force.apply(rule);
            if self.in_force.len() >= self.sweep_at.max(SWEEP_FROM) {
                self.in_force.forget_ended(now);
                self.sweep_at = self.in_force.len() * 2;
            }
            return true;
        }
        if let Some((_, next)) = self.next.as_mut().filter(|(begun, _)| *begun == reading) {
            next.apply(rule);
        }
        false
    }

    /// A reading has come to the end of the log.
    fn finish(&mut self, now: i64) {
        if let Some((reading, mut table)) = self.next.take() {
            table.forget_ended(now);
            (self.in_force, self.reading) = (table, reading);
        }
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

/// Takes one partition for all.
struct Reader {
    all: Arc<Rules>,
    reading: u64,
    progress: Arc<Progress>,
}

/// Tries to write a rule that others write as well.
const MERGES_MAX: usize = 8;
/// How long a node that starts waits for the log each time before it tries anew.
const LOAD_MAX: Duration = Duration::from_secs(20);

impl Rules {
    pub(crate) fn new(options: RulesOptions, clock: Clock, shards: Box<[Arc<Inbox>]>) -> Arc<Self> {
        Arc::new(Self {
            options,
            clock,
            shards,
            open: Mutex::default(),
            loaded: AtomicBool::default(),
            tables: RwLock::default(),
            progressed: Notify::new(),
        })
    }

    fn opened(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log and reads all of it. May be called again after an error, and does nothing when that is done.
    pub(crate) async fn open(self: &Arc<Self>, broker: &dyn Broker, default_log: &str) -> Result<(), BrokerError> {
        if self.loaded.load(Relaxed) {
            return Ok(());
        }
        let name: Arc<str> = self.options.log.clone().unwrap_or_else(|| format!("{default_log}.rules").into());
        let spec = LogSpec { name: name.clone(), read_only: false, purpose: LogPurpose::Rules };
        let log = broker.open(&spec).await.map_err(|error| explained(error, &name))?;
        self.follow(log, false).await
    }

    /// Reads the log from its start, and on. What was read before goes on until that has come to its end.
    async fn follow(self: &Arc<Self>, log: Arc<dyn Log>, anew: bool) -> Result<(), BrokerError> {
        let reading = self.write_tables().begin(anew);
        let epoch = log.info().epoch;
        let (mut partitions, mut tails) = (Vec::new(), Vec::new());
        for partition in (0..log.info().partitions).map(Partition) {
            let start = log.bounds(partition).await?.start;
            let progress = Arc::new(Progress { next: AtomicU64::new(start), ..Progress::default() });
            let reader = Arc::new(Reader { all: self.clone(), reading, progress: progress.clone() });
            tails.push(log.tail(partition, start, reader).await?);
            partitions.push(progress);
        }
        if log.info().epoch != epoch {
            return Err(BrokerError::Unavailable("the log of rules is being made anew, retry".into()));
        }
        let late = |_| BrokerError::Unavailable("the log of rules is not read to its end yet".into());
        tokio::time::timeout(LOAD_MAX, self.read_to_end(&*log, &partitions)).await.map_err(late)??;
        // What came while that was read, and may be in force by an earlier reading already.
        tokio::time::timeout(LOAD_MAX, self.read_to_end(&*log, &partitions)).await.map_err(late)??;
        let before = {
            let mut open = self.opened();
            self.write_tables().finish(self.clock.wall_ms() / 1000);
            open.replace(Open { log, partitions, tails })
        };
        drop(before);
        self.progressed.notify_waiters();
        if self.loaded.swap(true, Relaxed) {
            // It was read again: what came meanwhile was told to nobody.
            self.shards.iter().for_each(|shard| shard.send(ShardEvent::RulesRead));
        }
        tracing::info!(rules = self.count(), "rules of backends are in force");
        Ok(())
    }

    /// Waits until everything was read that is in the log now.
    async fn read_to_end(&self, log: &dyn Log, partitions: &[Arc<Progress>]) -> Result<(), BrokerError> {
        for (number, progress) in (0..).zip(partitions) {
            let end = log.bounds(Partition(number)).await?.end;
            self.until(|| progress.next.load(Relaxed) >= end).await;
        }
        Ok(())
    }

    async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            if done() {
                return;
            }
            progressed.await;
        }
    }

    /// Reads a log again that was made anew or has a hole. What was in force stays until that is done, and after a log that
    /// was made anew beyond that.
    pub(crate) async fn follow_again(self: &Arc<Self>) {
        let (log, anew) = match &*self.opened() {
            Some(open) if open.partitions.iter().any(|p| p.lost.load(Relaxed)) => {
                (open.log.clone(), open.partitions.iter().any(|p| p.anew.load(Relaxed)))
            }
            _ => return,
        };
        if let Err(error) = self.follow(log, anew).await {
            tracing::warn!(%error, "the log of rules cannot be read again yet");
        }
    }

    /// Whether a token counts; `None` while this node does not know yet.
    pub fn check(&self, bearer: Bearer<'_>) -> Option<Result<(), Revoked>> {
        if !self.loaded.load(Relaxed) {
            return None;
        }
        let tables = self.read_tables();
        Some(tables.in_force.check(bearer, self.clock.wall_ms() / 1000).map_or(Ok(()), Err))
    }

    /// Up to where the history of a channel was removed: an offset of that epoch.
    pub(crate) fn removed(&self, log: &str, key: &str, epoch: &str) -> Offset {
        self.read_tables().in_force.removed(log, key, epoch)
    }

    /// Rules that are kept.
    pub fn count(&self) -> usize {
        self.read_tables().in_force.len()
    }

    /// Stores a rule, and waits until it is in force here.
    ///
    /// # Errors
    /// When the log does not take it or does not return it in [`COMMAND_WAIT_MAX`]; it may be in force all the same.
    /// When [`RULES_MAX`] rules are there already.
    pub async fn decide(&self, rule: Rule) -> Result<(), HubError> {
        let not_yet = || BrokerError::Unavailable("the log of rules was not read yet, try again".into());
        let (log, now) = match &*self.opened() {
            Some(open) if self.loaded.load(Relaxed) => (open.log.clone(), self.clock.wall_ms() / 1000),
            _ => return Err(not_yet().into()),
        };
        self.check_room(&rule, now)?;
        // What another node writes meanwhile is merged in the next round.
        for _ in 0..MERGES_MAX {
            let merged = self.read_tables().in_force.merged(rule.clone());
            self.store(&*log, &merged, now).await?;
            if self.read_tables().in_force.merged(merged.clone()) == merged {
                return Ok(());
            }
        }
        Err(HubError::Timeout)
    }

    fn check_room(&self, rule: &Rule, now: i64) -> Result<(), HubError> {
        if self.count() < RULES_MAX || rule.until().is_none() {
            return Ok(());
        }
        self.write_tables().in_force.forget_ended(now);
        if self.count() < RULES_MAX {
            return Ok(());
        }
        let why =
            format!("there are {RULES_MAX} rules: block users instead of single tokens, or let rules end earlier");
        Err(HubError::BadRequest(why.into()))
    }

    /// Writes a rule, and waits until it was read back.
    async fn store(&self, log: &dyn Log, rule: &Rule, now: i64) -> Result<(), HubError> {
        let age_max = rule.until().map_or(0, |until| u64::try_from(until - now).unwrap_or(0));
        let record = Record {
            key: rule.log_key().into(),
            payload: Bytes::from(serde_json::to_vec(rule).expect("texts and numbers serialise")),
            meta: None,
            keep: Keep { count_max: 1, age_max: Duration::from_secs(age_max) },
        };
        let stored = log.append(record).await?;
        let read = || match &*self.opened() {
            Some(open) => {
                let progress = open.partitions.get(stored.partition.0 as usize);
                progress.is_some_and(|p| p.next.load(Relaxed) > stored.log_offset)
            }
            None => false,
        };
        tokio::time::timeout(COMMAND_WAIT_MAX, self.until(read)).await.map_err(|_| HubError::Timeout)
    }

    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a rule as it lies in the log. One that has ended takes the place of the one before all the same.
    fn apply(&self, reading: u64, rule: Rule) {
        let now = self.clock.wall_ms() / 1000;
        if !self.write_tables().apply(reading, rule.clone(), now) {
            return;
        }
        let in_force = rule.until().is_some_and(|until| until > now);
        if in_force && rule.ends_sessions() {
            let rule = Arc::new(rule);
            self.shards.iter().for_each(|shard| shard.send(ShardEvent::Revoked(rule.clone())));
        }
    }
}

fn explained(error: BrokerError, name: &str) -> BrokerError {
    match error {
        BrokerError::Refused(why) => BrokerError::Refused(
            format!("the log of rules {name:?} (rules.log; rules.enabled = false does without it): {why}").into(),
        ),
        other => other,
    }
}

impl TailSink for Reader {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        for record in batch.drain(..) {
            let Some(payload) = record.payload else { continue };
            match serde_json::from_slice(&payload) {
                Ok(rule) => self.all.apply(self.reading, rule),
                Err(error) => tracing::warn!(%error, "a record in the log of rules is none, it is left out"),
            }
        }
        self.progress.next.fetch_max(next, Relaxed);
        self.all.progressed.notify_waiters();
    }

    fn lost(&self, loss: TailLoss) {
        tracing::warn!(?loss, "the log of rules has a hole or was made anew, it is read again");
        if matches!(loss, TailLoss::NewEpoch { .. }) {
            // Who waits for a record is not to take a number of the log before for its own.
            self.progress.next.store(0, Relaxed);
            self.progress.anew.store(true, Relaxed);
        }
        self.progress.lost.store(true, Relaxed);
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        tracing::warn!(log_offset, ?why, "a record in the log of rules is left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, until: i64) -> Rule {
        Rule::Token { id: id.into(), until }
    }

    #[test]
    fn a_log_that_is_made_anew_lets_nothing_in_that_was_revoked() {
        let mut tables = Tables::default();
        let first = tables.begin(false);
        tables.apply(first, token("t1", 100), 0);
        tables.finish(0);
        let again = tables.begin(true);
        tables.apply(again, token("t2", 100), 0);
        tables.finish(0);
        assert_eq!(tables.in_force.len(), 2);
        let after_a_hole = tables.begin(false);
        tables.apply(after_a_hole, token("t2", 100), 0);
        tables.finish(0);
        assert_eq!(tables.in_force.len(), 2, "the log does not know of the first, ever");
        tables.begin(false);
        tables.finish(200);
        assert_eq!(tables.in_force.len(), 0, "they have ended");
    }

    #[test]
    fn rules_that_have_ended_are_forgotten_by_who_only_reads() {
        let mut tables = Tables::default();
        let reading = tables.begin(false);
        tables.finish(0);
        for now in 0..100_000 {
            tables.apply(reading, token(&format!("t{now}"), now + 10), now);
        }
        assert!(tables.in_force.len() <= SWEEP_FROM, "{}", tables.in_force.len());
    }
}
