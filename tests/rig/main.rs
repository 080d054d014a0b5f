//! The whole rig: three nodes, one real Kafka, `HAProxy` round robin without affinity, the official client in Chromium.

mod browser;
mod foreign;
