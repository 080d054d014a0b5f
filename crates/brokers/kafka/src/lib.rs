//! Kafka as the log: a log is a topic, a key is a channel, a value is the payload untouched.
//!
//! - **Acknowledged** means: written by the partition's leader and all replicas in sync (`acks=all`, idempotent). With
//!   `min.insync.replicas` >= 2 it outlives the loss of one broker.
//! - **Delivered** is what `read_committed` shows, up to the last stable offset.
//! - **No consumer group** is ever joined, nothing is ever committed: partitions are assigned by hand. To a topic
//!   nothing is written but publications.
//! - **Epoch** = topic id, number of partitions, partitioner. It is looked at every two seconds.
//! - librdkafka runs on its own threads; what blocks runs on a small bounded pool. Nothing here needs a runtime.
//!
//! Life of a publish: `log` names the partition, `producer` hands the record to librdkafka, its delivery report ends
//! the wait. Life of a delivery: `tail` polls a consumer, `record` decodes, the sink takes. Ranges are read by `read`
//! with other consumers than the tails'. `watch` looks after the topic, `breaker` says when asking is pointless.

mod breaker;
mod broker;
mod connect;
mod context;
mod doctor;
mod epoch;
mod factory;
mod headers;
mod log;
mod partitioner;
mod polled;
mod pool;
mod producer;
mod properties;
mod read;
mod record;
mod sample;
mod settings;
mod tail;
mod topic;
mod watch;

pub use doctor::{Check, Verdict, doctor};
pub use factory::{FACTORY, Factory};
pub use partitioner::Partitioner;
