//! The names of the methods.

/// What can be called, by the last part of the path `/api/<name>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// One publication to one channel.
    Publish,
    /// The same publication to many channels.
    Broadcast,
    /// Kept publications of a channel.
    History,
    /// Who is present in a channel.
    Presence,
    /// How many are.
    PresenceStats,
    /// Closes sessions of a user.
    Disconnect,
    /// Subscribes them to a channel.
    Subscribe,
    /// Ends their subscription to a channel.
    Unsubscribe,
    /// Sets when their token expires.
    Refresh,
    /// The nodes.
    Info,
    /// Several commands in one request.
    Batch,
}

impl Method {
    /// Every method.
    pub const ALL: &'static [Self] = &[
        Self::Publish,
        Self::Broadcast,
        Self::History,
        Self::Presence,
        Self::PresenceStats,
        Self::Disconnect,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Refresh,
        Self::Info,
        Self::Batch,
    ];

    /// Its name in the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::History => "history",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::Disconnect => "disconnect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Refresh => "refresh",
            Self::Info => "info",
            Self::Batch => "batch",
        }
    }

    /// The method of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|m| m.name() == name)
    }
}
