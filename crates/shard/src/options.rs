//! What a shard is told at its start.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::config::ClientOptions;
use tidegate_framing::http::Head;
use tidegate_framing::websocket::Origins;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tls::{Acceptor, TlsSession};
use crate::wire::Wire;

/// A path that clients open, and what may be spoken there.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path, without a query.
    pub path: String,
    /// What clients may choose from. The first is spoken with a client that says nothing.
    pub choices: Vec<Choice>,
}

/// One of the things that may be spoken on a path, and how a client asks for it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Index into [`ShardOptions::wires`].
    pub wire: u8,
    /// Name of the WebSocket sub-protocol (RFC 6455 section 1.9).
    pub protocol: &'static str,
    /// `key=value` pairs of the query, any of which asks for it too.
    pub query: &'static [&'static str],
    /// A body of this type asks for it too; empty = none does.
    pub content_type: &'static str,
}

impl Route {
    /// What a client chose: by sub-protocol, else by query, else by the type of its body, else the first.
    pub(crate) fn choose(&self, protocol: Option<&str>, head: &Head<'_>) -> Option<&Choice> {
        let find = |is: &dyn Fn(&Choice) -> bool| self.choices.iter().find(|c| is(c));
        let pairs = || head.query().into_iter().flat_map(|q| q.split('&'));
        let essence = head.header("content-type").map(|t| t.split(';').next().unwrap_or_default().trim());
        let sent =
            |c: &Choice| essence.is_some_and(|e| !c.content_type.is_empty() && c.content_type.eq_ignore_ascii_case(e));
        find(&|c| Some(c.protocol) == protocol)
            .or_else(|| find(&|c| pairs().any(|pair| c.query.contains(&pair))))
            .or_else(|| find(&sent))
            .or(self.choices.first())
    }
}

/// A socket that moves between a shard and the HTTP side: a shard gives away whose request is none of its own, because
/// everything that ends by itself is served elsewhere, and gets back who asks for a stream later, or for nothing.
#[derive(Debug)]
pub struct HandedOver {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// What was read from it already.
    pub head: Vec<u8>,
    /// Its TLS, which goes on there.
    pub tls: Option<Box<TlsSession>>,
    /// Where the client is, if not at the other end of the socket: somebody in this process speaks with it. On such a
    /// socket there is no TLS.
    pub client: Option<IpAddr>,
    /// It speaks HTTP/2, as one of those that there may be.
    pub http2: Option<OwnedSemaphorePermit>,
    /// Requests were answered on it, and it may wait for the next as long as any kept connection.
    pub served: bool,
}

impl HandedOver {
    /// A socket that was just accepted.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, head: Vec::new(), tls: None, client: None, http2: None, served: false }
    }
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
    /// With it every connection speaks TLS.
    pub tls: Option<Arc<Acceptor>>,
    /// The HTTP/2 connections that there may be; `None` = it is not spoken.
    pub http2: Option<Arc<Semaphore>>,
    /// Clients closed per second by all shards together when the node is drained.
    pub drain_per_second: u32,
}

impl ShardOptions {
    /// Every wire once more, without chunks: see [`ShardOptions::without_chunks`].
    pub(crate) fn doubled(mut self) -> Self {
        let twins: Vec<Wire> = self.wires.iter().map(Wire::without_chunks).collect();
        self.wires.extend(twins);
        self
    }

    /// The wire that is the same for clients of HTTP/1.0.
    pub(crate) fn without_chunks(&self, wire: u8) -> u8 {
        wire + u8::try_from(self.wires.len() / 2).expect("a handful of wires")
    }

    /// Whether clients of a route send on the socket on which they hear.
    pub(crate) fn is_duplex(&self, route: &Route) -> bool {
        route.choices.first().is_none_or(|choice| self.wires[usize::from(choice.wire)].is_duplex())
    }
}

impl std::fmt::Debug for ShardOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardOptions")
            .field("client", &self.client)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
