//! What librdkafka says by itself: log lines and global errors. They become log lines of ours and the *trouble*, the
//! text that an operator reads when something cannot be reached.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;
use tidegate_broker::BrokerError;

use crate::breaker::Breaker;
use crate::producer::Pending;

/// Why the cluster does not answer as it should.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Nobody there, or not now.
    Away,
    /// The certificate, or no TLS where TLS is expected.
    Tls,
    /// User, password or mechanism.
    Login,
}

/// The last trouble of all clients of one broker.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    // Held to copy a text.
    last: Mutex<Option<(Kind, String)>>,
}

impl Trouble {
    fn note(&self, kind: Kind, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|(had, _)| *had > kind) {
            return;
        }
        if last.as_ref().is_none_or(|(had, _)| *had != kind) {
            tracing::warn!("Kafka: {text}");
        }
        *last = Some((kind, text.to_owned()));
    }

    /// The cluster answered.
    pub(crate) fn clear(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A login or certificate is wrong: waiting longer does not help.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.get().is_some_and(|(kind, _)| kind > Kind::Away)
    }

    pub(crate) fn get(&self) -> Option<(Kind, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a request that got no answer is answered.
    pub(crate) fn error(&self, brokers: &str) -> BrokerError {
        match self.get() {
            None => BrokerError::Unavailable(format!("no answer from Kafka at {brokers}").into()),
            Some((Kind::Away, text)) => {
                BrokerError::Unavailable(format!("Kafka at {brokers} cannot be reached: {text}").into())
            }
            Some((Kind::Login, text)) => BrokerError::Refused(
                format!(
                    "Kafka at {brokers} refuses the login: {text}; check sasl.username, sasl.password, sasl.mechanism \
                     and security.protocol under [kafka.properties]"
                )
                .into(),
            ),
            Some((Kind::Tls, text)) => BrokerError::Refused(
                format!(
                    "no TLS connection with Kafka at {brokers}: {text}; check ssl.ca.location and security.protocol \
                     under [kafka.properties], and the names in the broker's certificate"
                )
                .into(),
            ),
        }
    }
}

/// The context of every client of one broker.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) trouble: Arc<Trouble>,
    /// Set on clients whose view of the cluster decides whether publishes are tried.
    pub(crate) breaker: Option<Arc<Breaker>>,
}

impl Context {
    /// A connection could not be made, or broke.
    fn failed(&self, kind: Kind, why: &str) {
        self.trouble.note(kind, why);
        if let Some(breaker) = &self.breaker {
            breaker.not_connected(why);
        }
    }

    fn all_down(&self) {
        let Some(breaker) = &self.breaker else { return };
        breaker.unconnected();
        // It comes after the trouble, if there was any.
        if let Some((_, why)) = self.trouble.get() {
            breaker.not_connected(&why);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        if matches!(facility, "FAIL" | "ERROR") {
            self.failed(kind_of(message), strip(message));
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => self.failed(Kind::Login, strip(reason)),
            Some(RDKafkaErrorCode::SSL) => self.failed(Kind::Tls, strip(reason)),
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                self.failed(kind_of(reason), strip(reason));
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => self.all_down(),
            _ => {}
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        pending.finish(result);
    }
}

fn kind_of(text: &str) -> Kind {
    let text = text.to_ascii_lowercase();
    if text.contains("ssl handshake") || text.contains("certificate") || text.contains("tls") {
        Kind::Tls
    } else if text.contains("sasl") || text.contains("authentication") {
        Kind::Login
    } else {
        Kind::Away
    }
}

/// Without the thread's name and the state's age, which say nothing to an operator.
fn strip(text: &str) -> &str {
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map_or(text, |(_, rest)| rest);
    text.split(" (after ").next().unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_trouble_stays_until_the_cluster_answers() {
        let trouble = Trouble::default();
        trouble.note(Kind::Login, "bad password");
        trouble.note(Kind::Away, "all brokers down");
        assert!(matches!(trouble.error("b:1"), BrokerError::Refused(text) if text.contains("bad password")));
        trouble.clear();
        assert!(matches!(trouble.error("b:1"), BrokerError::Unavailable(_)));
    }

    #[test]
    fn lines_are_told_apart_and_shortened() {
        let line = "[thrd:sasl_plaintext://h:1/bootstrap]: sasl_plaintext://h:1/bootstrap: SASL authentication error: \
                    no (after 5ms in state AUTH_REQ)";
        assert_eq!(strip(line), "sasl_plaintext://h:1/bootstrap: SASL authentication error: no");
        assert_eq!(kind_of("SSL handshake failed: certificate verify failed"), Kind::Tls);
        assert_eq!(kind_of("Authentication failed"), Kind::Login);
        assert_eq!(kind_of("Connect to ipv4#127.0.0.1:1 failed: Connection refused"), Kind::Away);
    }
}
