//! Composition root: configuration, registries, the listener's HTTP side.
//!
//! The only crate that knows the full cast.

pub mod config;
pub mod http;
pub mod registry;
