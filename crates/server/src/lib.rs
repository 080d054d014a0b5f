//! Composition root: configuration, registries, listener, telemetry, shutdown.
