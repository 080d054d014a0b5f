//! librdkafka's properties: ours, the operator's on top, and the few that would break a promise refused.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tidegate_broker::{BrokerError, Secret};

use crate::settings::Settings;

/// Properties that carry a promise, and which one.
const OURS: [(&str, &str); 9] = [
    ("bootstrap.servers", "set kafka.brokers or the URL"),
    ("metadata.broker.list", "set kafka.brokers or the URL"),
    ("acks", "acknowledged means stored by all replicas in sync"),
    ("enable.idempotence", "a retry of the client must not store twice or reorder"),
    ("transactional.id", "publications are no transactions"),
    ("enable.auto.commit", "nothing is ever committed"),
    ("auto.offset.reset", "a hole is told, never skipped"),
    ("isolation.level", "aborted records are never delivered"),
    ("enable.partition.eof", "the end of a partition must be seen"),
];

/// Whether an operator may set it, to this value. The value is in no text.
pub(crate) fn check(name: &str, value: &Secret) -> Result<(), String> {
    if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(format!("cannot be changed: {why}"));
    }
    match ClientConfig::new().set(name, &value.0).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, what, ..)) => Err(masked(what, [value]) + &suggestion(name)),
        Err(other) => Err(masked(other.to_string(), [value])),
    }
}

fn masked<'a>(mut text: String, values: impl IntoIterator<Item = &'a Secret>) -> String {
    for value in values.into_iter().filter(|value| value.0.len() > 2) {
        text = text.replace(&value.0, "***");
    }
    text
}

/// The properties that are set most, for suggestions.
const COMMON_NAMES: [&str; 16] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "client.id",
    "group.id",
    "linger.ms",
    "compression.type",
    "message.max.bytes",
    "fetch.wait.max.ms",
    "socket.timeout.ms",
];

const COMMON: [(&str, &str); 7] = [
    ("client.id", "tidegate"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.connection.setup.timeout.ms", "5000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("log.connection.close", "false"),
];

const PRODUCER: [(&str, &str); 4] =
    [("enable.idempotence", "true"), ("acks", "all"), ("linger.ms", "0"), ("queue.buffering.max.kbytes", "65536")];

const CONSUMER: [(&str, &str); 11] = [
    // The library demands a group for an assignment by hand; it is never joined.
    ("group.id", "tidegate"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    // A partition that is added waits for the fetch on its way, and its end shows with an empty one: 0.1 s in all.
    ("fetch.wait.max.ms", "50"),
    // After a leader change and when the local queue was full: soon, not after 0.5 s and 1 s.
    ("fetch.error.backoff.ms", "20"),
    ("fetch.queue.backoff.ms", "20"),
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "16384"),
];

/// For a client that only asks: metadata, topic ids.
pub(crate) fn control(settings: &Settings) -> ClientConfig {
    build(settings, &[], &["queue.", "linger."])
}

/// For publishing.
pub(crate) fn producer(settings: &Settings) -> ClientConfig {
    let mut config = build(settings, &PRODUCER, &[]);
    if !settings.properties.contains_key("message.timeout.ms") {
        config.set("message.timeout.ms", settings.append_timeout.as_millis().to_string());
    }
    config.set("queue.buffering.max.messages", settings.in_flight_max.to_string());
    config
}

/// For tails and ranges.
pub(crate) fn consumer(settings: &Settings) -> ClientConfig {
    build(settings, &CONSUMER, &[])
}

/// For ranges: what is asked for is there, nothing is waited for.
pub(crate) fn reader(settings: &Settings) -> ClientConfig {
    let mut config = consumer(settings);
    config.set("fetch.wait.max.ms", "5");
    config
}

fn build(settings: &Settings, defaults: &[(&str, &str)], without: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers);
    for (key, value) in COMMON.iter().chain(defaults) {
        config.set(*key, *value);
    }
    for (key, value) in &settings.properties {
        if !without.iter().any(|prefix| key.starts_with(prefix)) {
            config.set(key, &value.0);
        }
    }
    config
}

/// Why a client could not be made, without any value of a property.
pub(crate) fn creation_error(error: &KafkaError, settings: &Settings) -> BrokerError {
    let text = match error {
        KafkaError::ClientCreation(what) => format!("the Kafka client refuses its settings: {what}"),
        other => format!("the Kafka client cannot start: {other}"),
    };
    BrokerError::Refused(masked(text, settings.properties.values()).into())
}

/// For a name that librdkafka does not know.
fn suggestion(key: &str) -> String {
    if COMMON_NAMES.contains(&key) {
        return String::new();
    }
    let near = COMMON_NAMES.iter().map(|known| (strsim::jaro_winkler(key, known), known));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((closeness, known)) if closeness > 0.8 => format!(", did you mean {known}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_broker::{BrokerUrl, BuildContext};

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let settings = pairs.iter().map(|(k, v)| (format!("properties.{k}"), Secret((*v).to_owned()))).collect();
        let url = BrokerUrl::parse("kafka://127.0.0.1:1/t").unwrap();
        let parsed = Settings::parse(&url, BuildContext { dev: false, settings });
        parsed.map_err(|mistakes| BrokerError::from(mistakes).to_string())
    }

    #[test]
    fn the_operator_wins_but_no_value_shows_up_in_an_error() {
        let config = producer(&parse(&[("client.id", "mine"), ("linger.ms", "7")]).unwrap());
        assert_eq!((config.get("client.id"), config.get("linger.ms")), (Some("mine"), Some("7")));
        assert_eq!(config.get("acks"), Some("all"));
        let text = parse(&[("linger.ms", "hunter2"), ("sasl.passwort", "hunter2")]).unwrap_err();
        assert!(text.contains("linger.ms") && text.contains("did you mean sasl.password?"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let settings = parse(&[("sasl.mechanism", "hunter2"), ("security.protocol", "sasl_plaintext")]).unwrap();
        let error = producer(&settings).create::<rdkafka::producer::BaseProducer>().err().unwrap();
        let text = creation_error(&error, &settings).to_string();
        assert!(text.contains("refuses its settings") && !text.contains("hunter2"), "{text}");
    }
}
