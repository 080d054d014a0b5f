//! The id of a Kafka topic, which rdkafka does not give.
