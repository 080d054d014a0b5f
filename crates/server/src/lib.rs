//! Composition root: configuration, registries, the listener's HTTP side, and a node's life from start to end.
//!
//! The only crate that knows the full cast.

pub mod banner;
pub mod config;
pub mod http;
pub mod registry;

mod host;
mod node;
mod tls;

pub use node::{check, run};
