//! Centrifuge client protocol v2: a pure codec over neutral commands.
//!
//! [`Json`] speaks the JSON encoding: messages separated by `\n`, zero values left out, `bytes` fields embedded as raw
//! JSON. No sockets, no clock, no state: how messages lie on a socket is a framing's business, what they mean a
//! session's.

mod json;

pub use json::Json;
