//! Centrifuge client protocol v2: a pure codec over neutral commands.
//!
//! [`Json`] speaks the JSON encoding: messages separated by `\n`, zero values left out, `bytes` fields embedded as raw
//! JSON. [`Protobuf`] speaks the other one: messages behind their lengths, payloads as they are. No sockets, no clock, no state: how messages lie on a socket is a framing's business, what they mean a
//! session's.

mod emulation;
mod json;
mod protobuf;
mod subscribe;

pub use emulation::Emulation;
pub use json::Json;
pub use protobuf::Protobuf;
