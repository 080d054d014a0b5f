//! The whole rig: three nodes, one real Kafka, `HAProxy` round robin without affinity and beside it nginx with its
//! defaults, the official client in Chromium.

mod browser;
mod foreign;
