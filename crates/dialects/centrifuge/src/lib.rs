//! Centrifuge client protocol v2: a pure codec over neutral commands.
//!
//! [`Json`] speaks the JSON encoding: messages separated by `\n`, zero values left out, `bytes` fields embedded as raw
//! JSON; [`JsonOneWay`] is what clients hear that only listen. [`Protobuf`] speaks the other encoding: messages behind
//! their lengths, payloads as they are. No sockets, no clock, no state: how messages lie on a socket is a framing's
//! business, what they mean a session's.

mod command;
mod emulation;
mod json;
mod protobuf;
mod request;

pub use emulation::Emulation;
pub use json::{Json, JsonOneWay};
pub use protobuf::Protobuf;
