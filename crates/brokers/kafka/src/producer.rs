//! Publishing: records go to librdkafka with their partition named, its delivery report ends the wait.
//!
//! Bounded by `in_flight_max`; past it the answer is overload. A fatal error of the idempotent producer marks it
//! broken: the next publish gets a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _};
use tidegate_broker::{Appended, BrokerError, Partition, Record};
use tokio::sync::oneshot;

use crate::breaker::Breaker;
use crate::context::Context;
use crate::headers;
use crate::polled::Polled;
use crate::properties;
use crate::settings::Settings;

type Answer = Result<Appended, BrokerError>;

/// One publish on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    done: oneshot::Sender<Answer>,
    partition: Partition,
    breaker: Arc<Breaker>,
    broken: Arc<AtomicBool>,
}

impl Pending {
    /// The delivery report is here.
    pub(crate) fn finish(self, result: &DeliveryResult<'_>) {
        let answer = match result {
            Ok(message) => {
                self.breaker.stored();
                let log_offset = u64::try_from(message.offset()).unwrap_or(0);
                Ok(Appended { partition: self.partition, log_offset, channel_offset: None, suppressed: false })
            }
            Err((error, message)) => Err(self.failed(error, tidegate_kafka_topic_id::may_be_stored(message))),
        };
        // Who published may have given up.
        let _ = self.done.send(answer);
    }

    fn failed(&self, error: &KafkaError, may_be_stored: bool) -> BrokerError {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match code {
            RDKafkaErrorCode::Fatal => self.broken.store(true, Relaxed),
            // The client met a fatal error. Nothing is known about the cluster; an earlier try may have got there.
            RDKafkaErrorCode::PurgeQueue => {
                self.broken.store(true, Relaxed);
                self.breaker.withdrawn();
                let text = "the Kafka client starts anew and does not know what became of the record";
                return if may_be_stored { BrokerError::UnknownOutcome(text.into()) } else { starts_anew() };
            }
            _ if refusal(code).is_some() => {
                // The cluster answered: this try, and not those before it.
                self.breaker.withdrawn();
                let text = refusal(code).unwrap_or_default().into();
                return if may_be_stored { BrokerError::UnknownOutcome(text) } else { BrokerError::Refused(text) };
            }
            _ => {}
        }
        let text = format!("Kafka did not acknowledge the record: {code}");
        self.breaker.failed(&text);
        if may_be_stored { BrokerError::UnknownOutcome(text.into()) } else { BrokerError::Unavailable(text.into()) }
    }
}

fn starts_anew() -> BrokerError {
    BrokerError::Unavailable("the Kafka client starts anew, retry".into())
}

/// Errors that a retry does not change.
fn refusal(code: RDKafkaErrorCode) -> Option<String> {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize => Some(
            "the record is larger than Kafka accepts: raise max.message.bytes of the topic and message.max.bytes \
                  under [kafka.properties]"
                .to_owned(),
        ),
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            Some("Kafka does not allow this user to write to the topic: grant Write and Describe".to_owned())
        }
        RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessage => {
            Some(format!("Kafka refuses the record: {code}"))
        }
        _ => None,
    }
}

/// The publishing client.
pub(crate) struct Producer {
    client: Polled,
    breaker: Arc<Breaker>,
    broken: Arc<AtomicBool>,
}

impl Producer {
    /// Starts the client and its thread; it fetches its producer id by itself.
    pub(crate) fn start(settings: &Settings, context: &Context, breaker: &Arc<Breaker>) -> Result<Self, BrokerError> {
        let client = Polled::start(&properties::producer(settings), context.clone(), settings)?;
        Ok(Self { client, breaker: breaker.clone(), broken: Arc::default() })
    }

    /// Learns the leaders of a topic, so that the first publish does not wait for that. Blocks.
    pub(crate) fn warm_up(&self, topic: &str, patience: Duration) {
        // Without an answer the first publish is slower, no more.
        let _ = self.client.client().fetch_metadata(Some(topic), patience);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Why the client broke, if a new one would break as well: it got no producer id, say, for want of permissions.
    pub(crate) fn refused(&self) -> Option<BrokerError> {
        let (code, _) = self.client.client().fatal_error()?;
        refusal(code).map(|text| BrokerError::Refused(text.into()))
    }

    /// Hands a record over; the answer comes through the receiver.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: Partition,
        record: &Record,
    ) -> Result<oneshot::Receiver<Answer>, BrokerError> {
        let (done, answer) = oneshot::channel();
        let pending = Pending { done, partition, breaker: self.breaker.clone(), broken: self.broken.clone() };
        let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let mut message = BaseRecord::with_opaque_to(topic, Box::new(pending))
            .partition(number)
            .key(record.key.as_bytes())
            .payload(&record.payload[..]);
        if let Some(headers) = record.meta.as_deref().and_then(headers::encode) {
            message = message.headers(headers);
        }
        match self.client.send(message) {
            Ok(()) => Ok(answer),
            Err((error, _)) => Err(self.not_sent(&error)),
        }
    }

    fn not_sent(&self, error: &KafkaError) -> BrokerError {
        self.breaker.withdrawn();
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match code {
            RDKafkaErrorCode::QueueFull => {
                BrokerError::Overloaded("too many publications are on their way to Kafka, retry".into())
            }
            RDKafkaErrorCode::Fatal => {
                self.broken.store(true, Relaxed);
                self.refused().unwrap_or_else(starts_anew)
            }
            _ => match refusal(code) {
                Some(text) => BrokerError::Refused(text.into()),
                None => BrokerError::Unavailable(format!("Kafka does not take the record now: {code}").into()),
            },
        }
    }

    /// Waits until everything on its way was answered. Blocks.
    pub(crate) fn flush(&self, patience: Duration) {
        if self.client.flush(patience).is_err() {
            tracing::warn!(records = self.client.in_flight_count(), "closed before Kafka acknowledged everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_stored_is_never_said_to_be_unstored() {
        let (done, _) = oneshot::channel();
        let (breaker, broken) = (Arc::<Breaker>::default(), Arc::default());
        let pending = Pending { done, partition: Partition(0), breaker, broken };
        for code in [
            RDKafkaErrorCode::PurgeQueue,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::Fatal,
        ] {
            let error = KafkaError::MessageProduction(code);
            assert!(matches!(pending.failed(&error, true), BrokerError::UnknownOutcome(_)), "{code}");
            assert!(!matches!(pending.failed(&error, false), BrokerError::UnknownOutcome(_)), "{code}");
        }
    }
}
