//! How the embedded broker is configured and built.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::{
    BoxFuture, Broker, BrokerError, BrokerFactory, BrokerUrl, BuildContext, Capabilities, Mistake, Secret, SettingDoc,
};
use tidegate_store::Options;

use crate::broker::Embedded;

/// Registers the embedded broker.
pub static FACTORY: Factory = Factory;

/// The factory of [`Embedded`].
#[derive(Debug)]
pub struct Factory;

/// It outlives the process; no other node shares it; it numbers per channel.
pub(crate) const CAPABILITIES: Capabilities = Capabilities { durable: true, shared: false, channel_offsets: true };

impl BrokerFactory for Factory {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn usage(&self) -> &'static str {
        "embedded:DIR    one node, a durable log in a directory"
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

    fn check(&self, url: &BrokerUrl, context: &BuildContext) -> Vec<Mistake> {
        options(url, context).err().unwrap_or_default()
    }

    fn build<'a>(
        &'a self,
        url: &'a BrokerUrl,
        context: BuildContext,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, BrokerError>> {
        Box::pin(async move {
            let options = options(url, &context)?;
            Ok(Arc::new(Embedded::new(PathBuf::from(&url.rest), options)) as Arc<dyn Broker>)
        })
    }
}

const SETTINGS: &[SettingDoc] = &[
    SettingDoc {
        key: "segment_bytes",
        kind: "a size",
        default: Some("\"128MiB\""),
        doc: "The log is kept in files of this size, and deleted by whole files.",
    },
    SettingDoc {
        key: "retention_age",
        kind: "a duration",
        default: None,
        doc: "Files whose newest record is older are deleted, whatever namespaces want.",
    },
    SettingDoc {
        key: "retention_bytes",
        kind: "a size",
        default: None,
        doc: "The oldest files are deleted while all together are longer, whatever namespaces want.",
    },
    SettingDoc {
        key: "delete_unwanted",
        kind: "true or false",
        default: Some("true"),
        doc: "Files are deleted once no namespace's history_size and history_ttl want anything in them.",
    },
    SettingDoc {
        key: "history_meta_ttl",
        kind: "a duration",
        default: Some("\"168h\""),
        doc: "A channel of which nothing is kept and whose newest publication is older is forgotten: about 200 bytes of memory \
              each. A client that comes back later with a position in it is told that it cannot be recovered. At least 1m.",
    },
];

/// What is set, or everything that is wrong with it.
fn options(url: &BrokerUrl, context: &BuildContext) -> Result<Options, Vec<Mistake>> {
    let mut options = Options::default();
    let set = |(key, value): (&String, &Secret)| {
        set(&mut options, key, value.0.trim()).map_err(|text| Mistake { path: format!("embedded.{key}"), text }).err()
    };
    let mut mistakes: Vec<_> = context.settings.iter().filter_map(set).collect();
    if url.rest.is_empty() {
        mistakes.push(Mistake::in_url("names no directory, write embedded:DIR"));
    }
    if mistakes.is_empty() { Ok(options) } else { Err(mistakes) }
}

fn set(options: &mut Options, key: &str, text: &str) -> Result<(), String> {
    let wrong = |expected: &str| format!("{text:?} is no {expected}");
    match key {
        "segment_bytes" => {
            let bytes = size(text).filter(|n| *n >= MIB).ok_or_else(|| wrong("size of at least 1MiB"))?;
            options.segment_bytes = bytes;
        }
        "retention_bytes" => options.retention_bytes = Some(size(text).ok_or_else(|| wrong("size such as 10GiB"))?),
        "retention_age" => options.retention_age = Some(duration(text).ok_or_else(|| wrong("duration such as 7d"))?),
        "history_meta_ttl" => {
            let ttl = duration(text).filter(|ttl| *ttl >= MINUTE);
            options.history_meta_ttl = ttl.ok_or_else(|| wrong("duration of at least 1m, such as 168h"))?;
        }
        "delete_unwanted" => options.delete_unwanted = text.parse().map_err(|_| wrong("true or false"))?,
        _ => {
            let known: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
            return Err(format!("no such setting, there are {}", known.join(", ")));
        }
    }
    Ok(())
}

const MIB: u64 = 1 << 20;
/// A client that is away for a moment finds its channel again.
const MINUTE: Duration = Duration::from_secs(60);

/// `1048576`, `64MiB`, `2 GiB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => MIB,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> BuildContext {
        let settings = pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret((*value).to_owned()))).collect();
        BuildContext { dev: false, settings }
    }

    fn parse(key: &str, value: &str) -> Result<Options, String> {
        let url = BrokerUrl::parse("embedded:x").unwrap();
        options(&url, &context(&[(key, value)])).map_err(|mistakes| BrokerError::from(mistakes).to_string())
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let context = context(&[("retention_agee", "7d"), ("segment_bytes", "banana"), ("retention_bytes", "1GiB")]);
        let found = FACTORY.check(&BrokerUrl::parse("embedded:").unwrap(), &context);
        let paths: Vec<_> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["embedded.retention_agee", "embedded.segment_bytes", "broker.url"]);
        assert_eq!(FACTORY.check(&BrokerUrl::parse("embedded:x").unwrap(), &BuildContext::default()), []);
    }

    #[test]
    fn settings_are_read_and_mistakes_are_named() {
        assert_eq!(parse("segment_bytes", "64MiB").unwrap().segment_bytes, 64 << 20);
        assert_eq!(parse("retention_age", "7d").unwrap().retention_age, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse("retention_bytes", "2 GiB").unwrap().retention_bytes, Some(2 << 30));
        assert!(!parse("delete_unwanted", "false").unwrap().delete_unwanted);
        assert!(parse("delete_unwanted", "no").unwrap_err().contains("is no true or false"));
        assert!(parse("retention_bytes", "many").unwrap_err().contains("embedded.retention_bytes"));
        assert!(parse("segment_bytes", "1KiB").unwrap_err().contains("at least 1MiB"));
        assert_eq!(parse("history_meta_ttl", "24h").unwrap().history_meta_ttl, Duration::from_secs(86_400));
        assert_eq!(Options::default().history_meta_ttl, duration("168h").unwrap());
        for wrong in ["59s", "0s", "never"] {
            let error = parse("history_meta_ttl", wrong).unwrap_err();
            assert!(error.contains("embedded.history_meta_ttl") && error.contains("at least 1m"), "{error}");
        }
        assert!(parse("retention", "1").unwrap_err().contains("there are segment_bytes"));
    }
}
