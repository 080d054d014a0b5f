//! The Kafka broker against a real Kafka: one that the testkit starts, or for most tests the one (plaintext, one broker
//! suffices) that `TIDEGATE_TEST_KAFKA=HOST:PORT` names. Run with `--features real-kafka`.

mod basic;
mod cluster;
mod conformance;
mod doctor;
mod epochs;
mod groups;
mod keys;
mod losses;
mod outage;
mod partitioners;
mod permissions;
mod refusals;
mod security;
mod support;
#[cfg(feature = "three-brokers")]
mod three_brokers;
mod transactions;
