//! Kafka as the log.
