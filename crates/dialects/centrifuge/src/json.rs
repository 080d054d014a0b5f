//! The JSON encoding.
//!
//! Invariants: an encoder appends exactly one JSON object without a raw newline; a decoder never panics, whatever the
//! bytes, and hands out commands in their order.

mod decode;
mod encode;
mod one_way;
mod write;

pub use one_way::JsonOneWay;

use std::ops::ControlFlow;

use tidegate_protocol::{Command, Data, DecodeError, Dialect, Push, Reply};
use tidegate_types::Publication;

/// Centrifuge client protocol v2 in JSON.
#[derive(Clone, Copy, Default, Debug)]
pub struct Json;

impl Dialect for Json {
    fn name(&self) -> &'static str {
        "centrifuge-json"
    }

    fn is_text(&self) -> bool {
        true
    }

    fn decode(&self, message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
        decode::message(message, each)
    }

    fn encode_reply(&self, id: u32, reply: &Reply, out: &mut Vec<u8>) {
        encode::reply(id, reply, out);
    }

    fn encode_push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        encode::push(push, out);
    }

    fn encode_publication(&self, channel: &str, publication: &Publication, data: Data<'_>, out: &mut Vec<u8>) {
        encode::publication_push(channel, publication, data, out);
    }

    fn encode_ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{}");
    }

    fn separator(&self) -> &'static [u8] {
        b"\n"
    }
}
