//! The contract of a log, checked on the memory broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tidegate_broker::conformance::{Harness, run};
use tidegate_broker::{
    BoxFuture, BrokerFactory, BrokerUrl, BuildContext, Capabilities, Log, LogPurpose, LogSpec, Secret,
};

struct Memory(AtomicU32);

impl Harness for Memory {
    fn capabilities(&self) -> Capabilities {
        tidegate_broker_memory::FACTORY.capabilities()
    }

    fn log(&self, partitions: u32) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let settings = [("partitions".to_owned(), Secret(partitions.to_string()))].into_iter().collect();
            let url = BrokerUrl::parse("memory:").unwrap();
            let broker =
                tidegate_broker_memory::FACTORY.build(&url, BuildContext { dev: false, settings }).await.unwrap();
            let name = self.0.fetch_add(1, Relaxed).to_string().into();
            broker.open(&LogSpec { name, read_only: false, purpose: LogPurpose::Publications }).await.unwrap()
        })
    }

    fn reopened(&self, _: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    run(&Memory(AtomicU32::new(0))).await;
}
