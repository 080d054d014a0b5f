//! The broker's URL and its section of the configuration, checked: all errors at once, no secret in any of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::{BrokerUrl, BuildContext, Mistake, Secret, SettingDoc};

use crate::partitioner::Partitioner;
use crate::properties;

const fn setting(
    key: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    doc: &'static str,
) -> SettingDoc {
    SettingDoc { key, kind, default, doc }
}

/// Keys of the section; `partitioners.TOPIC` and `properties.NAME` come on top.
pub(crate) const SETTINGS: &[SettingDoc] = &[
    setting("brokers", "a text", None, "HOST:PORT,HOST:PORT to start from; by default those of broker.url."),
    setting(
        "partitioner",
        "a text",
        Some("\"auto\""),
        "How producers place keys: auto finds out by sampling; murmur2 (Java), crc32 (librdkafka, kcat), \
         fnv1a (Sarama). For a single topic: [kafka.partitioners] TOPIC = \"...\".",
    ),
    setting(
        "allow_unsafe_topics",
        "true or false",
        Some("false"),
        "Accept topics of which the loss of one broker loses acknowledged records.",
    ),
    setting("in_flight_max", "a number", Some("10000"), "Records on their way to Kafka; more are refused, retryably."),
    setting("append_timeout_ms", "a number", Some("5000"), "After this a publish's outcome counts as unknown."),
    setting("check_interval_ms", "a number", Some("2000"), "How often topics are looked at: identity and partitions."),
    setting(
        "properties",
        "a section",
        None,
        "[kafka.properties] passes any property to librdkafka: \"security.protocol\" = \"SASL_SSL\". Secrets are masked.",
    ),
];

/// `[kafka]`, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `HOST:PORT,...` to start from. Default: from the URL.
    pub(crate) brokers: String,
    /// The topic that the URL names.
    pub(crate) topic: Option<Arc<str>>,
    /// How keys find their partition; `None` = `auto`: find out by sampling. Default `auto`.
    pub(crate) partitioner: Option<Partitioner>,
    /// The same for single topics.
    pub(crate) partitioners: BTreeMap<String, Option<Partitioner>>,
    /// Accept topics of which one broker's loss loses acknowledged records. Default false; `--dev` accepts and warns.
    pub(crate) allow_unsafe_topics: bool,
    /// Records on their way to Kafka; past it publishes are refused as overload. Default 10,000; costs memory.
    pub(crate) in_flight_max: u32,
    /// How long a publish may take until its outcome counts as unknown. Default 5,000.
    pub(crate) append_timeout: Duration,
    /// How often topic id and partition count are looked at. Default 2,000.
    pub(crate) check_interval: Duration,
    /// Passed to librdkafka as they are.
    pub(crate) properties: BTreeMap<String, Secret>,
    /// Missing topics are created, unsafe ones accepted.
    pub(crate) dev: bool,
}

