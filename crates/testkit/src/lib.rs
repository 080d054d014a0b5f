//! Harness for tests: real brokers and proxies as processes on loopback, on free ports, ended by their process id; and
//! a log whose faults a test chooses.
//!
//! Not for the product: nothing here is a dependency of a crate that ships. A server counts as up when it answers in
//! its own protocol, never after a pause.

pub mod haproxy;
pub mod hole_log;
pub mod install;
pub mod kafka;
pub mod nginx;
pub mod node;
pub mod ports;
pub mod process;
pub mod producer;
pub mod proxy;
