//! The node's door to its logs.
//!
//! A hub owns one [`Cell`] per partition of every log that a namespace is bound to, starts and stops their tails as
//! interest comes and goes, and answers: publish, subscribe with recovery, read on from a cursor, history. What can be
//! answered from the window is answered at once, on the caller's thread; everything else runs on the tokio side and
//! comes back through the shard's [`Inbox`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tidegate_broker::{Broker, BrokerError, Health, Key, Log, LogPurpose, LogSpec, Partition};
use tidegate_types::{ChannelName, Epoch};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::cell::{Cell, CellContext, Tail};
use crate::clock::{Clock, Seldom};
use crate::config::CoreOptions;
use crate::control::{Control, Report};
use crate::error::HubError;
use crate::inbox::{Inbox, ShardEvent};
use crate::metrics::{NodeMetrics, ShardMetrics};
use crate::namespace::{Namespace, Namespaces};
use crate::reads::Reads;
use crate::rules::Rules;
use crate::uplink::Sessions;
use crate::users::UserCounts;
use crate::window::{Bounds, Budget, Listener, Numbering, Window};

/// Names a partition of a log for as long as its epoch lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CellId(pub(crate) u32);

#[cfg(test)]
impl CellId {
    pub(crate) fn for_tests(number: u32) -> Self {
        Self(number)
    }
}

/// One epoch of a log.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) log: LogRef,
    pub(crate) epoch: Epoch,
    pub(crate) compacted: bool,
    pub(crate) cells: Box<[Arc<Cell>]>,
    /// Another one took its place, though the epoch may be the same again.
    replaced: AtomicBool,
}

impl OpenLog {
    /// An error once the log itself is at another epoch: positions, partitions and cells of this one are void.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        match self.log.info().epoch == self.epoch && !self.is_replaced() {
            true => Ok(()),
            false => Err(BrokerError::Unavailable("the log was made anew or re-partitioned, retry".into())),
        }
    }
}

impl OpenLog {
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Relaxed)
    }
}

/// A log that can be printed.
#[derive(Clone)]
pub(crate) struct LogRef(pub(crate) Arc<dyn Log>);

impl std::fmt::Debug for LogRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl std::ops::Deref for LogRef {
    type Target = dyn Log;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// A channel as a shard holds it: name, settings, key and partition, looked up once.
#[derive(Clone, Debug)]
pub struct Channel {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) key: Key,
    pub(crate) log: Arc<OpenLog>,
    pub(crate) cell: Arc<Cell>,
}

impl Channel {
    /// Its settings.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its partition.
    pub fn cell(&self) -> CellId {
        self.cell.id
    }

    /// The epoch of its positions.
    pub fn epoch(&self) -> &Epoch {
        &self.log.epoch
    }
}

/// A partition for a metric or a person.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// `log/partition`.
    pub name: String,
    /// Log offset up to which this node has read.
    pub next: u64,
    /// The log's end as last asked for, at most some seconds ago.
    pub end: u64,
    /// Whether it is tailed and warm.
    pub warm: bool,
    /// Bytes that the window holds.
    pub held_bytes: usize,
    /// Channels of shards that listen.
    pub listeners: usize,
}

/// See the module docs.
#[derive(Debug)]
pub struct Hub {
    pub(crate) options: CoreOptions,
    namespaces: Arc<Namespaces>,
    broker: BrokerRef,
    pub(crate) numbering: Numbering,
    logs: Box<[ArcSwapOption<OpenLog>]>,
    /// Held while a log is replaced by its next epoch: one at a time, and once.
    reopening: Mutex<()>,
    context: Arc<CellContext>,
    shard_metrics: Arc<[Arc<ShardMetrics>]>,
    runtime: Handle,
    budget: Arc<Budget>,
    next_cell: AtomicU32,
    pub(crate) uid: String,
    pub(crate) sessions: Arc<Sessions>,
    control: Option<Arc<Control>>,
    rules: Option<Arc<Rules>>,
    default_log: Arc<str>,
    users: Arc<UserCounts>,
    pub(crate) reads: Reads,
    /// Subscriptions that could not begin.
    pub(crate) unbegun: Seldom,
    /// Slow readers that got nothing from the log.
    pub(crate) unserved: Seldom,
}

