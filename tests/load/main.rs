//! A load on the rig: three nodes, one real Kafka and `HAProxy`, 2,000 clients that come back wherever the balancer sends
//! them, and publishers that use any node.
//!
//! - `clients`: what a subscriber sees, and how soon it is back.
//! - `publishers`: numbered publications, each published until it is acknowledged.
//! - `rolling`: the test, one fault after the other over the same clients.

mod clients;
mod publishers;
mod rolling;
