//! The checked form of the settings that the core acts on. How they are spelled in a file is the server's business.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
pub use tidegate_auth::TokenOptions;

pub use crate::control::ControlOptions;
pub use crate::names::{NamePattern, NamePatternError, NamePatterns, NameRegex, SameNames};
pub use crate::rules::RulesOptions;

/// What happens to a subscription whose socket does not keep up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnLag {
    /// It reads on from its cursor, however late; what the log no longer has is told as error 2500.
    #[default]
    Deliver,
    /// The connection is closed with 3008 (slow), and recovers elsewhere: when its socket takes nothing for a second, or
    /// when it has fallen back further than the window.
    Disconnect,
}

/// What a recovery brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecoveryMode {
    /// Everything that was missed.
    #[default]
    Stream,
    /// The newest publication.
    Cache,
}

/// Which payloads a namespace takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataFormat {
    /// Anything; what is not JSON reaches JSON clients as a string.
    #[default]
    Any,
    /// Valid JSON only; a publish of something else is a bad request, a foreign record is counted and left out.
    Json,
}

/// Settings of a namespace. The default is closed: nobody may do anything, nothing is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamespaceOptions {
    /// Its channels are those whose whole name is of this pattern; `None` = those behind its name and a colon.
    pub pattern: Option<NamePattern>,
    /// Clients may only name channels whose name behind the namespace this matches.
    pub channel_regex: Option<NameRegex>,
    /// The log that carries it; `None` = the broker's default log.
    pub log: Option<Arc<str>>,
    /// Nothing may be published through Tidegate: read permissions on the log are enough.
    pub read_only: bool,
    /// Newest publications of a channel that history and recovery may return; 0 = no history.
    pub history_size: u32,
    /// Age up to which they may; zero = no history.
    pub history_ttl: Duration,
    /// Every subscription is recoverable.
    pub force_recovery: bool,
    /// Clients may ask for recovery, as those may who may read history.
    pub allow_recovery: bool,
    /// What a recovery brings.
    pub recovery_mode: RecoveryMode,
    /// Every subscription recovers, so that it begins with the newest publication. For [`RecoveryMode::Cache`].
    pub auto_cache_recover: bool,
    /// Every subscription gets positions.
    pub force_positioning: bool,
    /// Clients may ask for positions, as those may who may recover.
    pub allow_positioning: bool,
    /// Any client may subscribe.
    pub allow_subscribe_for_client: bool,
    /// Clients without a user may, where clients may.
    pub allow_subscribe_for_anonymous: bool,
    /// `#` in a channel's name limits it to the users behind it, who may subscribe.
    pub allow_user_limited_channels: bool,
    /// Any client may publish.
    pub allow_publish_for_client: bool,
    /// Clients that are subscribed may publish.
    pub allow_publish_for_subscriber: bool,
    /// Clients without a user may, where clients or subscribers may.
    pub allow_publish_for_anonymous: bool,
    /// Any client may read history.
    pub allow_history_for_client: bool,
    /// Clients that are subscribed may read history.
    pub allow_history_for_subscriber: bool,
    /// Clients without a user may, where clients or subscribers may.
    pub allow_history_for_anonymous: bool,
    /// Subscribers show in presence.
    pub presence: bool,
    /// Their joins and leaves are told to subscribers who ask for them and may see presence.
    pub join_leave: bool,
    /// Joins and leaves are told to every subscriber.
    pub force_push_join_leave: bool,
    /// Any client may see who is present.
    pub allow_presence_for_client: bool,
    /// Clients that are subscribed may.
    pub allow_presence_for_subscriber: bool,
    /// Clients without a user may, where clients or subscribers may.
    pub allow_presence_for_anonymous: bool,
    /// Subscribers may ask for deltas in the format of Fossil.
    pub allow_fossil_delta: bool,
    /// Every publication may reach them as a delta, whether its publisher asked for it or not.
    pub delta_publish: bool,
    /// What happens to slow readers.
    pub on_lag: OnLag,
    /// Which payloads are taken.
    pub data_format: DataFormat,
}

impl NamespaceOptions {
    /// Whether anything of a channel's past may be returned.
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }
}

