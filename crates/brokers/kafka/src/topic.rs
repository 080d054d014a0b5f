//! Looking at a topic when it is opened: is it there, may we, is it safe, and what is it like.

use std::collections::HashMap;
use std::future::Future;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tidegate_broker::{BrokerError, LogPurpose};
use tidegate_kafka_topic_id::Topic;

use crate::connect::{ASK_MAX, Connection};
use crate::context::Context;
use crate::properties;
use crate::settings::is_topic_name;

/// Partitions of a topic that `--dev` creates.
const DEV_PARTITIONS: usize = 8;

/// A topic as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Description {
    /// Another one when the topic was deleted and created again.
    pub(crate) id: String,
    /// Copies of each partition.
    pub(crate) replicas: Vec<usize>,
}

/// The settings of a topic that matter here; all `None` when they may not be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicConfig {
    pub(crate) min_in_sync: Option<usize>,
    pub(crate) cleanup: Option<String>,
    pub(crate) timestamps: Option<String>,
}

impl TopicConfig {
    pub(crate) fn is_compacted(&self) -> bool {
        self.cleanup.as_deref().is_some_and(|policy| policy.contains("compact"))
    }

    pub(crate) fn stamps_time(&self) -> bool {
        self.timestamps.as_deref() == Some("LogAppendTime")
    }
}

/// Finds the topic, or says what to do. Blocks.
pub(crate) fn find(connection: &Connection, topic: &str, purpose: LogPurpose) -> Result<Description, BrokerError> {
    if !is_topic_name(topic) {
        return Err(BrokerError::Refused(format!("{topic:?} is no name that a Kafka topic can have").into()));
    }
    match connection.describe(topic) {
        Ok(found) if found.partitions > 0 => described(connection, topic, found),
        Ok(_) | Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            if !connection.settings.dev {
                return Err(missing(connection, topic, purpose));
            }
            create(connection, topic, purpose)?;
            let created = |code| BrokerError::Unavailable(format!("topic {topic} is being created: {code}").into());
            described(connection, topic, connection.describe(topic).map_err(created)?)
        }
        Err(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(BrokerError::Refused(
            format!("Kafka does not let this user see topic {topic}: grant Describe and Read (and Write to publish)")
                .into(),
        )),
        Err(_) => Err(connection.unreachable()),
    }
}

fn described(connection: &Connection, topic: &str, found: Topic) -> Result<Description, BrokerError> {
    let replicas = connection.copies(topic)?;
    if replicas.len() == found.partitions {
        return Ok(Description { id: found.id, replicas });
    }
    Err(BrokerError::Unavailable(format!("the partitions of topic {topic} are not all known yet").into()))
}

/// Partitions, and settings beside those that keep records safe.
fn shape(purpose: LogPurpose) -> (usize, &'static [(&'static str, &'static str)]) {
    match purpose {
        LogPurpose::Publications => (DEV_PARTITIONS, &[]),
        LogPurpose::Control => (1, &[("retention.ms", "3600000")]),
        LogPurpose::Rules => (1, &[("cleanup.policy", "compact,delete"), ("retention.ms", "31622400000")]),
    }
}

fn missing(connection: &Connection, topic: &str, purpose: LogPurpose) -> BrokerError {
    let (partitions, settings) = shape(purpose);
    let settings: String = settings.iter().map(|(name, value)| format!(" --config {name}={value}")).collect();
    BrokerError::Refused(
        format!(
            "topic {topic} does not exist (or this user may not see it); create it with\n  kafka-topics.sh \
             --bootstrap-server {} --create --topic {topic} --partitions {partitions} \
             --replication-factor 3 --config min.insync.replicas=2{settings}",
            connection.settings.brokers
        )
        .into(),
    )
}

fn admin(connection: &Connection) -> Result<AdminClient<Context>, BrokerError> {
    let context = Context { trouble: connection.trouble.clone(), breaker: None };
    properties::control(&connection.settings)
        .create_with_context(context)
        .map_err(|error| properties::creation_error(&error, &connection.settings))
}

fn wait<T>(future: impl Future<Output = T>) -> Result<T, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| BrokerError::Internal(format!("cannot wait for Kafka: {error}").into()))?;
    Ok(runtime.block_on(future))
}

fn create(connection: &Connection, topic: &str, purpose: LogPurpose) -> Result<(), BrokerError> {
    let (partitions, settings) = shape(purpose);
    let copies = i32::try_from(connection.broker_count()?.clamp(1, 3)).unwrap_or(1);
    let partitions = i32::try_from(partitions).unwrap_or(1);
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies));
    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(ASK_MAX)).operation_timeout(Some(ASK_MAX));
    let admin = admin(connection)?;
    let results = wait(admin.create_topics([&new], &options))?;
    let results =
        results.map_err(|error| BrokerError::Unavailable(format!("cannot create {topic}: {error}").into()))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(BrokerError::Refused(format!("cannot create topic {topic}: {code}").into())),
        }
    }
    tracing::info!(topic, partitions, copies, "created the topic, because of --dev");
    Ok(())
}

/// Reads the topic's settings. Blocks.
pub(crate) fn config(connection: &Connection, topic: &str) -> Result<TopicConfig, BrokerError> {
    let admin = admin(connection)?;
    let options = AdminOptions::new().request_timeout(Some(ASK_MAX));
    let answer = wait(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options))?;
    let not_read = |why: String| BrokerError::Unavailable(format!("settings of topic {topic}: {why}").into());
    let resource = answer.map_err(|error| not_read(error.to_string()))?.into_iter().next();
    let resource = match resource {
        Some(Ok(resource)) => resource,
        Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
            return Err(BrokerError::Refused(
                format!("this user may not read the settings of topic {topic}: grant DescribeConfigs").into(),
            ));
        }
        Some(Err(code)) => return Err(not_read(code.to_string())),
        None => return Err(not_read("no answer".to_owned())),
    };
    let entries: HashMap<_, _> =
        resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
    Ok(TopicConfig {
        min_in_sync: entries.get("min.insync.replicas").and_then(|value| value.parse().ok()),
        cleanup: entries.get("cleanup.policy").cloned(),
        timestamps: entries.get("message.timestamp.type").cloned(),
    })
}

/// Refuses topics of which the loss of one broker can lose acknowledged records, unless the settings accept them.
pub(crate) fn check_safety(
    connection: &Connection,
    topic: &str,
    description: &Description,
    config: &TopicConfig,
) -> Result<(), BrokerError> {
    let Some(why) = unsafe_because(description, config) else { return Ok(()) };
    if connection.settings.allow_unsafe_topics || connection.settings.dev {
        tracing::warn!(topic, "one lost broker can lose acknowledged publications: {why}");
        return Ok(());
    }
    Err(BrokerError::Refused(
        format!(
            "topic {topic} is not safe: {why}; make it replication factor 3 with min.insync.replicas=2, or set \
             kafka.allow_unsafe_topics = true"
        )
        .into(),
    ))
}

/// Why acknowledged records could be lost with one broker.
pub(crate) fn unsafe_because(description: &Description, config: &TopicConfig) -> Option<String> {
    let copies = description.replicas.iter().copied().min().unwrap_or(0);
    if copies < 2 {
        return Some(format!("its replication factor is {copies}"));
    }
    match config.min_in_sync {
        Some(min) if min < 2 => Some(format!("its min.insync.replicas is {min}")),
        _ => None,
    }
}
