//! A shared Kafka, topics of one's own, a sink that remembers, and records written past Tidegate.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidegate_broker::{
    Broker, BrokerError, BrokerFactory as _, BrokerUrl, BuildContext, Keep, Log, LogPurpose, LogSpec, PageLimits,
    Record, Refused, Secret, TailLoss, TailSink, Tailed,
};
use tidegate_broker_kafka::FACTORY;
use tidegate_testkit::kafka::{Jars, Kafka, Tools};

/// Longer than anything takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const PAGE: PageLimits = PageLimits { records_max: 10_000, bytes_max: 64 << 20 };

/// A Kafka that tests share while they overlap; the last one stops it.
pub(crate) struct Shared {
    _process: Option<Kafka>,
    pub(crate) bootstrap: String,
}

impl Shared {
    pub(crate) fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(match std::env::var("TIDEGATE_TEST_KAFKA") {
            Ok(bootstrap) => Self { _process: None, bootstrap },
            Err(_) => {
                let kafka = Kafka::start().expect("Kafka starts");
                Self { bootstrap: kafka.bootstrap(), _process: Some(kafka) }
            }
        });
        *shared = Arc::downgrade(&started);
        started
    }

    pub(crate) fn tools(&self) -> Tools {
        Tools::new(Jars::ensure().expect("Kafka's jars"), &self.bootstrap)
    }

    /// A new topic with a name of its own.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        let name = unique("t");
        create_topic(&self.bootstrap, &name, partitions, &[]).await;
        name
    }
}

pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

pub(crate) async fn create_topic(bootstrap: &str, name: &str, partitions: i32, config: &[(&str, &str)]) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = config.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let results = admin(bootstrap).create_topics([&topic], &options).await.unwrap();
    results.into_iter().next().unwrap().unwrap();
}

pub(crate) fn producer(bootstrap: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

/// Key and value of a record as it lies in Kafka.
pub(crate) type Raw<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Writes records past Tidegate: key and value may be absent, the partition is given.
pub(crate) fn write(producer: &BaseProducer, topic: &str, partition: i32, records: &[Raw<'_>]) {
    for (key, value) in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.key = *key;
        record.payload = *value;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

pub(crate) fn context(settings: &[(&str, &str)]) -> BuildContext {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), Secret((*v).to_owned()))).collect();
    BuildContext { dev: false, settings }
}

/// A broker that accepts topics of one copy.
pub(crate) async fn broker(bootstrap: &str, settings: &[(&str, &str)]) -> Arc<dyn Broker> {
    let mut all = vec![("allow_unsafe_topics", "true")];
    all.extend(settings);
    let url = BrokerUrl::parse(&format!("kafka://{bootstrap}/unused")).unwrap();
    FACTORY.build(&url, context(&all)).await.unwrap()
}

pub(crate) async fn open(broker: &Arc<dyn Broker>, topic: &str) -> Result<Arc<dyn Log>, BrokerError> {
    broker.open(&LogSpec { name: topic.into(), read_only: false, purpose: LogPurpose::Publications }).await
}

pub(crate) fn record(key: &str, payload: &str) -> Record {
    Record {
        key: key.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        meta: None,
        keep: Keep { count_max: 100, age_max: Duration::from_secs(600) },
    }
}

/// What a sink was told.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) records: Vec<Tailed>,
    pub(crate) next: u64,
    pub(crate) losses: Vec<TailLoss>,
    pub(crate) refused: Vec<(u64, Refused)>,
}

impl Seen {
    pub(crate) fn payloads(&self) -> Vec<String> {
        let text = |payload: &Bytes| String::from_utf8_lossy(payload).into_owned();
        self.records.iter().map(|r| r.payload.as_ref().map_or_else(|| "-".to_owned(), text)).collect()
    }

    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.records.iter().map(|r| r.log_offset).collect()
    }
}

/// A sink that remembers everything.
#[derive(Default)]
pub(crate) struct Sink {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Sink {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `enough`, and returns a value of then.
    pub(crate) fn wait<T>(&self, what: &str, enough: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        let mut seen = self.seen();
        loop {
            if let Some(value) = enough(&seen) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {SOON:?}: {seen:?}");
            seen = self.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn wait_next(&self, next: u64) {
        self.wait(&format!("progress to {next}"), |seen| (seen.next >= next).then_some(()));
    }
}

impl TailSink for Sink {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        let mut seen = self.seen();
        assert!(next >= seen.next || !seen.losses.is_empty(), "progress went back from {} to {next}", seen.next);
        seen.records.append(batch);
        seen.next = next;
        self.changed.notify_all();
    }

    fn lost(&self, loss: TailLoss) {
        self.seen().losses.push(loss);
        self.changed.notify_all();
    }

    fn refused(&self, log_offset: u64, why: Refused) {
        self.seen().refused.push((log_offset, why));
        self.changed.notify_all();
    }
}
