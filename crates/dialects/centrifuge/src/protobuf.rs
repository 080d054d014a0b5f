//! The Protobuf encoding: each message behind its length as a varint, one behind the other.
//!
//! Invariants: an encoder appends exactly one whole message with its length; a decoder never panics, whatever the bytes,
//! and hands out commands in their order. A message of length 0 is a ping or a pong.

mod decode;
mod encode;
mod push;
mod wire;

use std::ops::ControlFlow;

use tidegate_protocol::{Command, Data, DecodeError, Dialect, Push, Reply};
use tidegate_types::Publication;

/// Centrifuge client protocol v2 in Protobuf (proto3, package `centrifugal.centrifuge.protocol`).
#[derive(Clone, Copy, Default, Debug)]
pub struct Protobuf;

impl Dialect for Protobuf {
    fn name(&self) -> &'static str {
        "centrifuge-protobuf"
    }

    fn is_text(&self) -> bool {
        false
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
        push::publication(channel, publication, data, out);
    }

    fn encode_ping(&self, out: &mut Vec<u8>) {
        out.push(0);
    }

    fn separator(&self) -> &'static [u8] {
        b""
    }
}
