//! Windows, sessions, subscriptions, recovery and permissions: the product without sockets.
//!
//! Names no broker, no transport and no dialect. Sessions are state machines without clock or I/O.
//!
//! - [`Hub`]: the node's door to its logs: publish, subscribe, recover, history.
//! - [`Inbox`]: what a shard is told.
//! - [`Control`]: what nodes tell each other: who is there, who is present, commands for connections elsewhere.
//! - [`Rules`]: tokens and users that count no more.
//! - [`Session`]: what a connection may do, and when it must refresh.
//! - [`config`]: the settings of all this. [`metrics`]: what it counts.

pub mod config;
pub mod metrics;
pub mod payload;

mod cache;
mod cell;
mod clock;
mod control;
mod error;
mod history;
mod hub;
mod inbox;
mod judge;
mod names;
mod namespace;
mod publish;
mod reader;
mod reads;
mod recover;
mod rules;
mod session;
mod start;
mod tails;
mod uplink;
mod users;
mod window;

pub use clock::Clock;
pub use control::{
    Action, CHANNELS_MAX, Change, ChannelCounts, ChannelPattern, Control, Order, OrderedSubscription, Report,
};
pub use error::HubError;
pub use hub::{CellId, Channel, Hub, PartitionStatus, random_id};
pub use inbox::{Delivery, Drained, Inbox, ShardEvent, Ticket};
pub use namespace::{LogBinding, Namespace, Namespaces};
pub use publish::PublishOptions;
pub use recover::ReplyTo;
pub use rules::{Bearer, Revoked, Rule, Rules, Token};
pub use session::{Grant, Policy, Refusal, ServerSide, Session};
pub use start::{ReadAfter, Start};
pub use tidegate_auth::{Fetch, Overrides, ServerSubscription, Verifier};
pub use uplink::{SessionKey, UplinkError};
pub use users::UserCounts;
