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
use tokio::sync::Semaphore;

pub use session::TlsSession;
pub(crate) use sockets::{end_output, send};

/// Makes the sessions of new connections. Those that there are keep the configuration they began with.
pub struct Acceptor {
    configs: ArcSwap<Configs>,
    http2: Option<Arc<Semaphore>>,
}

/// One configuration, by what is offered of the protocols above TLS (ALPN, RFC 7301).
struct Configs {
    http1: Arc<ServerConfig>,
    both: Arc<ServerConfig>,
}

impl Configs {
    fn new(config: Arc<ServerConfig>) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = ServerConfig::clone(&config);
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Self { http1: offering(&[b"http/1.1"]), both: offering(&[b"h2", b"http/1.1"]) }
    }
}

impl Acceptor {
    /// Sessions with this configuration, whatever it says of ALPN: `http/1.1` is offered, and `h2` before it while one
    /// more such connection may be open.
    pub fn new(config: Arc<ServerConfig>, http2: Option<Arc<Semaphore>>) -> Self {
        Self { configs: ArcSwap::from_pointee(Configs::new(config)), http2 }
    }

    /// Another configuration from here on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.configs.store(Arc::new(Configs::new(config)));
    }

    pub(crate) fn session(&self) -> Result<Box<TlsSession>, rustls::Error> {
        let has_room = self.http2.as_ref().is_some_and(|permits| permits.available_permits() > 0);
        let configs = self.configs.load();
        let config = if has_room { &configs.both } else { &configs.http1 };
        TlsSession::new(config.clone()).map(Box::new)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
