//! How bytes lie on a socket: pure codecs, no sockets, no clock.
//!
//! [`http`] reads the head of a request, which every connection starts with; each framing that a connection can go on
//! with is a module of its own. A codec takes bytes and gives back events, or takes payloads and gives back bytes: who
//! owns the socket and when something is sent is the caller's affair.

pub mod chunked;
pub mod http;
pub mod websocket;
