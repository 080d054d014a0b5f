//! The [`Broker`] trait over one connection.

use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::{BoxFuture, Broker, BrokerError, Capabilities, Health, Log, LogSpec};

use crate::connect::Connection;
use crate::factory::{CAPABILITIES, NAME};
use crate::log::KafkaLog;

const FLUSH_MAX: Duration = Duration::from_secs(5);

/// One cluster.
pub(crate) struct KafkaBroker(pub(crate) Arc<Connection>);

impl Broker for KafkaBroker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn open<'a>(&'a self, spec: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>> {
        let (connection, spec) = (self.0.clone(), spec.clone());
        let opened = self.0.pool.run(move || KafkaLog::open(&connection, &spec));
        Box::pin(async move { Ok(Arc::new(opened.await?) as Arc<dyn Log>) })
    }

    fn health(&self) -> Health {
        let mut health = self.0.breaker.health();
        if health.trouble.is_empty() {
            health.trouble = self.0.trouble.get().map(|(_, text)| text).unwrap_or_default();
        }
        health
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.0.breaker.close_down("this node shuts down");
        let connection = self.0.clone();
        let flushed = self.0.pool.run(move || {
            if let Some(producer) = connection.take_producer() {
                producer.flush(FLUSH_MAX);
            }
            Ok(())
        });
        Box::pin(async move {
            if let Err(error) = flushed.await {
                tracing::warn!("Kafka was not flushed: {error}");
            }
        })
    }
}
