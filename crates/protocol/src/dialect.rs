//! The codec of one wire protocol.

use std::ops::ControlFlow;

use tidegate_types::Publication;

use crate::{Command, Push, Reply};

/// A message that is no command of the dialect: the connection is closed with 3501.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError(
    /// What is wrong, for the server's log and the author of a client.
    pub String,
);

/// What stands in the place of a publication's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data<'a> {
    /// The payload, as the dialect gives payloads.
    Plain,
    /// The payload, for a subscriber who takes deltas: the bytes that the next one is based on.
    Whole,
    /// The difference to the publication before.
    Delta(&'a [u8]),
}

/// Encodes and decodes messages. Pure: no clock, no I/O, no state.
///
/// Encoders append exactly one message to `out` and never fail. They are called once per publication and shard, and
/// never per subscriber.
pub trait Dialect: Send + Sync + 'static {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Whether its messages are text.
    fn is_text(&self) -> bool;

    /// Whether its clients say nothing after their connect: not even pongs. Everything that they hear is a push, and a
    /// connect that is refused ends the connection.
    fn is_one_way(&self) -> bool {
        false
    }

    /// Decodes all commands of one message, in order. Stops early when `each` breaks.
    ///
    /// # Errors
    /// On the first thing that is no command. Commands before it were handed out.
    fn decode(&self, message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError>;

    /// The answer to command `id`.
    fn encode_reply(&self, id: u32, reply: &Reply, out: &mut Vec<u8>);

    /// A push.
    fn encode_push(&self, push: &Push<'_>, out: &mut Vec<u8>);

    /// A publication in `channel`, as a live subscriber gets it.
    fn encode_publication(&self, channel: &str, publication: &Publication, data: Data<'_>, out: &mut Vec<u8>);

    /// What is sent as a ping.
    fn encode_ping(&self, out: &mut Vec<u8>);

    /// What stands between two messages that share a frame; empty where a message says itself how long it is.
    fn separator(&self) -> &'static [u8];
}
