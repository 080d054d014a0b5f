//! `tidegate doctor kafka`: one look at everything that has to be right, each with what to do when it is not.

use std::sync::Arc;

use tidegate_broker::{BrokerError, BrokerUrl, BuildContext, LogPurpose, Partition};
use tidegate_kafka_topic_id::Permissions;

use crate::connect::Connection;
use crate::partitioner::Partitioner;
use crate::read;
use crate::sample::ENOUGH;
use crate::settings::Settings;
use crate::topic::{self, Description, TopicConfig};

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, with a drawback.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found and what to do.
    pub text: String,
}

/// Looks at the cluster and the topic that the URL names. Writes nothing.
///
/// # Errors
/// When the settings themselves are wrong.
pub async fn doctor(url: &BrokerUrl, context: BuildContext) -> Result<Vec<Check>, BrokerError> {
    let mut settings = Settings::parse(url, context)?;
    settings.dev = false;
    let topic = settings.topic.clone();
    let connection = Connection::open(settings)?;
    let asked = connection.clone();
    connection.pool.run(move || Ok(examine(&asked, topic))).await
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn add(&mut self, check: &'static str, verdict: Verdict, text: impl Into<String>) {
        self.0.push(Check { check, verdict, text: text.into() });
    }
}

fn examine(connection: &Connection, topic: Option<Arc<str>>) -> Vec<Check> {
    let mut report = Report::default();
    match connection.broker_count() {
        Ok(count) => report.add("reachability", Verdict::Ok, format!("{count} brokers")),
        Err(error) => {
            report.add("reachability", Verdict::Fail, error.to_string());
            return report.0;
        }
    }
    security(connection, &mut report);
    let Some(topic) = topic else {
        report.add("topic", Verdict::Warn, "the URL names no topic: write kafka://HOST:PORT/TOPIC to have it checked");
        return report.0;
    };
    let description = match topic::find(connection, &topic, LogPurpose::Publications) {
        Ok(description) => description,
        Err(error) => {
            report.add("topic", Verdict::Fail, error.to_string());
            return report.0;
        }
    };
    report.add("topic", Verdict::Ok, format!("{} partitions, id {}", description.replicas.len(), description.id));
    permissions(connection, &topic, &mut report);
    settings_of(connection, &topic, &description, &mut report);
    records_of(connection, &topic, &description, &mut report);
    for (check, purpose) in [("control", LogPurpose::Control), ("rules", LogPurpose::Rules)] {
        let name = format!("{topic}.{check}");
        match topic::find(connection, &name, purpose) {
            Ok(_) => report.add(check, Verdict::Ok, name),
            Err(error) => report.add(check, Verdict::Warn, format!("{error}; or set {check}.enabled = false")),
        }
    }
    report.0
}

fn security(connection: &Connection, report: &mut Report) {
    let protocol = connection.settings.properties.get("security.protocol").map_or("plaintext", |value| &value.0);
    match protocol.to_ascii_lowercase().as_str() {
        "sasl_ssl" | "ssl" => report.add("security", Verdict::Ok, protocol),
        "sasl_plaintext" => {
            report.add("security", Verdict::Warn, "sasl_plaintext: what is sent can be read on the way; use sasl_ssl");
        }
        _ => report.add("security", Verdict::Warn, "plaintext: no login, no encryption; use sasl_ssl or ssl"),
    }
}

fn permissions(connection: &Connection, topic: &str, report: &mut Report) {
    let (verdict, text) = match connection.permissions(topic) {
        Ok(Permissions { known: false, .. }) => (Verdict::Warn, "the cluster does not say what is allowed".into()),
        Ok(Permissions { read: false, .. }) => (Verdict::Fail, "nothing can be read: grant Read on the topic".into()),
        Ok(Permissions { write: false, .. }) => {
            let text = "Read without Write: publishing is refused. Grant Write, or set read_only = true for every namespace on it";
            (Verdict::Warn, text.into())
        }
        Ok(Permissions { describe_configs: false, .. }) => {
            (Verdict::Warn, "Read and Write, but the topic's settings cannot be checked: grant DescribeConfigs".into())
        }
        Ok(_) => (Verdict::Ok, "Read, Write and DescribeConfigs".into()),
        Err(error) => (Verdict::Warn, format!("what is allowed cannot be asked: {error}")),
    };
    report.add("permissions", verdict, text);
}

