//! What a shard is told at its start.

use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
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

/// A response in the making.
pub type Response = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// Requests that shards answer themselves: no other thread is woken for them. What this does not want is handed over.
pub trait RequestHandler: Send + Sync {
    /// Bytes of the body, when this answers the request; it is called again when more of the body has come. The
    /// implementor bounds it: so much is kept for a connection until the body is whole.
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize>;

    /// Begins to answer. The future yields the whole response, after which the connection stays open. It is polled on the
    /// event loop and must not block; a connection that ends drops it.
    fn handle(&self, head: &Head<'_>, body: Bytes) -> Response;
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
    /// Answers requests on the shard that read them.
    pub handler: Option<Arc<dyn RequestHandler>>,
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
