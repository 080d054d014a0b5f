//! Errors that say whose fault they are and whether to try again.

use std::borrow::Cow;

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// What was asked for cannot be done as asked: a setting, a missing topic, a permission.
    Caller,
    /// The backbone is away or refuses.
    Broker,
    /// A bug or a broken invariant of this node.
    Node,
}

/// Why a broker could not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokerError {
    /// The backbone cannot be reached now, or the circuit breaker is open. Nothing was stored. Retry.
    #[error("{0}")]
    Unavailable(Cow<'static, str>),
    /// The outcome is unknown: the record may have been stored. Retry with the same idempotency key.
    #[error("{0}; it may have been stored, retry with the same idempotency key")]
    UnknownOutcome(Cow<'static, str>),
    /// A bounded queue is full. Nothing was stored. Retry later.
    #[error("{0}")]
    Overloaded(Cow<'static, str>),
    /// The setting, name, permission or record is wrong; retrying changes nothing. The text says what to do.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The range asked for is gone, or the numbering changed under it.
    #[error("{0}")]
    OutOfRange(Cow<'static, str>),
    /// A broken invariant or unreadable data on this node.
    #[error("{0}")]
    Internal(Cow<'static, str>),
}

impl BrokerError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(_) | Self::UnknownOutcome(_) | Self::Overloaded(_) => Fault::Broker,
            Self::Refused(_) | Self::OutOfRange(_) => Fault::Caller,
            Self::Internal(_) => Fault::Node,
        }
    }

    /// Whether trying the same again can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::UnknownOutcome(_) | Self::Overloaded(_))
    }
}
