//! Client to server.

use bytes::Bytes;

use crate::positions::Positions;

/// One command. Its answer carries the same id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Chosen by the client; 0 for what has no answer.
    pub id: u32,
    /// What is asked for.
    pub method: Method,
}

/// What a command asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// Names the user; the first command of a connection.
    Connect(Box<Connect>),
    /// Starts a subscription.
    Subscribe(Box<Subscribe>),
    /// Ends one.
    Unsubscribe {
        /// The channel.
        channel: String,
    },
    /// Publishes from the client.
    Publish {
        /// The channel.
        channel: String,
        /// The payload: one JSON value in JSON encodings.
        data: Bytes,
        /// The publisher's own connection does not get it.
        exclude_self: bool,
    },
    /// Reads kept publications.
    History(Box<History>),
    /// Asks who is subscribed.
    Presence {
        /// The channel.
        channel: String,
    },
    /// Asks how many are subscribed.
    PresenceStats {
        /// The channel.
        channel: String,
    },
    /// Calls the backend.
    Rpc {
        /// Name of what is called.
        method: String,
        /// Its argument.
        data: Bytes,
    },
    /// A message to the backend without an answer.
    Send {
        /// The message.
        data: Bytes,
    },
    /// A newer connection token.
    Refresh {
        /// The token.
        token: String,
    },
    /// A newer subscription token.
    SubRefresh {
        /// The channel.
        channel: String,
        /// The token.
        token: String,
    },
    /// Reserved by the protocol.
    Ping,
    /// The dialect knows it and the server does not: answered with error 108, and the connection goes on.
    Unsupported,
    /// Answer to a ping of the server.
    Pong,
}

/// Names the user and the client software.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connect {
    /// Connection token (JWT); empty = none.
    pub token: String,
    /// Data for the backend.
    pub data: Bytes,
    /// Name of the client software.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Subscriptions that it wants to begin with, or to recover of those that the server makes for it.
    pub subscriptions: Vec<Subscribe>,
    /// Where it stood before, on a transport that keeps that for it.
    pub resume: Positions,
}

impl Connect {
    /// What the client wants of a subscription, and where it goes on: what the transport kept for it is newer than what
    /// the request says, which a browser repeats as it was.
    pub fn resumed(&self, channel: &str, mut wish: Subscribe) -> Subscribe {
        wish.recover = self.resume.of(channel).or(wish.recover);
        wish
    }
}

/// Where a reader wants to go on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Since {
    /// The last offset seen; 0 = from the beginning.
    pub offset: u64,
    /// The epoch that it belongs to; empty = whatever there is.
    pub epoch: String,
}

/// Starts a subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscribe {
    /// The channel.
    pub channel: String,
    /// Subscription token (JWT); empty = none.
    pub token: String,
    /// Recover what was missed after this position.
    pub recover: Option<Since>,
    /// The client wants to know its position.
    pub positioned: bool,
    /// The client wants to be able to recover.
    pub recoverable: bool,
    /// Answer error 112 instead of `recovered: false`.
    pub reject_unrecovered: bool,
    /// The client wants joins and leaves.
    pub join_leave: bool,
    /// The client takes deltas in the format of Fossil.
    pub delta: bool,
}

/// Reads kept publications.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The channel.
    pub channel: String,
    /// How many at most: 0 = none (position only), negative = as many as the server allows.
    pub limit: i32,
    /// Only what comes after (with `reverse`: before) this position.
    pub since: Option<Since>,
    /// Newest first.
    pub reverse: bool,
}
