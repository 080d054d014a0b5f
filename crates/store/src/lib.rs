//! The durable log on local disk: segments, index, recovery, retention.
