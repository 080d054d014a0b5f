//! Dialect-neutral commands, replies and pushes, and the Dialect trait.
