//! What Tidegate asks of a backbone: an ordered, partitioned log shared by all nodes.
//!
//! Everything above (channels, recovery, dedup, flow control) is written once over the traits of this crate. A broker
//! never sees a client, a session or a subscription.
//!
//! - [`BrokerFactory`]: what a broker crate registers: a name, a URL form, a way to build.
//! - [`Broker`]: one connection to a backbone. It opens logs.
//! - [`Log`]: one named log with its partitions: append, tail, read, bounds. **Its docs are the contract.**
//! - [`TailSink`]: where a tail delivers.

mod error;
mod factory;
mod log;
mod record;
mod traits;

pub use error::{BrokerError, Fault};
pub use factory::{BrokerFactory, BrokerUrl, BuildContext, Mistake, Secret, SettingDoc};
pub use log::{Bounds, LogInfo, LogPurpose, LogSpec, Partition};
pub use record::{Appended, Keep, Key, Record, Refused, TailLoss, Tailed};
pub use traits::{
    BoxFuture, Breaker, Broker, Capabilities, ChannelPage, ChannelTop, Health, Log, Page, PageLimits, TailHandle,
    TailSink,
};

#[cfg(feature = "conformance")]
pub mod conformance;
