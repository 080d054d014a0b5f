//! Why the hub could not do what it was asked, for a person and as a code on the wire.

use std::borrow::Cow;

use tidegate_broker::BrokerError;
use tidegate_types::codes::ErrorCode;
use tidegate_types::{ChannelName, ChannelNameError};

/// Why a publish, a history read or a subscription failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HubError {
    /// No namespace of that name is configured.
    #[error("channel {name:?}: {missing}", name = .0, missing = what_is_missing(.0))]
    UnknownChannel(ChannelName),
    /// The name itself is wrong.
    #[error("{0}")]
    ChannelName(#[from] ChannelNameError),
    /// What was sent makes no sense.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// The namespace does not offer it.
    #[error("{0}")]
    NotAvailable(Cow<'static, str>),
    /// The position is not of this stream, or what follows it is gone.
    #[error("{0}")]
    Unrecoverable(Cow<'static, str>),
    /// Not within the time that clients wait.
    #[error("the log did not answer in time, retry")]
    Timeout,
    /// The log refused or is away.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Where the channel would have to be configured.
fn what_is_missing(channel: &ChannelName) -> &'static str {
    match channel.namespace() {
        Some(_) => "its namespace is not configured, add it under [namespaces]",
        None if channel.as_str().starts_with('/') => {
            "no namespace has a pattern for it, add one under [namespaces] (pattern = \"/...\")"
        }
        None => {
            "names without a namespace are not configured, add [channel.without_namespace] or name one (NAMESPACE:...)"
        }
    }
}

impl HubError {
    /// The code that a client gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownChannel(_) => ErrorCode::UNKNOWN_CHANNEL,
            Self::ChannelName(_) | Self::BadRequest(_) => ErrorCode::BAD_REQUEST,
            Self::NotAvailable(_) => ErrorCode::NOT_AVAILABLE,
            Self::Unrecoverable(_) => ErrorCode::UNRECOVERABLE_POSITION,
            Self::Broker(BrokerError::OutOfRange(_)) => ErrorCode::UNRECOVERABLE_POSITION,
            Self::Timeout | Self::Broker(_) => ErrorCode::INTERNAL,
        }
    }

    /// Whether trying the same again can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Broker(error) => error.is_retryable(),
            _ => false,
        }
    }
}
