//! Small blocking clients of a node, for a terminal: one HTTP request, one WebSocket.

mod http;
mod url;
mod websocket;

pub(crate) use http::post;
pub(crate) use url::Peer;
pub(crate) use websocket::{Closed, Message, WebSocket};
