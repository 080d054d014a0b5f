//! The embedded broker: one node, durable, over the store.
