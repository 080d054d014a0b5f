//! How the memory broker is configured and built.

use std::sync::Arc;

use tidegate_broker::{BoxFuture, Broker, BrokerError, BrokerFactory, BrokerUrl, BuildContext, Capabilities};

use crate::broker::{Memory, Settings};

/// Registers the memory broker.
pub static FACTORY: Factory = Factory;

/// The factory of [`Memory`].
#[derive(Debug)]
pub struct Factory;

/// Nothing outlives the process, and no other node sees it; it numbers per channel.
pub(crate) const CAPABILITIES: Capabilities = Capabilities { durable: false, shared: false, channel_offsets: true };

impl BrokerFactory for Factory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn usage(&self) -> &'static str {
        "memory:    one node, nothing is kept when it ends"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_log(&self, _url: &BrokerUrl) -> Arc<str> {
        "tidegate".into()
    }

    fn build<'a>(
        &'a self,
        _url: &'a BrokerUrl,
        context: BuildContext,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, BrokerError>> {
        Box::pin(async move {
            let settings = Settings::parse(&context)?;
            Ok(Arc::new(Memory::new(settings)) as Arc<dyn Broker>)
        })
    }
}

impl Settings {
    fn parse(context: &BuildContext) -> Result<Self, BrokerError> {
        let mut settings = Self::default();
        for (key, value) in &context.settings {
            let number = || {
                value.0.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(|| {
                    BrokerError::Refused(format!("memory.{key}: {:?} is no number above 0", value.0).into())
                })
            };
            match key.as_str() {
                "partitions" => settings.partitions = u32::try_from(number()?).unwrap_or(u32::MAX).min(1024),
                "history_bytes" => settings.history_bytes_max = number()?,
                _ => {
                    let text = format!("memory.{key}: unknown setting, there are partitions and history_bytes");
                    return Err(BrokerError::Refused(text.into()));
                }
            }
        }
        Ok(settings)
    }
}
