//! Where clients connect.

pub(crate) const WEBSOCKET: &str = "/connection/websocket";
pub(crate) const HTTP_STREAM: &str = "/connection/http_stream";
pub(crate) const SSE: &str = "/connection/sse";
/// Where clients of the two above send their commands.
pub(crate) const EMULATION: &str = "/emulation";
