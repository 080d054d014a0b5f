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
    /// Takes the kept publications of a channel away.
    HistoryRemove,
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
    /// Lets nobody be a user.
    BlockUser,
    /// Lets somebody be that user again.
    UnblockUser,
    /// Makes a token count no more.
    RevokeToken,
    /// Makes the tokens of a user count no more that were made before a time.
    InvalidateUserTokens,
    /// Channels with subscribers.
    Channels,
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
        Self::HistoryRemove,
        Self::Presence,
        Self::PresenceStats,
        Self::Disconnect,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Refresh,
        Self::BlockUser,
        Self::UnblockUser,
        Self::RevokeToken,
        Self::InvalidateUserTokens,
        Self::Channels,
        Self::Info,
        Self::Batch,
    ];

    /// Its name in the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::Disconnect => "disconnect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Refresh => "refresh",
            Self::BlockUser => "block_user",
            Self::UnblockUser => "unblock_user",
            Self::RevokeToken => "revoke_token",
            Self::InvalidateUserTokens => "invalidate_user_tokens",
            Self::Channels => "channels",
            Self::Info => "info",
            Self::Batch => "batch",
        }
    }

    /// The method of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|m| m.name() == name)
    }
}
