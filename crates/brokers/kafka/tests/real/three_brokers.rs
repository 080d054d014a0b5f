//! The contract of a log on three brokers, one of which is killed in the middle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use tidegate_broker::conformance::{Harness, run};
use tidegate_broker::{BoxFuture, Broker, BrokerFactory, BrokerUrl, Capabilities, Log};
use tidegate_broker_kafka::FACTORY;
use tidegate_testkit::kafka::{Kafka, Options};
use tokio::sync::Mutex;

use crate::support::{SOON, admin, context, open, unique};

/// The first logs live through the kill, the others are made after it.
const KILL_AT_LOG: usize = 3;

struct Cluster {
    // Held while a topic is made.
    kafka: Mutex<(Kafka, usize)>,
    broker: Arc<dyn Broker>,
    bootstrap: String,
}

impl Harness for Cluster {
    fn capabilities(&self) -> Capabilities {
        FACTORY.capabilities()
    }

    fn log(&self, partitions: u32) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let topic = unique("t");
            let copies = TopicReplication::Fixed(3);
            let new = NewTopic::new(&topic, i32::try_from(partitions).unwrap(), copies).set("min.insync.replicas", "2");
            let options = AdminOptions::new().operation_timeout(Some(SOON));
            let mut kafka = self.kafka.lock().await;
            admin(&self.bootstrap).create_topics([&new], &options).await.unwrap().remove(0).unwrap();
            let deadline = Instant::now() + SOON;
            let log = loop {
                match open(&self.broker, &topic).await {
                    Ok(log) => break log,
                    Err(error) => assert!(error.is_retryable() && Instant::now() < deadline, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            kafka.1 += 1;
            if kafka.1 == KILL_AT_LOG {
                kafka.0.kill_9(0).unwrap();
            }
            log
        })
    }

    /// Kafka's own restarts are tested with its outages.
    fn reopened(&self, _: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_keep_the_contract_when_one_is_killed() {
    let kafka = Kafka::start_with(Options { three_nodes: true, ..Options::default() }).unwrap();
    let bootstrap = kafka.bootstrap();
    let url = BrokerUrl::parse(&format!("kafka://{bootstrap}/unused")).unwrap();
    // A new leader is there after the 3 s in which the dead one is given up, and its election.
    let broker = FACTORY.build(&url, context(&[("append_timeout_ms", "20000")])).await.unwrap();
    let cluster = Cluster { kafka: Mutex::new((kafka, 0)), broker, bootstrap };
    run(&cluster).await;
    assert!(cluster.kafka.lock().await.1 > KILL_AT_LOG, "the killed broker was missed by later logs too");
}
