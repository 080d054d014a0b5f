//! The contract of a log, checked on the embedded broker.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tidegate_broker::conformance::{Harness, run};
use tidegate_broker::{
    BoxFuture, Broker, BrokerFactory, BrokerUrl, BuildContext, Capabilities, Log, LogPurpose, LogSpec,
};

struct Embedded {
    directory: tempfile::TempDir,
    last: AtomicU32,
    broker: Mutex<Option<Arc<dyn Broker>>>,
}

impl Embedded {
    async fn open(&self, number: u32) -> Arc<dyn Log> {
        let directory = self.directory.path().join(number.to_string());
        let url = BrokerUrl::parse(&format!("embedded:{}", directory.display())).unwrap();
        let broker = tidegate_broker_embedded::FACTORY.build(&url, BuildContext::default()).await.unwrap();
        let log = broker
            .open(&LogSpec { name: "log".into(), read_only: false, purpose: LogPurpose::Publications })
            .await
            .unwrap();
        *self.broker.lock().unwrap() = Some(broker);
        log
    }
}

impl Harness for Embedded {
    fn capabilities(&self) -> Capabilities {
        tidegate_broker_embedded::FACTORY.capabilities()
    }

    fn log(&self, _: u32) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(self.open(self.last.fetch_add(1, Relaxed)))
    }

    fn reopened(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        Box::pin(async move {
            let broker = self.broker.lock().unwrap().take().unwrap();
            broker.shutdown().await;
            drop((log, broker));
            Some(self.open(self.last.load(Relaxed) - 1).await)
        })
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    run(&Embedded { directory, last: AtomicU32::new(0), broker: Mutex::default() }).await;
}
