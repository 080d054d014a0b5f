//! What the server's registry lists.

use std::sync::Arc;

use tidegate_broker::{
    BoxFuture, Broker, BrokerError, BrokerFactory, BrokerUrl, BuildContext, Capabilities, Mistake, SettingDoc,
};

use crate::broker::KafkaBroker;
use crate::connect::Connection;
use crate::settings::{SETTINGS, Settings};

pub(crate) const NAME: &str = "kafka";
pub(crate) const CAPABILITIES: Capabilities = Capabilities { durable: true, shared: true, channel_offsets: false };
/// The topic when neither URL nor configuration names one.
const DEFAULT_TOPIC: &str = "tidegate";

/// Kafka, for the registry.
pub static FACTORY: Factory = Factory;

/// Builds Kafka brokers.
#[derive(Clone, Copy, Debug)]
pub struct Factory;

impl BrokerFactory for Factory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn usage(&self) -> &'static str {
        "kafka://HOST:PORT,HOST:PORT/TOPIC  a Kafka cluster; its topics are the logs"
    }

    fn settings(&self) -> &'static [SettingDoc] {
        SETTINGS
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_log(&self, url: &BrokerUrl) -> Arc<str> {
        match url.rest.split_once('/') {
            Some((_, topic)) if !topic.is_empty() => topic.into(),
            _ => DEFAULT_TOPIC.into(),
        }
    }

    fn check(&self, url: &BrokerUrl, context: &BuildContext) -> Vec<Mistake> {
        Settings::parse(url, context.clone()).err().unwrap_or_default()
    }

    /// Checks the settings and makes the clients, without asking the cluster: one that is away is told by
    /// [`Broker::open`], as `Unavailable`, and a wrong login or certificate as `Refused`.
    fn build<'a>(
        &'a self,
        url: &'a BrokerUrl,
        context: BuildContext,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, BrokerError>> {
        Box::pin(async move {
            let connection = Connection::open(Settings::parse(url, context)?)?;
            Ok(Arc::new(KafkaBroker(connection)) as Arc<dyn Broker>)
        })
    }
}