impl Settings {
    /// Checks everything.
    ///
    /// # Errors
    /// All mistakes.
    pub(crate) fn parse(url: &BrokerUrl, context: BuildContext) -> Result<Self, Vec<Mistake>> {
        let (brokers, topic) = url.rest.split_once('/').unwrap_or((&url.rest, ""));
        let mut settings = Self {
            brokers: brokers.to_owned(),
            topic: (!topic.is_empty()).then(|| topic.into()),
            partitioner: None,
            partitioners: BTreeMap::new(),
            allow_unsafe_topics: false,
            in_flight_max: 10_000,
            append_timeout: Duration::from_secs(5),
            check_interval: Duration::from_secs(2),
            properties: BTreeMap::new(),
            dev: context.dev,
        };
        let mut mistakes = Vec::new();
        for (key, value) in context.settings {
            if let Err(mistake) = settings.set(&key, value) {
                mistakes.push(mistake);
            }
        }
        if settings.brokers.is_empty() {
            mistakes.push(Mistake::in_url("no broker is named: write kafka://HOST:PORT,HOST:PORT/TOPIC"));
        }
        if let Some(topic) = settings.topic.as_deref().filter(|topic| !is_topic_name(topic)) {
            let text = format!("{topic:?} is no topic name: letters, digits, '.', '_' and '-', at most 249");
            mistakes.push(Mistake::in_url(text));
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    fn set(&mut self, key: &str, value: Secret) -> Result<(), Mistake> {
        if let Some(name) = key.strip_prefix("properties.") {
            let wrong = |text| Mistake { path: format!("kafka.properties.{name:?}"), text };
            properties::check(name, &value).map_err(wrong)?;
            self.properties.insert(name.to_owned(), value);
            return Ok(());
        }
        self.set_own(key, value.0).map_err(|text| Mistake { path: format!("kafka.{key}"), text })
    }

    fn set_own(&mut self, key: &str, value: String) -> Result<(), String> {
        if let Some(topic) = key.strip_prefix("partitioners.") {
            self.partitioners.insert(topic.to_owned(), partitioner(&value)?);
            return Ok(());
        }
        match key {
            "brokers" => self.brokers = value,
            "partitioner" => self.partitioner = partitioner(&value)?,
            "allow_unsafe_topics" => {
                self.allow_unsafe_topics = value.parse().map_err(|_| "write true or false".to_owned())?;
            }
            "in_flight_max" => self.in_flight_max = number(&value, 1, 1_000_000)?,
            "append_timeout_ms" => self.append_timeout = millis(&value, 100, 120_000)?,
            "check_interval_ms" => self.check_interval = millis(&value, 100, 60_000)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    /// The partitioner that is set for a topic; `None` = find out.
    pub(crate) fn partitioner_of(&self, topic: &str) -> Option<Partitioner> {
        self.partitioners.get(topic).copied().unwrap_or(self.partitioner)
    }
}

/// Whether Kafka accepts it as the name of a topic.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}

fn partitioner(value: &str) -> Result<Option<Partitioner>, String> {
    if value == "auto" {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|()| format!("write auto, murmur2, crc32 or fnv1a, not {value:?}"))
}

fn number(value: &str, min: u32, max: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("write a number from {min} to {max}"))
}

fn millis(value: &str, min: u32, max: u32) -> Result<Duration, String> {
    number(value, min, max).map(|ms| Duration::from_millis(ms.into()))
}

fn unknown(key: &str) -> String {
    let keys: Vec<_> = SETTINGS.iter().map(|s| s.key).filter(|known| *known != "properties").collect();
    let near = keys.iter().map(|known| (strsim::jaro_winkler(key, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((closeness, known)) if closeness > 0.8 => {
            format!("no such setting, did you mean kafka.{known}?")
        }
        _ => format!(
            "no such setting, there are {}, partitioners.TOPIC and properties.NAME (librdkafka's)",
            keys.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_broker::BrokerError;

    use super::*;

    fn parse(url: &str, settings: &[(&str, &str)]) -> Result<Settings, String> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), Secret((*v).to_owned()))).collect();
        let url = BrokerUrl::parse(url).unwrap();
        let parsed = Settings::parse(&url, BuildContext { dev: false, settings });
        parsed.map_err(|mistakes| BrokerError::from(mistakes).to_string())
    }

    #[test]
    fn url_and_settings_are_read() {
        let settings = parse(
            "kafka://a:1,b:2/progress",
            &[("partitioner", "crc32"), ("partitioners.old", "auto"), ("properties.sasl.username", "u")],
        )
        .unwrap();
        assert_eq!(settings.brokers, "a:1,b:2");
        assert_eq!(settings.topic.as_deref(), Some("progress"));
        assert_eq!(settings.partitioner_of("progress"), Some(Partitioner::Crc32));
        assert_eq!(settings.partitioner_of("old"), None);
        assert!(!format!("{settings:?}").contains("Secret(\"u\")"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = parse(
            "kafka:///a b",
            &[
                ("partitoner", "crc32"),
                ("in_flight_max", "0"),
                ("properties.acks", "1"),
                ("properties.sasl.usernam", "u"),
                ("partitioner", "md5"),
            ],
        )
        .unwrap_err();
        let suggested = ["did you mean kafka.partitioner?", "did you mean sasl.username?"];
        for part in suggested.into_iter().chain(["in_flight_max", "acks", "md5", "no broker", "no topic name"]) {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
