//! Where clients connect.

pub(crate) const WEBSOCKET: &str = "/connection/websocket";
pub(crate) const HTTP_STREAM: &str = "/connection/http_stream";
pub(crate) const SSE: &str = "/connection/sse";
/// Clients that only listen.
pub(crate) const UNI_WEBSOCKET: &str = "/connection/uni_websocket";
pub(crate) const UNI_HTTP_STREAM: &str = "/connection/uni_http_stream";
pub(crate) const UNI_SSE: &str = "/connection/uni_sse";
/// The same as the one before, under a name to type.
pub(crate) const EVENTS: &str = "/sse";
/// Where clients of [`HTTP_STREAM`] and [`SSE`] send their commands.
pub(crate) const EMULATION: &str = "/emulation";
/// Opens a connection before it is needed, or tells a balancer that clients are heard here.
pub(crate) const INIT: &str = "/connection/init";

/// All of them but [`EMULATION`] and [`INIT`]: a shard has the connection.
pub(crate) const CLIENTS: [&str; 7] = [WEBSOCKET, HTTP_STREAM, SSE, EVENTS, UNI_WEBSOCKET, UNI_HTTP_STREAM, UNI_SSE];
