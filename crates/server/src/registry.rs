//! Every broker of this build, by the scheme of its URL. A broker is added by one line here.

use tidegate_broker::{BrokerError, BrokerFactory};

use crate::config::suggest;

/// The brokers.
pub static BROKERS: &[&dyn BrokerFactory] = &[
    &tidegate_broker_embedded::FACTORY,
    &tidegate_broker_memory::FACTORY,
    #[cfg(feature = "kafka")]
    &tidegate_broker_kafka::FACTORY,
];

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    BROKERS.iter().map(|factory| factory.name())
}

/// The broker with this name.
///
/// # Errors
/// A text that lists the names there are.
pub fn factory(scheme: &str) -> Result<&'static dyn BrokerFactory, BrokerError> {
    BROKERS.iter().copied().find(|factory| factory.name() == scheme).ok_or_else(|| {
        let known: Vec<_> = names().collect();
        let suggestion = suggest(scheme, known.iter().copied());
        let kafka =
            if scheme == "kafka" { " (this build has no kafka: it lacks the feature of that name)" } else { "" };
        BrokerError::Refused(format!("no broker {scheme:?}{suggestion}: there are {}{kafka}", known.join(", ")).into())
    })
}
