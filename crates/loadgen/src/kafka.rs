//! Kafka's own clients, for workloads that go past the server: a producer and a consumer set as latency wants them.
//!
//! No consumer group is joined and nothing is committed. Loopback only, as everywhere here.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

/// How long a question, or the rest of what was sent, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which topic.
#[derive(Debug, Clone, clap::Args)]
pub struct Topic {
    /// The broker: 127.0.0.1:PORT
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub kafka: SocketAddrV4,
    /// The topic; it is created if it is not there
    #[arg(long, default_value = "tidegate-bench")]
    pub topic: String,
}

impl Topic {
    /// Creates it unless it is there.
    pub(crate) fn create(&self, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.config()?.create().context("Kafka's admin client")?;
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("runtime")?;
        let results = runtime.block_on(admin.create_topics([&topic], &options));
        for result in results.with_context(|| format!("create topic {} at {}", self.topic, self.kafka))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => bail!("create topic {name}: {code}"),
            }
        }
        Ok(())
    }

    fn config(&self) -> Result<ClientConfig> {
        ensure!(self.kafka.ip().is_loopback(), "{} is not a loopback address", self.kafka);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.to_string()).set("socket.nagle.disable", "true");
        Ok(config)
    }

    /// A producer that sends at once and counts what the broker confirmed.
    pub(crate) fn producer(&self) -> Result<Producer> {
        let mut config = self.config()?;
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
        let client = config.create_with_context(Acks::default()).context("Kafka producer")?;
        Ok(Producer { client, topic: self.topic.clone() })
    }

    /// A consumer at the end of every partition, which are counted.
    pub(crate) fn consumer(&self) -> Result<(BaseConsumer, u32)> {
        let mut config = self.config()?;
        // The library demands a group for an assignment by hand; it is never joined.
        config.set("group.id", "tidegate-bench").set("enable.auto.commit", "false").set("fetch.error.backoff.ms", "20");
        let consumer: BaseConsumer = config.create().context("Kafka consumer")?;
        let metadata = consumer.fetch_metadata(Some(&self.topic), PATIENCE).context("ask Kafka for the topic")?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        ensure!(count > 0, "topic {} is not there", self.topic);
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(count).context("partitions")? {
            let (_, end) = consumer.fetch_watermarks(&self.topic, partition, PATIENCE).context("ask for an end")?;
            list.add_partition_offset(&self.topic, partition, Offset::Offset(end)).context("assignment")?;
        }
        consumer.assign(&list).context("assignment")?;
        Ok((consumer, u32::try_from(count).context("partitions")?))
    }
}

/// What became of the records, counted on the producer's own thread.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    pub(crate) stored: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.stored } else { &self.refused };
        counter.fetch_add(1, Ordering::AcqRel);
    }
}

/// A producer into one topic.
pub(crate) struct Producer {
    client: ThreadedProducer<Acks>,
    topic: String,
}

impl Producer {
    /// Sends a record; waits only while the client's own queue is full.
    pub(crate) fn send(&self, partition: u32, key: Option<&str>, payload: &[u8]) -> Result<()> {
        let partition = i32::try_from(partition).context("partition")?;
        let mut record = BaseRecord::<str, [u8]>::to(&self.topic).partition(partition).payload(payload);
        record.key = key;
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    std::thread::sleep(Duration::from_millis(1));
                    record = back;
                }
                Err((error, _)) => return Err(error).context("send to Kafka"),
            }
        }
    }

    /// Waits until the broker answered for everything.
    pub(crate) fn flush(&self) -> Result<()> {
        self.client.flush(PATIENCE).context("Kafka does not confirm everything")
    }

    pub(crate) fn acks(&self) -> &Acks {
        self.client.context()
    }
}
