//! The clients of one broker: one that asks and watches, one that publishes (made when first needed), and those that
//! read. All share the settings, the trouble and the breaker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use tidegate_broker::BrokerError;
use tidegate_kafka_topic_id::{Permissions, Topic};

use crate::breaker::Breaker;
use crate::context::{Context, Trouble};
use crate::polled::Polled;
use crate::pool::Pool;
use crate::producer::Producer;
use crate::properties;
use crate::settings::Settings;

/// How long a question may take.
pub(crate) const ASK_MAX: Duration = Duration::from_secs(4);
/// One turn of it.
const ASK_TURN: Duration = Duration::from_secs(1);
/// Reading consumers that are kept for the next read.
const READERS_KEPT: usize = 4;

/// A consumer of ours.
pub(crate) type Consumer = BaseConsumer<Context>;

/// See the module's docs.
pub(crate) struct Connection {
    pub(crate) settings: Settings,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) pool: Pool,
    control: Polled,
    // Held while a producer is made or handed out.
    producer: Mutex<Option<Arc<Producer>>>,
    // Held to take one or to give it back.
    readers: Mutex<Vec<Consumer>>,
}

impl Connection {
    /// Makes the clients; asks nobody yet.
    pub(crate) fn open(settings: Settings) -> Result<Arc<Self>, BrokerError> {
        let trouble = Arc::new(Trouble::default());
        let breaker = Arc::new(Breaker::default());
        let context = Context { trouble: trouble.clone(), breaker: Some(breaker.clone()) };
        let control = Polled::start(&properties::control(&settings), context, &settings)?;
        let pool = Pool::start()
            .map_err(|error| BrokerError::Internal(format!("cannot start threads for Kafka: {error}").into()))?;
        let (producer, readers) = (Mutex::new(None), Mutex::new(Vec::new()));
        Ok(Arc::new(Self { settings, trouble, breaker, pool, control, producer, readers }))
    }

    /// Asks for a topic. Blocks.
    pub(crate) fn describe(&self, topic: &str) -> Result<Topic, RDKafkaErrorCode> {
        let answer = self.ask_for(topic);
        if !matches!(
            answer,
            Err(RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown)
        ) {
            self.trouble.clear();
            self.breaker.reachable();
        }
        answer
    }

    /// In short turns, so that a login that is wrong is told at once.
    fn ask_for(&self, topic: &str) -> Result<Topic, RDKafkaErrorCode> {
        let deadline = Instant::now() + ASK_MAX;
        loop {
            let answer = tidegate_kafka_topic_id::describe(self.control.client(), topic, ASK_TURN);
            let timed_out =
                matches!(answer, Err(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut));
            if !timed_out || self.trouble.is_hopeless() || Instant::now() >= deadline {
                return answer;
            }
        }
    }

    /// What this user may do with a topic. Blocks.
    pub(crate) fn permissions(&self, topic: &str) -> Result<Permissions, RDKafkaErrorCode> {
        tidegate_kafka_topic_id::permissions(self.control.client(), topic, ASK_MAX)
    }

    /// How many copies each partition has. Blocks.
    pub(crate) fn copies(&self, topic: &str) -> Result<Vec<usize>, BrokerError> {
        let metadata = self.control.client().fetch_metadata(Some(topic), ASK_MAX).map_err(|_| self.unreachable())?;
        let topics = metadata.topics().iter().filter(|found| found.name() == topic);
        Ok(topics.flat_map(|found| found.partitions()).map(|partition| partition.replicas().len()).collect())
    }

    /// How many brokers the cluster has. Blocks.
    pub(crate) fn broker_count(&self) -> Result<usize, BrokerError> {
        let metadata = self.control.client().fetch_metadata(None, ASK_MAX);
        metadata.map(|m| m.brokers().len()).map_err(|_| self.unreachable())
    }

    /// The error for a question that got no answer.
    pub(crate) fn unreachable(&self) -> BrokerError {
        self.trouble.error(&self.settings.brokers)
    }

    /// The publishing client; a new one when the last one broke.
    pub(crate) fn producer(&self) -> Result<Arc<Producer>, BrokerError> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = slot.as_ref().filter(|producer| !producer.is_broken()) {
            return Ok(producer.clone());
        }
        let producer = Arc::new(Producer::start(&self.settings, &self.context_of_producer(), &self.breaker)?);
        if let Some(broken) = slot.replace(producer.clone()) {
            // Its end is waited for, and not here: whoever publishes may be a shard. Where the pool is full it ends here.
            let _ = self.pool.submit(move || drop(broken));
        }
        Ok(producer)
    }

    /// Why the publishing client broke, if it did and a new one would break as well.
    pub(crate) fn publishing_refused(&self) -> Option<BrokerError> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.refused()
    }

    /// The publishing client if there is one; it is gone for good.
    pub(crate) fn take_producer(&self) -> Option<Arc<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn context_of_producer(&self) -> Context {
        Context { trouble: self.trouble.clone(), breaker: Some(self.breaker.clone()) }
    }

    /// A client for tails.
    pub(crate) fn consumer(&self) -> Result<Consumer, BrokerError> {
        let context = Context { trouble: self.trouble.clone(), breaker: None };
        properties::consumer(&self.settings)
            .create_with_context(context)
            .map_err(|error| properties::creation_error(&error, &self.settings))
    }

    /// A client for ranges, which counts records of open transactions in or not.
    pub(crate) fn consumer_with_isolation(&self, level: &str) -> Result<Consumer, BrokerError> {
        let context = Context { trouble: self.trouble.clone(), breaker: None };
        properties::reader(&self.settings)
            .set("isolation.level", level)
            .create_with_context(context)
            .map_err(|error| properties::creation_error(&error, &self.settings))
    }

    /// Lends a reading client to `job`. Blocks.
    pub(crate) fn with_reader<T>(
        &self,
        job: impl FnOnce(&Consumer) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        if self.breaker.is_away() {
            // Also when a login was refused: it was right once, so trying again is right.
            return Err(BrokerError::Unavailable(self.unreachable().to_string().into()));
        }
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.consumer_with_isolation("read_committed")?,
        };
        let result = job(&reader);
        let clean = reader.unassign().is_ok();
        // What failed may hold stale state of the topic: a new client next time.
        let good = matches!(result, Ok(_) | Err(BrokerError::OutOfRange(_)));
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if clean && good && readers.len() < READERS_KEPT {
            readers.push(reader);
        }
        result
    }

    /// Forgets what reading clients know of topics.
    pub(crate) fn drop_readers(&self) {
        let old = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        drop(old);
    }
}
