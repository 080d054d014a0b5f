//! The control log: what nodes tell each other, on the same machinery as publications.
//!
//! A node appends a *proposal*, every node folds the log to the same *verdict* ([`fold`]), and the proposer answers when
//! its own tail has returned it. On this stand the list of nodes with their leases, presence, and the way of commands to
//! connections of other nodes. On a broker that no other node shares there is no log: the node folds what it proposes.
//!
//! A node is a lease. Every record renews it; a node that was silent for a whole lease *lapses* by a proposal of another
//! one, whose own tail was live all that time: while the broker is away nobody lapses. What this node announced is in
//! [`outbox`], so that it can say all of it again, to a node that is new or after it has lapsed itself.
//!
//! # Invariants
//! - Records of this node reach the log in the order of their numbers, one at a time; one whose outcome is unknown is
//!   written again, and counts once.
//! - Effects are carried out in log order, outside of the locks. Order of the locks: `fold`, then `outbox`.

mod claims;
mod fold;
mod outbox;
mod presence;
mod record;
mod survey;
mod tasks;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use smallvec::SmallVec;
use tidegate_broker::{Broker, BrokerError, Log, LogPurpose, LogSpec, Refused, TailHandle, TailLoss, TailSink, Tailed};
use tidegate_types::limits::{COMMAND_WAIT_MAX, CONTROL_RECORD_BYTES_MAX};
use tidegate_types::{ChannelName, ClientId, ClientInfo};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::error::HubError;
use crate::inbox::{Inbox, ShardEvent};
use crate::metrics::Counter;
use crate::uplink::{Sessions, UplinkError};

use fold::{Effect, Fold};
use outbox::{Outbox, Outcome, Unfit};
pub use presence::Change;
pub use record::{Action, Order, OrderedSubscription, Report};
use record::{Alive, Empty, Entry, Member, Proposal, Weighed};
pub use survey::{CHANNELS_MAX, ChannelCounts, ChannelPattern};

/// Settings of the control log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlOptions {
    /// Name of the log; `None` = that of the default log with `.control` behind it.
    pub log: Option<Arc<str>>,
    /// A node that is silent for so long has lapsed.
    pub lease: Duration,
    /// How long a client whose connection broke is still present: its user may be back before.
    pub grace: Duration,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self { log: None, lease: Duration::from_secs(10), grace: Duration::from_secs(3) }
    }
}

/// Where proposals are put in order.
#[derive(Default)]
enum Carrier {
    /// Not open yet.
    #[default]
    None,
    /// By this node, for itself: the offset of the next one.
    Alone(u64),
    Log {
        log: Arc<dyn Log>,
        #[expect(dead_code, reason = "dropping it stops the tail")]
        tail: TailHandle,
    },
}

