//! The load generator: clients, workloads, verification, report, and the suite that writes `docs/benchmarks.md`.
//!
//! One thread with its own epoll loop drives all subscribers, another publishes on a fixed schedule whatever the server
//! does (open loop), so that a slow server cannot slow down its own test. Every delivery is checked: order, number and
//! content. The server's CPU time and memory are read from `/proc` by its pid. Targets are loopback addresses only.
//!
//! - [`Bench`] is the command line of `tidegate bench`: a [`scenario::Scenario`] against a [`Target`].
//! - [`limit`] measures what the kernel alone costs, which every other figure is compared with.
//! - [`suite`] runs scenarios and the limit probe in turns, and compares the medians with the bars.

mod bench;
mod clients;
mod clock;
mod cpus;
mod fossil;
#[cfg(feature = "kafka")]
mod kafka;
pub mod limit;
mod link;
mod mark;
mod protobuf;
mod publish;
pub mod report;
pub mod scenario;
mod socket;
pub mod suite;
pub mod target;
mod usage;
mod verify;
mod wire;

pub use bench::Bench;
pub use report::Report;
pub use target::Target;
