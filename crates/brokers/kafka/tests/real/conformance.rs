//! The contract of a log, checked on a real Kafka.

use std::sync::Arc;

use tidegate_broker::conformance::{Harness, run};
use tidegate_broker::{BoxFuture, Broker, BrokerFactory, Capabilities, Log};
use tidegate_broker_kafka::FACTORY;

use crate::support::{Shared, broker, open};

struct Kafka {
    shared: Arc<Shared>,
    broker: Arc<dyn Broker>,
}

impl Harness for Kafka {
    fn capabilities(&self) -> Capabilities {
        FACTORY.capabilities()
    }

    fn log(&self, partitions: u32) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let topic = self.shared.topic(i32::try_from(partitions).unwrap()).await;
            open(&self.broker, &topic).await.unwrap()
        })
    }

    /// Kafka's own restarts are tested with its outages.
    fn reopened(&self, _: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    let shared = Shared::get();
    let broker = broker(&shared.bootstrap, &[]).await;
    run(&Kafka { shared, broker }).await;
}