/// See the module docs.
pub struct Control {
    this: Weak<Self>,
    options: ControlOptions,
    me: Arc<str>,
    clock: Clock,
    shards: Box<[Arc<Inbox>]>,
    sessions: Arc<Sessions>,
    report: Box<dyn Fn() -> Report + Send + Sync>,
    carrier: Mutex<Carrier>,
    fold: Mutex<Fold>,
    outbox: Mutex<Outbox>,
    /// Shards that want to be told of joins and leaves, with how many of their subscriptions do.
    watched: Mutex<HashMap<Arc<str>, Watchers>>,
    claims: Mutex<claims::Claims>,
    /// Questions of this node for channels.
    gatherings: Mutex<survey::Gatherings>,
    /// Set when the log is opened.
    runtime: OnceLock<Handle>,
    /// There is something to write.
    filled: Notify,
    /// Something was read.
    progressed: Notify,
    /// The log has to be opened anew.
    lost: AtomicBool,
    untold: Counter,
    /// When this node last said how it is, when the last record was written, and when a record of this node was last read:
    /// microseconds of its clock.
    reported_us: AtomicU64,
    written_us: AtomicU64,
    read_own_us: AtomicU64,
    /// Since when what this node writes comes back in time; 0 = it does not.
    live_since_us: AtomicU64,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Shards, and how many of their subscriptions.
type Watchers = SmallVec<[(u16, u32); 2]>;

/// All entries have this key: one partition, one order.
const KEY: &str = "control";

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What no record of the log holds. It is refused where there is no log too, so that it does not depend on the broker.
fn too_large(bytes: usize) -> HubError {
    let why = format!("it takes {bytes} bytes of the control log, whose records hold {CONTROL_RECORD_BYTES_MAX}");
    HubError::BadRequest(why.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    pub(crate) fn new(
        options: ControlOptions,
        me: &str,
        clock: Clock,
        shards: Box<[Arc<Inbox>]>,
        sessions: Arc<Sessions>,
        report: impl Fn() -> Report + Send + Sync + 'static,
    ) -> Arc<Self> {
        let me: Arc<str> = me.into();
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            options,
            clock,
            shards,
            sessions,
            report: Box::new(report),
            carrier: Mutex::default(),
            fold: Mutex::new(Fold::new(me.clone())),
            me,
            outbox: Mutex::default(),
            watched: Mutex::default(),
            claims: Mutex::default(),
            gatherings: Mutex::default(),
            runtime: OnceLock::new(),
            filled: Notify::new(),
            progressed: Notify::new(),
            lost: AtomicBool::new(false),
            untold: Counter::default(),
            reported_us: AtomicU64::new(0),
            written_us: AtomicU64::new(0),
            read_own_us: AtomicU64::new(0),
            live_since_us: AtomicU64::new(0),
        })
    }

    /// Opens the log and begins. May be called again after an error, and does nothing when it is open.
    pub(crate) async fn open(self: &Arc<Self>, broker: &dyn Broker, default_log: &str) -> Result<(), BrokerError> {
        if !matches!(*lock(&self.carrier), Carrier::None) {
            return Ok(());
        }
        let _ = self.runtime.set(Handle::current());
        if !broker.capabilities().shared {
            *lock(&self.carrier) = Carrier::Alone(0);
            lock(&self.fold).set_whole();
            self.begin();
            tokio::spawn(tasks::watch(Arc::downgrade(self)));
            return Ok(());
        }
        let name = self.options.log.clone().unwrap_or_else(|| format!("{default_log}.control").into());
        let log = broker
            .open(&LogSpec { name: name.clone(), read_only: false, purpose: LogPurpose::Control })
            .await
            .map_err(|e| explained(e, &name))?;
        self.tail(log).await?;
        tokio::spawn(tasks::write(Arc::downgrade(self)));
        tokio::spawn(tasks::watch(Arc::downgrade(self)));
        Ok(())
    }

    /// Starts to read at the end, and begins.
    async fn tail(self: &Arc<Self>, log: Arc<dyn Log>) -> Result<(), BrokerError> {
        let (partition, epoch) = (log.partition_of(KEY), log.info().epoch);
        let end = log.bounds(partition).await?.end;
        let tail = log.tail(partition, end, self.clone() as Arc<dyn TailSink>).await?;
        if log.info().epoch != epoch {
            return Err(BrokerError::Unavailable("the control log is being made anew, retry".into()));
        }
        *lock(&self.carrier) = Carrier::Log { log, tail };
        self.begin();
        Ok(())
    }

    /// Says that a life of this node begins, and all that it has to announce.
    fn begin(&self) {
        let report = self.report_now();
        let alive = Alive { begins: true, asks: true, report: report.clone() };
        lock(&self.outbox).announce(Some(Entry::Alive(alive)), &report, &[]);
        self.flush();
    }

    /// How this node is, for the others to know.
    fn report_now(&self) -> Report {
        self.reported_us.store(self.clock.monotonic_us(), Relaxed);
        (self.report)()
    }

    /// Whether this node knows all that others had announced when it began.
    fn is_whole(&self) -> bool {
        lock(&self.fold).is_whole(micros(self.options.lease), self.clock.monotonic_us())
    }

