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

    /// What it does, in a line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Publish => "Publishes to a channel",
            Self::Broadcast => "Publishes the same to many channels",
            Self::History => "Reads what is kept of a channel",
            Self::HistoryRemove => "Takes what is kept of a channel away",
            Self::Presence => "Who is present in a channel",
            Self::PresenceStats => "How many are present in a channel",
            Self::Disconnect => "Closes sessions, on whatever node they are",
            Self::Subscribe => "Subscribes sessions to a channel",
            Self::Unsubscribe => "Ends the subscription of sessions to a channel",
            Self::Refresh => "Sets when the token of sessions expires",
            Self::BlockUser => "Lets nobody be a user",
            Self::UnblockUser => "Lets somebody be that user again",
            Self::RevokeToken => "Makes a token count no more",
            Self::InvalidateUserTokens => "Makes the tokens of a user count no more that were made before a time",
            Self::Channels => "Which channels have subscribers, on whatever node",
            Self::Info => "The nodes",
            Self::Batch => "Several commands in one request",
        }
    }

    /// The method of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|m| m.name() == name)
    }
}
