//! Windows, sessions, subscriptions, recovery and permissions: the product without sockets.
//!
//! Names no broker, no transport and no dialect. Sessions are state machines without clock or I/O.

pub mod config;
