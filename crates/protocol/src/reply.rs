//! Server to client.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_types::codes::{ErrorCode, Unsubscribe};
use tidegate_types::{ClientId, ClientInfo, Publication, StreamPosition};

/// The answer to one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It failed; the connection goes on.
    Error(ErrorCode),
    /// The session is open.
    Connect(Box<ConnectResult>),
    /// The subscription is on.
    Subscribe(Box<SubscribeResult>),
    /// The subscription is off.
    Unsubscribe,
    /// The publication is in the log.
    Publish,
    /// Kept publications.
    History(Box<HistoryResult>),
    /// Who is present.
    Presence(Vec<Arc<ClientInfo>>),
    /// How many are present.
    PresenceStats {
        /// Clients.
        clients: u32,
        /// Users among them; all without a name count as one.
        users: u32,
    },
    /// The connection token was taken. `ttl_seconds` until the next one is due; `None` = never.
    Refresh {
        /// The session.
        client: ClientId,
        /// Seconds until the next token is due; `None` = never.
        ttl_seconds: Option<u32>,
    },
    /// The subscription token was taken.
    SubRefresh {
        /// Seconds until the next token is due; `None` = never.
        ttl_seconds: Option<u32>,
    },
}

/// An open session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResult {
    /// The session's public id.
    pub client: ClientId,
    /// Version of the server; not empty.
    pub version: &'static str,
    /// Seconds until the connection token is due for refresh; `None` = never.
    pub ttl_seconds: Option<u32>,
    /// Data for the client; empty = none.
    pub data: Bytes,
    /// Seconds between pings of the server; 0 = none.
    pub ping_seconds: u32,
    /// Whether pings must be answered.
    pub pong: bool,
    /// Where commands of a client go whose connection carries none; `None` = onto the connection itself.
    pub uplink: Option<Uplink>,
    /// What the server has subscribed the client to, by channel.
    pub subscriptions: Vec<(String, SubscribeResult)>,
    /// About so many bytes of nothing at the end of the message.
    pub padding: usize,
}

/// Names a connection to whoever takes its client's commands. Secret: it is the right to speak for the client.
#[derive(Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The session.
    pub session: String,
    /// The node that has it; empty where the client has nothing to send.
    pub node: String,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uplink(***)")
    }
}

/// A running subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscribeResult {
    /// Whether the client can recover this subscription later.
    pub recoverable: bool,
    /// Whether positions are given at all.
    pub positioned: bool,
    /// Where the client stands: the stream's top for a new subscription, **its own offset** for a recovered one (it
    /// advances by the publications), the top for a failed recovery. `None` without positions.
    pub position: Option<StreamPosition>,
    /// What was missed, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// All that was missed is in `publications`.
    pub recovered: bool,
    /// The client had asked to recover.
    pub was_recovering: bool,
    /// Seconds until the subscription token is due for refresh; `None` = never.
    pub ttl_seconds: Option<u32>,
    /// Data for the subscriber; empty = none.
    pub data: Bytes,
    /// The subscriber takes deltas: `publications` are given whole as [`crate::Data::Whole`].
    pub delta: bool,
}

/// Kept publications and where the stream stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryResult {
    /// In the order asked for.
    pub publications: Vec<Arc<Publication>>,
    /// The top of the stream.
    pub top: StreamPosition,
}

/// What the server says unasked, apart from publications (see [`crate::Dialect::encode_publication`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Push<'a> {
    /// The session is open, on a transport whose clients ask for nothing.
    Connected(&'a ConnectResult),
    /// The server has subscribed the client to a channel.
    Subscribed {
        /// The channel.
        channel: &'a str,
        /// The subscription; its `publications` come as such.
        result: &'a SubscribeResult,
    },
    /// The server ended a subscription.
    Unsubscribed {
        /// The channel.
        channel: &'a str,
        /// Why.
        code: Unsubscribe,
    },
    /// Somebody joined a channel.
    Joined {
        /// The channel.
        channel: &'a str,
        /// Who.
        info: &'a ClientInfo,
    },
    /// Somebody left a channel.
    Left {
        /// The channel.
        channel: &'a str,
        /// Who.
        info: &'a ClientInfo,
    },
    /// The server ends the connection, on a transport that has no other way to say why.
    Disconnected {
        /// The code, as of a WebSocket close.
        code: u16,
        /// Why.
        reason: &'a str,
    },
    /// The server has set when the connection's token is due for refresh.
    Refreshed {
        /// Seconds until then; `None` = never.
        ttl_seconds: Option<u32>,
    },
}