struct BrokerRef(Arc<dyn Broker>);

impl std::fmt::Debug for BrokerRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Hub {
    /// A hub over `broker`, whose shards are told through `shards`. Starts the housekeeping on `runtime`; it ends when
    /// the hub is dropped. Call [`Hub::open`] before serving.
    pub fn new(
        options: CoreOptions,
        broker: Arc<dyn Broker>,
        default_log: &Arc<str>,
        shards: Vec<(Arc<Inbox>, Arc<ShardMetrics>)>,
        runtime: Handle,
    ) -> Arc<Self> {
        let namespaces = Arc::new(Namespaces::new(&options, default_log));
        let (inboxes, shard_metrics): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
        let (losses, lost) = mpsc::channel(namespaces.logs().len().max(1));
        let context = Arc::new(CellContext {
            shards: inboxes.into(),
            metrics: Arc::default(),
            clock: Clock::default(),
            losses,
            dedup_offsets: options.window.dedup_offsets,
        });
        let numbering = if broker.capabilities().channel_offsets { Numbering::Channel } else { Numbering::Log };
        let uid = random_id().to_string();
        let sessions = Arc::<Sessions>::default();
        let shard_metrics: Arc<[Arc<ShardMetrics>]> = shard_metrics.into();
        let users = Arc::new(UserCounts::new(options.client.user_connection_limit));
        let control = options.control.clone().map(|control| {
            let (name, version, clock) = (options.node_name.clone(), options.version, context.clock);
            let (metrics, users) = (shard_metrics.clone(), users.clone());
            let report = move || report(&name, version, &metrics, &users, clock);
            Control::new(control, &uid, clock, context.shards.clone(), sessions.clone(), report)
        });
        let rules = options.rules.clone();
        let rules = rules.map(|o| Rules::new(o, context.clock, context.shards.clone()));
        let budget = options.window.payload_bytes_max;
        let hub = Arc::new(Self {
            rules,
            reopening: Mutex::default(),
            logs: namespaces.logs().iter().map(|_| ArcSwapOption::empty()).collect(),
            options,
            namespaces,
            broker: BrokerRef(broker),
            numbering,
            context,
            shard_metrics,
            runtime,
            budget: Arc::new(Budget::new(budget)),
            next_cell: AtomicU32::new(0),
            uid,
            sessions,
            control,
            default_log: default_log.clone(),
            users,
            reads: Reads::default(),
            unbegun: Seldom::default(),
            unserved: Seldom::default(),
        });
        hub.look_after_tails(lost);
        hub
    }

    /// Opens every log that a namespace needs, the control log and that of rules, which it reads to its end. May be called again after an error; what is open
    /// stays open.
    ///
    /// # Errors
    /// The first error of the broker; its text says what to do.
    pub async fn open(&self) -> Result<(), BrokerError> {
        for (index, binding) in self.namespaces.logs().iter().enumerate() {
            if self.logs[index].load().is_none() {
                let spec = LogSpec {
                    name: binding.name.clone(),
                    read_only: binding.read_only,
                    purpose: LogPurpose::Publications,
                };
                let log = self.broker.0.open(&spec).await?;
                self.logs[index].store(Some(Arc::new(self.open_log(index, log))));
            }
        }
        if let Some(control) = &self.control {
            control.open(&*self.broker.0, &self.default_log).await?;
        }
        if let Some(rules) = &self.rules {
            rules.open(&*self.broker.0, &self.default_log).await?;
        }
        Ok(())
    }

    /// Whether every log was opened once.
    pub fn is_open(&self) -> bool {
        self.logs.iter().all(|log| log.load().is_some())
    }

