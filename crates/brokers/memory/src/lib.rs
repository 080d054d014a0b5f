//! A broker within one process: fast, and it forgets everything when it ends.
//!
//! Appending stores and delivers in one step, on the appender's thread, under the partition's lock. Sinks therefore
//! never call back into the log. Each channel keeps its newest records within what its namespace asks for; all together
//! stay within a bound of bytes, oldest first. A channel that was never published to costs nothing, and one of which
//! nothing is kept is forgotten after a while.

mod broker;
mod factory;
mod judge;
mod partition;
mod past;

pub use broker::Memory;
pub use factory::{FACTORY, Factory};
