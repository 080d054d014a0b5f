//! TLS on the shards: every connection of a listener that has an [`Acceptor`] is a [`TlsSession`] under whatever it
//! carries, be it a WebSocket, a stream or requests.
//!
//! Not a stream and not a layer: a shard reads records into its scratch buffer, and what was in them takes the way of
//! plain bytes; what it sends is sealed into its record buffer. A connection keeps the session's keys, an incomplete
//! record while it is incomplete, and the rest of a record that the socket did not take while it does not. The kernel's
//! TLS is not used.
//!
//! # Invariants
//! - What was sealed counts as handed over. Its record must go out, and before anything else: the next record has the
//!   next number.
//! - A connection with an unsent rest is *blocked*, like one whose frame was cut (`output.rs`).
//! - A publication is sealed for each subscriber, but joined and framed once for all of them.
//! - A loop turn takes a bounded number of handshake steps. Whoever waits for one waits in line, once.

mod session;
mod sockets;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub use session::TlsSession;
pub(crate) use sockets::{end_output, send};

/// Makes the sessions of new connections. Those that there are keep the configuration they began with.
pub struct Acceptor {
    config: ArcSwap<ServerConfig>,
}

impl Acceptor {
    /// Sessions with this configuration.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { config: ArcSwap::new(config) }
    }

    /// Another configuration from here on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.config.store(config);
    }

    pub(crate) fn session(&self) -> Result<Box<TlsSession>, rustls::Error> {
        TlsSession::new(self.config.load_full()).map(Box::new)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
