//! The server HTTP API: publish, broadcast, history, info, batch.
