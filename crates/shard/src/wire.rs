//! A dialect in a framing: what one kind of connection sends.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tidegate_framing::chunked::Transfer;
use tidegate_framing::websocket::{Opcode, write_close, write_frame};
use tidegate_protocol::{Command, Data, DecodeError, Dialect, Push, Reply};
use tidegate_types::Publication;

/// How messages lie on the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// RFC 6455.
    WebSocket,
    /// An HTTP response that does not end: messages one behind the other, each text one with a newline.
    Stream,
    /// The same as server-sent events; for text only.
    Events,
    /// The same, and the ids of events are positions in all channels of the reader: a browser gives the last one back
    /// when it connects again. For one-way dialects.
    ResumableEvents,
}

/// See the module docs. Frames of publications are made once per shard and shared by everybody on the wire.
#[derive(Clone)]
pub struct Wire {
    dialect: Arc<dyn Dialect>,
    framing: Framing,
    transfer: Transfer,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}", self.dialect.name(), self.framing)
    }
}

impl Wire {
    /// This dialect in this framing.
    pub fn new(dialect: Arc<dyn Dialect>, framing: Framing) -> Self {
        Self { dialect, framing, transfer: Transfer::Chunked }
    }

    /// The same for clients and proxies of HTTP/1.0, which know no chunks.
    pub(crate) fn without_chunks(&self) -> Self {
        Self { transfer: Transfer::UntilClose, ..self.clone() }
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

    /// The frame of a push.
    pub(crate) fn push_frame(&self, push: &Push<'_>) -> Bytes {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        self.dialect.encode_push(push, &mut message);
        self.frame(&message, &mut out);
        out.into()
    }

    fn separate(&self, batch: &mut Vec<u8>) {
        if !batch.is_empty() {
            batch.extend_from_slice(self.dialect.separator());
        }
    }

    /// The frame of one or more messages.
    pub(crate) fn frame(&self, messages: &[u8], out: &mut Vec<u8>) {
        match self.framing {
            Framing::WebSocket => write_frame(out, self.opcode(), messages),
            Framing::Stream => self.transfer.write(out, &[messages, if self.is_text() { b"\n" } else { b"" }]),
            Framing::Events | Framing::ResumableEvents => self.transfer.write_events(out, messages),
        }
    }

    /// The frame of messages after which the reader stands where `id` says.
    pub(crate) fn frame_with_id(&self, id: &str, messages: &[u8], out: &mut Vec<u8>) {
        self.transfer.write_event_with_id(out, id, messages);
    }

    /// Whether what a reader gets says where it then stands.
    pub(crate) fn has_ids(&self) -> bool {
        self.framing == Framing::ResumableEvents
    }

    /// Whether its clients say nothing after their connect.
    pub(crate) fn is_one_way(&self) -> bool {
        self.dialect.is_one_way()
    }

    /// The frame of a publication, or where frames have ids its message; `scratch` is cleared and used.
    pub(crate) fn publication(
        &self,
        channel: &str,
        publication: &Publication,
        data: Data<'_>,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        if self.has_ids() {
            return self.dialect.encode_publication(channel, publication, data, out);
        }
        scratch.clear();
        self.dialect.encode_publication(channel, publication, data, scratch);
        self.frame(scratch, out);
    }

    /// The frame of a ping.
    pub(crate) fn ping(&self) -> Bytes {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        self.dialect.encode_ping(&mut message);
        match self.framing {
            // Handlers of messages are spared.
            Framing::ResumableEvents => self.transfer.write(&mut out, &[b"event: ping\ndata: ", &message, b"\n\n"]),
            _ => self.frame(&message, &mut out),
        }
        out.into()
    }

    /// What ends the connection with a reason.
    pub(crate) fn close(&self, code: u16, reason: &str, out: &mut Vec<u8>) {
        if !self.is_duplex() || self.is_one_way() {
            let mut message = Vec::new();
            self.dialect.encode_push(&Push::Disconnected { code, reason }, &mut message);
            self.frame(&message, out);
        }
        match self.framing {
            Framing::WebSocket => write_close(out, code, reason),
            Framing::Stream | Framing::Events | Framing::ResumableEvents => out.extend_from_slice(self.transfer.end()),
        }
    }

    /// The head of the response that carries it; `None` where messages go both ways on one socket.
    ///
    /// `retry_ms` is when readers with ids come back after the end, unless they know better.
    pub(crate) fn stream_head(&self, origin: Option<&str>, retry_ms: u64) -> Option<Vec<u8>> {
        let content_type = match (self.framing, self.is_text()) {
            (Framing::WebSocket, _) => return None,
            (Framing::Stream, true) => "application/json",
            (Framing::Stream, false) => "application/octet-stream",
            (Framing::Events | Framing::ResumableEvents, _) => "text/event-stream; charset=utf-8",
        };
        let mut head = self.transfer.head(SystemTime::now(), content_type, origin);
        if self.framing == Framing::Events {
            // Some readers open only with the first byte. A comment and not the empty line with a carriage return that
            // others send: the npm package eventsource loses an event that comes in one piece with that.
            self.transfer.write(&mut head, &[b":\n\n"]);
        }
        if self.framing == Framing::ResumableEvents {
            self.transfer.write(&mut head, &[b"retry: ", retry_ms.to_string().as_bytes(), b"\n\n"]);
        }
        Some(head)
    }

    /// Whether messages go both ways on one socket. Where not, commands come as requests of their own.
    pub(crate) fn is_duplex(&self) -> bool {
        self.framing == Framing::WebSocket
    }

    /// Whether the opening commands may stand in the query of a GET.
    pub(crate) fn opens_by_query(&self) -> bool {
        matches!(self.framing, Framing::Events | Framing::ResumableEvents)
    }

    fn opcode(&self) -> Opcode {
        if self.dialect.is_text() { Opcode::Text } else { Opcode::Binary }
    }
}
