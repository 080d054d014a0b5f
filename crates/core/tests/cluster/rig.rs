//! Nodes without shards: what a shard would be told is in an inbox that the test drains.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_broker::{
    Appended, Bounds, BoxFuture, Broker, BrokerError, BrokerFactory as _, BrokerUrl, BuildContext, Capabilities,
    ChannelPage, ChannelTop, Health, Key, Log, LogInfo, LogPurpose, LogSpec, Page, PageLimits, Partition, Record,
    Refused, TailHandle, TailLoss, TailSink, Tailed,
};
use tidegate_core::config::{ControlOptions, CoreOptions, NamespaceOptions};
use tidegate_core::metrics::ShardMetrics;
use tidegate_core::{Change, Control, Drained, Hub, Inbox, ShardEvent};
use tidegate_types::{ChannelName, ClientId, ClientInfo};

type Hook = Box<dyn FnOnce() + Send>;

/// A log in memory that several nodes share, and that can be away.
#[derive(Clone)]
pub(crate) struct Shared {
    inner: Arc<dyn Broker>,
    pub(crate) away: Arc<AtomicBool>,
    /// Bytes of the largest record that is taken; by default as on Kafka.
    pub(crate) takes: Arc<AtomicUsize>,
    /// Records that were taken.
    pub(crate) appended: Arc<AtomicUsize>,
    /// Records of rules are delivered one by one, with a pause.
    pub(crate) dribbles: Arc<AtomicBool>,
    /// Runs once, when a node has been told where a channel stands and does not know it yet.
    after_top: Arc<Mutex<Option<Hook>>>,
    /// Who reads rules.
    rules: Arc<Mutex<Vec<Arc<dyn TailSink>>>>,
}

impl Shared {
    pub(crate) async fn new() -> Self {
        let url = BrokerUrl::parse("memory:").unwrap();
        let inner = tidegate_broker_memory::FACTORY.build(&url, BuildContext::default()).await.unwrap();
        let takes = Arc::new(AtomicUsize::new(1_000_000));
        let (away, appended, dribbles, rules, after_top) = Default::default();
        Self { inner, away, takes, appended, dribbles, rules, after_top }
    }

    /// Does something between the answer to where a channel stands and whoever asked, the next time that somebody asks.
    pub(crate) fn after_next_top(&self, hook: impl FnOnce() + Send + 'static) {
        *self.after_top.lock().unwrap() = Some(Box::new(hook));
    }

    /// Tells whoever reads rules that there is a hole.
    pub(crate) fn lose_rules(&self) {
        let sinks = self.rules.lock().unwrap().clone();
        sinks.iter().for_each(|sink| sink.lost(TailLoss::Truncated { start: 0 }));
    }
}

