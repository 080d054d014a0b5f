//! What clients can say and hear, independent of how it is spelled.
//!
//! A [`Dialect`] is a pure codec between bytes of one message and these values. Sessions know only these values; how a
//! message lies on a socket is a framing's business.

mod command;
mod dialect;
mod positions;
mod reply;

pub use command::{Command, Connect, History, Method, Since, Subscribe};
pub use dialect::{Data, DecodeError, Dialect};
pub use positions::Positions;
pub use reply::{ConnectResult, HistoryResult, Push, Reply, SubscribeResult, Uplink};
