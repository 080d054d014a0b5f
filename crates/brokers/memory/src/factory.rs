//! How the memory broker is configured and built.

use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::{
    BoxFuture, Broker, BrokerError, BrokerFactory, BrokerUrl, BuildContext, Capabilities, Mistake, SettingDoc,
};

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

    fn settings(&self) -> &'static [SettingDoc] {
        SETTINGS
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_log(&self, _url: &BrokerUrl) -> Arc<str> {
        "tidegate".into()
    }

    fn check(&self, _url: &BrokerUrl, context: &BuildContext) -> Vec<Mistake> {
        Settings::parse(context).err().unwrap_or_default()
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

const SETTINGS: &[SettingDoc] = &[
    SettingDoc {
        key: "partitions",
        kind: "a number",
        default: Some("4"),
        doc: "Locks that publishes to different channels do not share.",
    },
    SettingDoc {
        key: "history_bytes",
        kind: "a number",
        default: Some("268435456"),
        doc: "Bytes kept of all channels together; the oldest publications go first.",
    },
    SettingDoc {
        key: "history_meta_ttl",
        kind: "a duration",
        default: Some("\"168h\""),
        doc: "A channel of which nothing is kept and whose newest publication is older is forgotten. A client that comes back \
              later with a position in it is told that it cannot be recovered. At least 1m.",
    },
];

/// A client that is away for a moment finds its channel again.
const MINUTE: Duration = Duration::from_secs(60);

impl Settings {
    /// What is set, or everything that is wrong with it.
    fn parse(context: &BuildContext) -> Result<Self, Vec<Mistake>> {
        let mut settings = Self::default();
        let mut mistakes = Vec::new();
        for (key, value) in &context.settings {
            if let Err(text) = settings.set(key, &value.0) {
                mistakes.push(Mistake { path: format!("memory.{key}"), text });
            }
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        let number = || {
            let number = text.parse::<usize>().ok().filter(|n| *n > 0);
            number.ok_or_else(|| format!("{text:?} is no number above 0"))
        };
        match key {
            "partitions" => self.partitions = u32::try_from(number()?).unwrap_or(u32::MAX).min(1024),
            "history_bytes" => self.history_bytes_max = number()?,
            "history_meta_ttl" => {
                let ttl = humantime::parse_duration(text).ok().filter(|ttl| *ttl >= MINUTE);
                let wrong = || format!("{text:?} is no duration of at least 1m, such as 168h");
                self.history_meta_ttl = ttl.ok_or_else(wrong)?;
            }
            _ => {
                let known: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
                return Err(format!("no such setting, there are {}", known.join(", ")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_broker::Secret;

    fn parse(key: &str, value: &str) -> Result<Settings, String> {
        let settings = [(key.to_owned(), Secret(value.to_owned()))].into_iter().collect();
        let parsed = Settings::parse(&BuildContext { dev: false, settings });
        parsed.map_err(|mistakes| BrokerError::from(mistakes).to_string())
    }

    #[test]
    fn settings_are_read_and_mistakes_are_named() {
        assert_eq!(parse("history_meta_ttl", "2m").unwrap().history_meta_ttl, Duration::from_secs(120));
        assert_eq!(parse("history_meta_ttl", "168h").unwrap(), Settings::default());
        let error = parse("history_meta_ttl", "59s").unwrap_err();
        assert!(error.contains("memory.history_meta_ttl") && error.contains("at least 1m"), "{error}");
        assert!(parse("partitions", "0").unwrap_err().contains("is no number above 0"));
        assert!(parse("ttl", "1").unwrap_err().contains("there are partitions, history_bytes"));
    }
}