impl Broker for Shared {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { shared: true, ..self.inner.capabilities() }
    }

    fn open<'a>(&'a self, spec: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>> {
        Box::pin(async move {
            let log = self.inner.open(spec).await?;
            Ok(Arc::new(Unsteady { log, broker: self.clone(), purpose: spec.purpose }) as Arc<dyn Log>)
        })
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Unsteady {
    log: Arc<dyn Log>,
    broker: Shared,
    purpose: LogPurpose,
}

struct Dribbling {
    sink: Arc<dyn TailSink>,
    broker: Shared,
}

impl TailSink for Dribbling {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        if self.broker.dribbles.load(Relaxed) {
            for record in batch.drain(..) {
                let read = record.log_offset;
                self.sink.records(&mut vec![record], read);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.sink.records(batch, next);
    }

    fn lost(&self, loss: TailLoss) {
        self.sink.lost(loss);
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        self.sink.refused(log_offset, why);
    }
}

impl Log for Unsteady {
    fn info(&self) -> LogInfo {
        self.log.info()
    }

    fn partition_of(&self, key: &str) -> Partition {
        self.log.partition_of(key)
    }

    fn append(&self, mut record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        if self.purpose == LogPurpose::Rules {
            // As where it is compacted late.
            record.keep.count_max = 1_000;
        }
        let failed = match self.broker.away.load(Relaxed) {
            true => BrokerError::Unavailable("away".into()),
            false if record.payload.len() > self.broker.takes.load(Relaxed) => BrokerError::Refused("too large".into()),
            false => {
                self.broker.appended.fetch_add(1, Relaxed);
                return self.log.append(record);
            }
        };
        Box::pin(std::future::ready(Err(failed)))
    }

    fn tail(
        &self,
        partition: Partition,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        let sink = match self.purpose {
            LogPurpose::Rules => {
                self.broker.rules.lock().unwrap().push(sink.clone());
                Arc::new(Dribbling { sink, broker: self.broker.clone() })
            }
            _ => sink,
        };
        self.log.tail(partition, from, sink)
    }

    fn bounds(&self, partition: Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        self.log.bounds(partition)
    }

    fn read(&self, at: Partition, from: u64, to: u64, limits: PageLimits) -> BoxFuture<'_, Result<Page, BrokerError>> {
        self.log.read(at, from, to, limits)
    }

    fn channel_top(&self, key: &str) -> Option<ChannelTop> {
        let top = self.log.channel_top(key);
        let hook = self.broker.after_top.lock().unwrap().take_if(|_| self.purpose == LogPurpose::Publications);
        hook.into_iter().for_each(|hook| hook());
        top
    }

    fn read_channel<'a>(
        &'a self,
        key: &'a Key,
        after: u64,
        limits: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>> {
        self.log.read_channel(key, after, limits)
    }
}

pub(crate) const LEASE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_millis(200);

/// A node in a runtime of its own, so that it can be stopped at any moment with everything it does.
pub(crate) struct Node {
    pub(crate) hub: Arc<Hub>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: Arc<ShardMetrics>,
    runtime: Option<tokio::runtime::Runtime>,
    heard: Mutex<Drained>,
}

impl Node {
    pub(crate) fn start(name: &str, broker: &Shared) -> Self {
        Self::start_with(name, broker, |_| {})
    }

    pub(crate) fn start_with(name: &str, broker: &Shared, change: impl Fn(&mut CoreOptions)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let control = ControlOptions { lease: LEASE, grace: GRACE, ..Default::default() };
        let namespace = NamespaceOptions { presence: true, join_leave: true, ..Default::default() };
        let mut options = CoreOptions {
            node_name: name.into(),
            control: Some(control),
            default_namespace: Some(namespace),
            ..Default::default()
        };
        change(&mut options);
        let inbox = Arc::new(Inbox::new(1_000, || {}));
        let metrics = Arc::<ShardMetrics>::default();
        let shards = vec![(inbox.clone(), metrics.clone())];
        let hub = Hub::new(options, Arc::new(broker.clone()), &"main".into(), shards, runtime.handle().clone());
        runtime.block_on(hub.open()).unwrap();
        Self { hub, inbox, metrics, runtime: Some(runtime), heard: Mutex::default() }
    }

    /// Ends as by kill -9: nothing more is said.
    pub(crate) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn control(&self) -> &Control {
        self.hub.control().unwrap()
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    pub(crate) fn spawn<T, F>(
        &self,
        control: Arc<Control>,
        ask: impl FnOnce(Arc<Control>) -> F,
    ) -> tokio::task::JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.as_ref().unwrap().spawn(ask(control))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.hub.control().unwrap().nodes().into_iter().map(|(_, report)| report.name).collect()
    }

    pub(crate) fn join(&self, channel: &str, client: u128, user: &str) {
        self.join_showing(channel, client, user, "");
    }

    pub(crate) fn join_showing(&self, channel: &str, client: u128, user: &str, chan_info: &str) {
        let chan_info = chan_info.to_owned().into();
        let client_info = ClientInfo { user: user.into(), client: ClientId(client).to_string(), ..Default::default() };
        self.control().join(&name(channel), ClientId(client), ClientInfo { chan_info, ..client_info }).unwrap();
    }

    pub(crate) fn leave(&self, channel: &str, client: u128, away: bool) {
        self.control().leave(&name(channel), ClientId(client), away);
    }

    /// Users present in a channel, sorted.
    pub(crate) fn users(&self, channel: &str) -> Vec<String> {
        let members = self.wait(self.control().presence(&name(channel))).unwrap();
        let mut users: Vec<String> = members.iter().map(|info| info.user.clone()).collect();
        users.sort();
        users
    }

    /// What a shard was told since the last call.
    pub(crate) fn told(&self) -> Vec<ShardEvent> {
        let mut heard = self.heard.lock().unwrap();
        self.inbox.drain(&mut heard);
        heard.events.drain(..).collect()
    }

    /// Waits until a shard was told of exactly these joins and leaves, in this order.
    pub(crate) fn until_told(&self, expected: &[&str]) {
        let mut told = Vec::new();
        let begun = Instant::now();
        while told.len() < expected.len() {
            assert!(begun.elapsed() < Duration::from_secs(20), "told of {told:?}, not of {expected:?}");
            std::thread::sleep(Duration::from_millis(2));
            told.extend(self.changes());
        }
        assert_eq!(told, expected);
    }

    /// Joins and leaves that a shard was told of since the last call.
    pub(crate) fn changes(&self) -> Vec<String> {
        let text = |change: Change| format!("{}{}", if change.joined { "+" } else { "-" }, change.info.user);
        let events = self.told().into_iter();
        events
            .filter_map(|event| if let ShardEvent::Presence(change) = event { Some(text(change)) } else { None })
            .collect()
    }
}

pub(crate) fn name(channel: &str) -> ChannelName {
    ChannelName::parse(channel).unwrap()
}

/// Waits until something holds, with a deadline.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn shared() -> Shared {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Shared::new())
}