    fn open_log(&self, index: usize, log: Arc<dyn Log>) -> OpenLog {
        let info = log.info();
        let name = &self.namespaces.logs()[index].name;
        let formats = self.namespaces.any_json_only(index).then(|| self.namespaces.clone());
        let bounds = Bounds {
            dedup_offsets: self.options.window.dedup_offsets,
            index_max: self.options.window.index_keys_max / info.partitions.max(1) as usize,
            budget: self.budget.clone(),
        };
        let cell = |partition: u32| {
            let id = CellId(self.next_cell.fetch_add(1, Relaxed));
            let window = Window::new(self.numbering, &bounds);
            let name = format!("{name}/{partition}");
            Arc::new(Cell::new(id, index, name, window, self.context.clone(), formats.clone()))
        };
        let cells = (0..info.partitions).map(cell).collect();
        let (epoch, compacted) = (info.epoch, info.compacted);
        OpenLog { log: LogRef(log), epoch, compacted, cells, replaced: AtomicBool::new(false) }
    }

    /// Starts a log anew after its numbering changed: new cells, and every subscription on the old ones ends.
    pub(crate) fn reopen(&self, index: usize) {
        let one = self.reopening.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = self.logs[index].load_full() else { return };
        // An epoch may be what it was again, and a tail of it has ended nevertheless.
        if old.check().is_ok() && !old.cells.iter().any(|cell| cell.has_ended()) {
            return;
        }
        self.logs[index].store(Some(Arc::new(self.open_log(index, old.log.0.clone()))));
        // Before its cells are locked: no tail begins there any more.
        old.replaced.store(true, Relaxed);
        drop(one);
        for cell in &old.cells {
            let (ended, listeners) = {
                let mut state = cell.lock();
                (std::mem::replace(&mut state.tail, Tail::Cold), state.window.listeners())
            };
            // After the lock: ending a tail may take a lock of the broker's.
            drop(ended);
            cell.progressed.notify_waiters();
            // Who comes to listen from here on finds that the log is another one.
            if listeners > 0 {
                cell.invalidate();
            }
        }
    }

    /// Every log that was opened, with its index.
    pub(crate) fn open_logs(&self) -> impl Iterator<Item = (usize, Arc<OpenLog>)> {
        self.logs.iter().enumerate().filter_map(|(index, log)| Some((index, log.load_full()?)))
    }

    /// A log at its present epoch. Whoever asks first after a change starts it anew: there may be no tail that would say.
    fn log(&self, index: usize) -> Result<Arc<OpenLog>, HubError> {
        let away = || BrokerError::Unavailable("the log was not reached since this node started, retry".into());
        let log = self.logs[index].load_full().ok_or_else(away)?;
        if log.check().is_ok() {
            return Ok(log);
        }
        self.reopen(index);
        Ok(self.logs[index].load_full().ok_or_else(away)?)
    }

    /// Looks a channel up.
    ///
    /// # Errors
    /// [`HubError::UnknownChannel`]; a retryable error while its log was never reached.
    pub fn channel(&self, name: &ChannelName) -> Result<Channel, HubError> {
        let namespace = self.namespaces.resolve(name).ok_or_else(|| HubError::UnknownChannel(name.clone()))?;
        let log = self.log(namespace.log)?;
        let key = namespace.key(name);
        let Partition(partition) = log.log.partition_of(&key);
        let cell = log
            .cells
            .get(partition as usize)
            .cloned()
            .ok_or_else(|| BrokerError::Unavailable("the log is being re-partitioned, retry".into()))?;
        Ok(Channel { namespace: namespace.clone(), key, log, cell })
    }

    /// What counts no more; `None` where nothing can be revoked.
    pub fn rules(&self) -> Option<&Arc<Rules>> {
        self.rules.as_ref()
    }

    /// How many sessions users have here.
    pub fn users(&self) -> &UserCounts {
        &self.users
    }

    /// Settings of all channels.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Name of the log that a channel lies in.
    pub(crate) fn log_name(&self, channel: &Channel) -> &str {
        &self.namespaces.logs()[channel.namespace.log].name
    }