    async fn until<T>(&self, mut found: impl FnMut() -> Option<T>) -> T {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            if let Some(found) = found() {
                return found;
            }
            progressed.await;
        }
    }

    /// The nodes that are there, this one among them once it has begun.
    pub fn nodes(&self) -> Vec<(Arc<str>, Report)> {
        lock(&self.fold).nodes()
    }

    /// Clients present in all channels of all nodes.
    pub fn present(&self) -> usize {
        lock(&self.fold).presence.total()
    }

    /// A client of this node is present in a channel.
    ///
    /// # Errors
    /// When it shows more than a record of the log holds: it is not present then.
    pub fn join(&self, channel: &ChannelName, client: ClientId, info: ClientInfo) -> Result<(), HubError> {
        Self::check_info(channel, &info)?;
        lock(&self.outbox).join(channel.shared().clone(), client, info);
        self.changed();
        Ok(())
    }

    /// Whether a client can be present in a channel with what it shows.
    pub(crate) fn check_info(channel: &ChannelName, info: &ClientInfo) -> Result<(), HubError> {
        Member::too_large(channel, info).map_or(Ok(()), |bytes| Err(too_large(bytes)))
    }

    /// It left; `away` when only its connection broke, so that its user may be back.
    pub fn leave(&self, channel: &ChannelName, client: ClientId, away: bool) {
        lock(&self.outbox).leave(channel.shared().clone(), client, away);
        self.changed();
    }

    /// Has a change of presence written, which may be soon anyway.
    fn changed(&self) {
        if !lock(&self.outbox).gathers() {
            self.flush();
        }
    }

    /// One more subscription of a shard wants to be told of joins and leaves in a channel, as [`ShardEvent::Presence`].
    pub fn watch(&self, channel: &ChannelName, shard: u16) {
        let mut watched = lock(&self.watched);
        let shards = watched.entry(channel.shared().clone()).or_default();
        match shards.iter_mut().find(|(s, _)| *s == shard) {
            Some((_, count)) => *count += 1,
            None => shards.push((shard, 1)),
        }
    }

    /// Ends what [`Control::watch`] began.
    pub fn unwatch(&self, channel: &ChannelName, shard: u16) {
        let mut watched = lock(&self.watched);
        let Some(shards) = watched.get_mut(channel.as_str()) else { return };
        shards.iter_mut().filter(|(s, _)| *s == shard).for_each(|(_, count)| *count -= 1);
        shards.retain(|(_, count)| *count > 0);
        if shards.is_empty() {
            watched.remove(channel.as_str());
        }
    }

    fn tell(&self, change: &Change) {
        let watching = lock(&self.watched).get(&change.channel).cloned().unwrap_or_default();
        for (shard, _) in watching {
            if !self.shards[usize::from(shard)].offer(ShardEvent::Presence(change.clone())) {
                self.untold.add(1);
            }
        }
    }

    /// Joins and leaves that a shard with too much to do was not told of.
    pub fn untold(&self) -> u64 {
        self.untold.get()
    }

    /// Everybody who is present in a channel. Asks no other node; sees what this node has announced.
    ///
    /// # Errors
    /// When the log does not return what this node has written, in [`COMMAND_WAIT_MAX`].
    pub async fn presence(&self, channel: &ChannelName) -> Result<Vec<Arc<ClientInfo>>, HubError> {
        self.caught_up().await?;
        Ok(lock(&self.fold).presence.members(channel.as_str()))
    }

    /// How many clients and users are present in a channel. As [`Control::presence`], in constant time.
    ///
    /// # Errors
    /// As [`Control::presence`].
    pub async fn presence_stats(&self, channel: &ChannelName) -> Result<(usize, usize), HubError> {
        self.caught_up().await?;
        Ok(lock(&self.fold).presence.stats(channel.as_str()))
    }

    async fn caught_up(&self) -> Result<(), HubError> {
        let said = lock(&self.outbox).changes();
        let seen = self.until(|| (self.is_whole() && lock(&self.outbox).has_settled(said)).then_some(()));
        tokio::time::timeout(COMMAND_WAIT_MAX, seen).await.map_err(|_| HubError::Timeout)
    }

    /// Brings commands to a connection of another node.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub(crate) async fn uplink(&self, node: &str, session: &str, data: &Bytes) -> Result<(), UplinkError> {
        // Who has just begun may not have heard of it yet.
        let whole = self.until(|| self.is_whole().then_some(()));
        tokio::time::timeout(COMMAND_WAIT_MAX, whole).await.map_err(|_| UplinkError::Busy)?;
        if !lock(&self.fold).knows(node) {
            return Err(UplinkError::UnknownNode);
        }
        let (verdict, accepted) = oneshot::channel();
        let uplink = record::Uplink { node: node.to_owned(), session: session.to_owned(), data: STANDARD.encode(data) };
        let proposed = lock(&self.outbox).propose(Weighed::new(Entry::Uplink(uplink)), Some(verdict));
        proposed.map_err(|unfit| match unfit {
            Unfit::Full => UplinkError::Busy,
            Unfit::TooLarge(_) => UplinkError::TooLarge,
        })?;
        self.flush();
        match tokio::time::timeout(COMMAND_WAIT_MAX, accepted).await {
            Ok(Ok(Outcome::Accepted)) => Ok(()),
            Ok(Ok(Outcome::Declined) | Err(_)) => Err(UplinkError::UnknownNode),
            Ok(Ok(Outcome::Refused(_))) => Err(UplinkError::Refused),
            Err(_) => Err(UplinkError::Busy),
        }
    }

    /// Has every node carry out an order.
    ///
    /// # Errors
    /// When it is larger than a record of the log, or the log refuses it. When it does not reach the log in
    /// [`COMMAND_WAIT_MAX`]; then it may still be carried out.
    pub async fn order(&self, order: Order) -> Result<(), HubError> {
        let (verdict, accepted) = oneshot::channel();
        self.propose(Entry::Order(order), Some(verdict))?;
        match tokio::time::timeout(COMMAND_WAIT_MAX, accepted).await {
            Ok(Ok(Outcome::Accepted)) => Ok(()),
            Ok(Ok(Outcome::Refused(why))) => Err(why.into()),
            Ok(_) => Err(BrokerError::Unavailable("this node is beginning anew, try again".into()).into()),
            Err(_) => Err(HubError::Timeout),
        }
    }

    /// Proposes something; without a verdict, whether anybody waits for it or not.
    fn propose(&self, entry: Entry, verdict: Option<outbox::Verdict>) -> Result<(), HubError> {
        // Weighed before the lock is taken.
        let weighed = Weighed::new(entry);
        let proposed = lock(&self.outbox).propose(weighed, verdict);
        proposed.map_err(|unfit| match unfit {
            Unfit::Full => BrokerError::Overloaded("too much waits for the control log, try again".into()).into(),
            Unfit::TooLarge(bytes) => too_large(bytes),
        })?;
        self.flush();
        Ok(())
    }

    /// Takes this node out in order: what it announced lapses, but for clients on their way to other nodes.
    pub(crate) async fn close(&self) {
        let (verdict, settled) = oneshot::channel();
        if self.propose(Entry::Gone(Empty {}), Some(verdict)).is_ok() {
            // Without it the lease ends by itself.
            let _ = tokio::time::timeout(COMMAND_WAIT_MAX, settled).await;
        }
    }

    /// Has written what waits.
    fn flush(&self) {
        let mut carrier = lock(&self.carrier);
        match &mut *carrier {
            Carrier::Alone(at) => {
                // The carrier's lock keeps the order; effects of what is folded here propose nothing.
                while let Some(proposal) = self.next() {
                    *at += 1;
                    self.fold(*at, proposal);
                }
                drop(carrier);
                self.progressed.notify_waiters();
            }
            Carrier::Log { .. } | Carrier::None => self.filled.notify_one(),
        }
    }

    fn next(&self) -> Option<Proposal> {
        let (seq, entries) = lock(&self.outbox).next()?;
        Some(Proposal { node: self.me.to_string(), seq, entries })
    }

    fn fold(&self, at: u64, proposal: Proposal) {
        let now_us = self.clock.monotonic_us();
        if *proposal.node == *self.me {
            self.read_own_us.store(now_us, Relaxed);
            // It is live again from here on, if it was not.
            let _ = self.live_since_us.compare_exchange(0, now_us.max(1), Relaxed, Relaxed);
        }
        let mut effects = Vec::new();
        lock(&self.fold).apply(at, proposal, now_us, &mut effects);
        effects.into_iter().for_each(|effect| self.carry_out(effect));
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Uplink { session, data } => {
                if let Some((shard, ticket)) = self.sessions.find(&session) {
                    self.shards[usize::from(shard)].oblige(ticket, data);
                }
            }
            Effect::Presence(change) => {
                if !change.joined
                    && let Some(client) = ClientId::parse(&change.info.client)
                {
                    lock(&self.outbox).left(&change.channel, client);
                }
                self.tell(&change);
            }
            Effect::Order(Order { action: Action::Single { client }, .. }) if !lock(&self.claims).is_first(&client) => {
            }
            Effect::Order(order) => {
                let order = Arc::new(order);
                self.shards.iter().for_each(|shard| shard.send(ShardEvent::Order(order.clone())));
            }
            Effect::Survey { from, survey } => self.answer(from, &survey),
            Effect::Counts { from, counts } => self.gather(&from, counts),
            Effect::Replaced { channel, client } => lock(&self.outbox).left(&channel, client),
            Effect::Announce => self.announce_all(),
            Effect::Begin => {
                tracing::warn!("other nodes took this one for dead: it was silent for a lease, and begins anew");
                self.announce(Some(Alive { begins: true, asks: false, report: self.report_now() }));
            }
            Effect::Settled { seq, accepted } => lock(&self.outbox).settle(seq, &accepted),
        }
    }

    /// Where the log has refused the beginning of this life, that is said as well, and asks what there is.
    fn announce_all(&self) {
        let begins = lock(&self.outbox).owed().is_some_and(|owed| owed.begins);
        self.announce(begins.then(|| Alive { begins, asks: true, report: self.report_now() }));
    }

    fn announce(&self, begins: Option<Alive>) {
        // Who has just begun does not know for whom others have to wait.
        let peers = if self.is_whole() { lock(&self.fold).peers() } else { Vec::new() };
        lock(&self.outbox).announce(begins.map(Entry::Alive), &self.report_now(), &peers);
        self.filled.notify_one();
    }
}

fn explained(error: BrokerError, name: &str) -> BrokerError {
    let text = |why: &str| {
        format!(
            "the control log {name:?} (control.log; control.enabled = false does without it and what needs it): {why}"
        )
    };
    match error {
        BrokerError::Refused(why) => BrokerError::Refused(text(&why).into()),
        other => other,
    }
}

impl TailSink for Control {
    fn records(&self, batch: &mut Vec<Tailed>, _next: u64) {
        for record in batch.drain(..) {
            let Some(payload) = record.payload.filter(|_| *record.key == *KEY) else { continue };
            match serde_json::from_slice(&payload) {
                Ok(proposal) => self.fold(record.log_offset, proposal),
                Err(error) => tracing::warn!(%error, "a record of the control log is not a node's, it is left out"),
            }
        }
        self.progressed.notify_waiters();
    }

    fn lost(&self, loss: TailLoss) {
        tracing::warn!(?loss, "the control log has a hole or was made anew: this node begins anew");
        self.lost.store(true, Relaxed);
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        tracing::warn!(log_offset, ?why, "a record of the control log is left out");
    }
}
