//! What a shard is told at its start.

use std::net::TcpStream;
use std::sync::Arc;

use tidegate_core::config::ClientOptions;
use tidegate_framing::http::Head;
use tidegate_framing::websocket::Origins;

use crate::wire::Wire;

/// A path that clients open, and what is spoken there.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path, without a query.
    pub path: String,
    /// What is spoken there: index into [`ShardOptions::wires`].
    pub wire: u8,
}

/// A socket whose first request is none of a shard's: everything that ends by itself is served elsewhere.
#[derive(Debug)]
pub struct HandedOver {
    /// The socket, non-blocking.
    pub stream: TcpStream,
    /// What was read from it already.
    pub head: Vec<u8>,
}

/// Takes sockets over; gives them back when it has no room, which is answered with 503.
pub type HandOver = Arc<dyn Fn(HandedOver) -> Result<(), HandedOver> + Send + Sync>;

/// Requests that need no waiting: the shard that read one answers it, without a hop to another thread. What this does not
/// want is handed over.
pub trait AnswerAtOnce: Send + Sync {
    /// Bytes of the body, when this answers the request; it is called again when more of the body has come. The
    /// implementor bounds it: so much is kept for a connection until the body is whole.
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize>;

    /// Adds the whole response to `out`; the connection stays open. Runs on the event loop and must not wait.
    fn answer(&self, head: &Head<'_>, body: &[u8], out: &mut Vec<u8>);
}

/// Settings of every shard of a node.
#[derive(Clone)]
pub struct ShardOptions {
    /// Settings of clients.
    pub client: ClientOptions,
    /// Who may connect from a browser.
    pub origins: Origins,
    /// What is spoken, by index.
    pub wires: Vec<Wire>,
    /// Where.
    pub routes: Vec<Route>,
    /// Answers requests that need no waiting.
    pub at_once: Option<Arc<dyn AnswerAtOnce>>,
    /// Takes every other request.
    pub hand_over: HandOver,
    /// Connections closed per second and shard when the node is drained.
    pub drain_per_second: u32,
}

impl std::fmt::Debug for ShardOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardOptions")
            .field("client", &self.client)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