/// Settings that concern every client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientOptions {
    /// Connect without a token is allowed; the user is then empty.
    pub allow_anonymous: bool,
    /// `Origin` patterns that may connect, `*` matches anything; empty = only the server's own host.
    pub allowed_origins: Vec<String>,
    /// Between two pings of the server.
    pub ping_interval: Duration,
    /// A ping not answered within this closes the connection with 3012. Shorter than `ping_interval`.
    pub pong_timeout: Duration,
    /// A connection that has not said connect within this is closed with 3502. Also bounds the handshake.
    pub stale_close_delay: Duration,
    /// How long an expired token is borne before 3005 or 2501.
    pub expired_close_delay: Duration,
    /// Subscriptions per connection.
    pub channel_limit: usize,
    /// Sessions on this node; 0 = as many as there are descriptors.
    pub connection_limit: usize,
    /// Sessions of one user on this node; 0 = any number.
    pub user_connection_limit: usize,
    /// A proxy that knows the users says who a client is.
    pub user_header: Option<UserHeader>,
    /// Bytes of one client message; more closes with 1009.
    pub message_bytes_max: usize,
    /// Publications in one history answer to a client; backends have `history_size`.
    pub history_publications_max: usize,
    /// Publications that one recovery may bring; more is `recovered: false`.
    pub recovery_publications_max: usize,
    /// Bytes of payloads that one recovery may bring, and one history answer to a client: what is more comes in pages.
    pub recovery_bytes_max: usize,
    /// Records of a shared log that one recovery or history read may look at.
    pub recovery_scan_records_max: usize,
    /// A socket that takes no byte for this long is closed.
    pub write_stall_max: Duration,
    /// JSON in the `data` of every answer to connect; empty = none.
    pub connect_data: Bytes,
    /// Every session of a user is subscribed to a channel of that user.
    pub personal_channel: Option<PersonalChannel>,
}

/// A header of HTTP that names the user, where the connection comes from a proxy that is trusted to set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserHeader {
    /// Its name.
    pub name: String,
    /// Where those proxies are. From elsewhere the header means nothing.
    pub proxies: Vec<IpNet>,
}

impl UserHeader {
    /// Whether a peer is such a proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|net| net.contains(&peer))
    }
}

/// The channel `#<user>` of every user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonalChannel {
    /// Its namespace; `None` = without one.
    pub namespace: Option<String>,
    /// A user has one session: a newer one closes those before with 3504.
    pub single_connection: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            allowed_origins: Vec::new(),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            stale_close_delay: Duration::from_secs(10),
            expired_close_delay: Duration::from_secs(25),
            channel_limit: 128,
            connection_limit: 0,
            user_connection_limit: 0,
            user_header: None,
            message_bytes_max: 64 << 10,
            history_publications_max: 300,
            recovery_publications_max: 300,
            recovery_bytes_max: 1 << 20,
            recovery_scan_records_max: 200_000,
            write_stall_max: Duration::from_secs(60),
            connect_data: Bytes::new(),
            personal_channel: None,
        }
    }
}

/// Bounds of this node's replica of the recent log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowOptions {
    /// Bytes of payloads on this node, shared by all partitions.
    pub payload_bytes_max: usize,
    /// Keys with their last offsets on this node, shared by all partitions: far deeper than the payloads.
    pub index_keys_max: usize,
    /// An idempotency key or a version counts as seen when it occurs among this many preceding offsets of its partition,
    /// of whatever channels and however long ago. For logs whose broker does not decide that.
    pub dedup_offsets: u64,
    /// How long a partition is still tailed when its last subscriber left.
    pub linger: Duration,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            payload_bytes_max: 256 << 20,
            index_keys_max: 4_000_000,
            dedup_offsets: 50_000,
            linger: Duration::from_secs(30),
        }
    }
}

/// Everything that the core needs to know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CoreOptions {
    /// Name of this node in answers and logs.
    pub node_name: String,
    /// Version text in answers.
    pub version: &'static str,
    /// Settings of clients.
    pub client: ClientOptions,
    /// Settings of tokens.
    pub token: TokenOptions,
    /// Bounds of the window.
    pub window: WindowOptions,
    /// The control log; `None` = this node hears of no other one, and there is no presence.
    pub control: Option<ControlOptions>,
    /// Rules; `None` = nothing can be revoked.
    pub rules: Option<RulesOptions>,
    /// Settings of channels without a namespace; `None` = such channels are unknown.
    pub default_namespace: Option<NamespaceOptions>,
    /// Settings of each namespace by name.
    pub namespaces: Vec<(String, NamespaceOptions)>,
}
