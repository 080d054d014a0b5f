//! A dialect in a framing: what one kind of connection sends.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_framing::websocket::{Opcode, write_close, write_frame};
use tidegate_protocol::{Command, DecodeError, Dialect, Push, Reply};
use tidegate_types::Publication;
use tidegate_types::codes::Disconnect;

/// How messages lie on the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// RFC 6455.
    WebSocket,
}

/// See the module docs. Frames of publications are made once per shard and shared by everybody on the wire.
#[derive(Clone)]
pub struct Wire {
    dialect: Arc<dyn Dialect>,
    framing: Framing,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}", self.dialect.name(), self.framing)
    }
}

impl Wire {
    /// This dialect in this framing.
    pub fn new(dialect: Arc<dyn Dialect>, framing: Framing) -> Self {
        Self { dialect, framing }
    }

    pub(crate) fn decode(
        &self,
        message: &[u8],
        each: &mut dyn FnMut(Command) -> std::ops::ControlFlow<()>,
    ) -> Result<(), DecodeError> {
        self.dialect.decode(message, each)
    }

    /// Whether messages are text.
    pub(crate) fn is_text(&self) -> bool {
        self.dialect.is_text()
    }

    /// Adds a reply to `batch`, a run of messages that will share a frame.
    pub(crate) fn reply(&self, id: u32, reply: &Reply, batch: &mut Vec<u8>) {
        self.separate(batch);
        self.dialect.encode_reply(id, reply, batch);
    }

    /// Adds a push to `batch`.
    pub(crate) fn push(&self, push: &Push<'_>, batch: &mut Vec<u8>) {
        self.separate(batch);
        self.dialect.encode_push(push, batch);
    }

    fn separate(&self, batch: &mut Vec<u8>) {
        if !batch.is_empty()
            && let Some(separator) = self.dialect.separator()
        {
            batch.push(separator);
        }
    }

    /// The frame of one or more messages.
    pub(crate) fn frame(&self, messages: &[u8], out: &mut Vec<u8>) {
        match self.framing {
            Framing::WebSocket => write_frame(out, self.opcode(), messages),
        }
    }

    /// The frame of a publication; `scratch` is cleared and used.
    pub(crate) fn publication(
        &self,
        channel: &str,
        publication: &Publication,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        scratch.clear();
        self.dialect.encode_publication(channel, publication, scratch);
        self.frame(scratch, out);
    }

    /// The frame of a ping.
    pub(crate) fn ping(&self) -> Bytes {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        self.dialect.encode_ping(&mut message);
        self.frame(&message, &mut out);
        out.into()
    }

    /// What ends the connection with a reason.
    pub(crate) fn close(&self, why: Disconnect, out: &mut Vec<u8>) {
        match self.framing {
            Framing::WebSocket => write_close(out, why.code, why.reason),
        }
    }

    fn opcode(&self) -> Opcode {
        if self.dialect.is_text() { Opcode::Text } else { Opcode::Binary }
    }
}
