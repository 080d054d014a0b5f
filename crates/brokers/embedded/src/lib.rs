//! The embedded broker: one node, durable, over the store.
//!
//! Each log is a store in a directory of its own under the configured one, with a single partition. An append is
//! acknowledged when it is on disk, and only what is on disk is delivered. Channels are numbered without holes, and those of
//! which nothing is kept are forgotten after a while; duplicates and old versions are decided before numbering. Files are
//! read off the async threads.

mod broker;
mod factory;
mod log;
mod meta;

pub use broker::Embedded;
pub use factory::{FACTORY, Factory};