    /// The settings of a channel's namespace; `None` when it is not configured.
    pub fn namespace(&self, name: &ChannelName) -> Option<&Arc<Namespace>> {
        self.namespaces.resolve(name)
    }

    /// Registers a shard's channel: from here on its inbox gets every publication. Do it before [`Hub::subscribe`].
    pub fn listen(&self, channel: &Channel, shard: u16, slot: u32, registration: u32) {
        let mut state = channel.cell.lock();
        state.idle_since_us = None;
        state.window.listen(&channel.key, Listener { shard, slot, registration });
    }

    /// Ends what [`Hub::listen`] began.
    pub fn unlisten(&self, channel: &Channel, shard: u16, slot: u32, registration: u32) {
        let mut state = channel.cell.lock();
        state.window.unlisten(&channel.key, Listener { shard, slot, registration });
        if state.window.listeners() == 0 {
            state.idle_since_us = Some(self.clock().monotonic_us());
        }
    }

    /// The node's clocks.
    pub fn clock(&self) -> Clock {
        self.context.clock
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Arc<NodeMetrics> {
        &self.context.metrics
    }

    /// What the shards count.
    pub fn shard_metrics(&self) -> &[Arc<ShardMetrics>] {
        &self.shard_metrics
    }

    /// How the broker is.
    pub fn broker_health(&self) -> Health {
        self.broker.0.health()
    }

    /// Every partition that was opened.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        self.open_logs().flat_map(|(_, log)| log.cells.iter().map(|cell| status(cell)).collect::<Vec<_>>()).collect()
    }

    /// The nodes that are known, this one among them, by their ids, which differ in every life of a process.
    pub fn nodes(&self) -> Vec<(Arc<str>, Report)> {
        let mut nodes = self.control.as_ref().map(|control| control.nodes()).unwrap_or_default();
        nodes.retain(|(id, _)| **id != *self.uid);
        nodes.insert(0, (self.uid.as_str().into(), self.report()));
        nodes
    }

    /// How this node is.
    pub fn report(&self) -> Report {
        report(&self.options.node_name, self.options.version, &self.shard_metrics, &self.users, self.clock())
    }

    /// What this node and others tell each other; `None` where that is switched off.
    pub fn control(&self) -> Option<&Arc<Control>> {
        self.control.as_ref()
    }

    /// Takes this node out, flushes and closes the broker.
    pub async fn shutdown(&self) {
        if let Some(control) = &self.control {
            control.close().await;
        }
        self.broker.0.shutdown().await;
    }

    /// The runtime that everything runs on that a shard does not wait for.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Tells a shard something.
    pub fn tell(&self, shard: u16, event: ShardEvent) {
        self.inbox(shard).send(event);
    }

    pub(crate) fn inbox(&self, shard: u16) -> &Arc<Inbox> {
        &self.context.shards[usize::from(shard)]
    }
}

fn report(name: &str, version: &str, shards: &[Arc<ShardMetrics>], users: &UserCounts, clock: Clock) -> Report {
    let sum = |read: fn(&ShardMetrics) -> i64| shards.iter().map(|m| u64::try_from(read(m)).unwrap_or(0)).sum();
    Report {
        name: name.to_owned(),
        version: version.to_owned(),
        clients: sum(|m| m.clients.get()),
        users: Some(users.distinct() as u64),
        subscriptions: sum(|m| m.subscriptions.get()),
        channels: sum(|m| m.channels.get()),
        uptime_seconds: clock.monotonic_us() / 1_000_000,
    }
}

fn status(cell: &Cell) -> PartitionStatus {
    let state = cell.lock();
    PartitionStatus {
        name: cell.name().to_owned(),
        next: state.window.next(),
        end: cell.known_end.load(Relaxed).max(state.window.next()),
        warm: state.is_warm(),
        held_bytes: state.window.held_bytes(),
        listeners: state.window.listeners(),
    }
}

/// Sixteen random bytes as a client id.
pub fn random_id() -> tidegate_types::ClientId {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    tidegate_types::ClientId::from_random(random)
}