fn settings_of(connection: &Connection, topic: &str, description: &Description, report: &mut Report) {
    let config = match topic::config(connection, topic) {
        Ok(config) => config,
        Err(error) => {
            report.add("settings", Verdict::Warn, error.to_string());
            TopicConfig::default()
        }
    };
    match topic::unsafe_because(description, &config) {
        None if config.min_in_sync.is_none() => {
            report.add("replication", Verdict::Warn, "min.insync.replicas cannot be read; it should be 2");
        }
        None => report.add("replication", Verdict::Ok, "one broker can be lost without losing a publication"),
        Some(why) => report.add(
            "replication",
            if connection.settings.allow_unsafe_topics { Verdict::Warn } else { Verdict::Fail },
            format!("{why}: use replication factor 3 and min.insync.replicas=2, or set kafka.allow_unsafe_topics"),
        ),
    }
    match config.cleanup.as_deref() {
        Some(policy) if policy.contains("compact") => report.add(
            "cleanup policy",
            Verdict::Warn,
            format!("{policy}: compaction removes records, so positions are recovered from memory only"),
        ),
        Some(policy) => report.add("cleanup policy", Verdict::Ok, policy),
        None => {}
    }
    match config.timestamps.as_deref() {
        Some("LogAppendTime") => report.add("timestamps", Verdict::Ok, "LogAppendTime"),
        Some(kind) => {
            let text = format!("{kind}: times are the producers'; nothing is decided by them");
            report.add("timestamps", Verdict::Ok, text);
        }
        None => {}
    }
}

fn records_of(connection: &Connection, topic: &str, description: &Description, report: &mut Report) {
    let partitions = u32::try_from(description.replicas.len()).unwrap_or(u32::MAX);
    let mut markers = 0;
    match connection.with_reader(|reader| read::sample(reader, topic, partitions, &[])) {
        Ok(sample) => {
            let counts: Vec<_> =
                Partitioner::ALL.iter().zip(sample.fits).map(|(p, n)| format!("{} {n}", p.name())).collect();
            let counts = format!("of {} keys fit: {}", sample.keys, counts.join(", "));
            let set = connection.settings.partitioner_of(topic);
            match (sample.best(), set) {
                (Some(best), Some(set)) if best != set => report.add(
                    "partitioner",
                    Verdict::Fail,
                    format!("{counts}; set kafka.partitioner = \"{}\" or auto", best.name()),
                ),
                (Some(best), _) if sample.fitting(best) < sample.keys => report.add(
                    "partitioner",
                    Verdict::Warn,
                    format!("{counts}; producers disagree: all must use {}", best.name()),
                ),
                (Some(_), _) => report.add("partitioner", Verdict::Ok, counts),
                (None, _) if sample.keys < ENOUGH => {
                    report.add("partitioner", Verdict::Warn, format!("{counts}; too few to tell"));
                }
                (None, _) => {
                    let text =
                        "producers disagree, or the topic got more partitions; set kafka.partitioner to what they use";
                    report.add("partitioner", Verdict::Warn, format!("{counts}; {text}"));
                }
            }
            markers = sample.left_out;
        }
        Err(error) => report.add("partitioner", Verdict::Fail, format!("{error}: grant Read on the topic")),
    }
    ends_of(connection, topic, partitions, markers, report);
}

/// Open transactions hold the last stable offset back; that is what subscribers wait for.
fn ends_of(connection: &Connection, topic: &str, partitions: u32, left_out: u64, report: &mut Report) {
    let ends = |level: &str| {
        let reader = connection.consumer_with_isolation(level)?;
        (0..partitions)
            .map(|partition| read::bounds(&reader, topic, Partition(partition)))
            .collect::<Result<Vec<_>, _>>()
    };
    match ends("read_committed").and_then(|stable| Ok((stable, ends("read_uncommitted")?))) {
        Ok((stable, all)) => {
            let held: u64 = stable.iter().zip(&all).map(|(s, a)| a.end.saturating_sub(s.end)).sum();
            let kept: u64 = stable.iter().map(|bounds| bounds.end - bounds.start).sum();
            if held == 0 {
                let seen = match left_out {
                    0 => String::new(),
                    n => format!(
                        "; {n} of the newest offsets are ends of transactions, taken back by them or compacted away"
                    ),
                };
                report.add("transactions", Verdict::Ok, format!("none is open{seen}"));
            } else {
                let text = format!("{held} records wait for a transaction to end; see kafka-transactions.sh");
                report.add("transactions", Verdict::Warn, text);
            }
            report.add("lag", Verdict::Ok, format!("{kept} records are kept; no consumer group is used, none can lag"));
        }
        Err(error) => report.add("lag", Verdict::Fail, error.to_string()),
    }
}
