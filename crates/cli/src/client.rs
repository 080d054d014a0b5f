//! Small blocking clients of a node, for a terminal: one HTTP request, one WebSocket. Plain connections only.

mod http;
mod url;
mod websocket;

pub(crate) use http::post;
pub(crate) use url::Url;
pub(crate) use websocket::{Closed, Message, WebSocket};
