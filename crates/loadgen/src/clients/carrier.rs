//! How messages lie on the socket of a subscriber: WebSocket frames, or chunks of an HTTP response that does not end.

use std::ops::ControlFlow;

use tidegate_framing::websocket::handshake::{self, Answer};
use tidegate_framing::websocket::{Decoder, Limits, Role};

use super::{Session, Shared};
use crate::target::Checked;

/// The longest message that a server may send: a recovery of many publications comes in one.
const LIMITS: Limits = Limits { message_bytes_max: 16 << 20 };

/// A handshake key that need not be a secret.
const NONCE: [u8; 16] = *b"tidegate loadgen";

/// What carries a subscriber's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// A WebSocket
    #[default]
    Websocket,
    /// HTTP streaming
    HttpStream,
    /// Server-sent events
    Sse,
}

/// How subscribers speak.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speech {
    pub(crate) transport: Transport,
    pub(crate) protobuf: bool,
}

impl Speech {
    /// Whether commands go out on the socket on which messages come in. Where not, all that is said is in the request.
    pub(crate) fn is_duplex(self) -> bool {
        self.transport == Transport::Websocket
    }

    /// The sub-protocol that is offered; JSON goes without.
    fn protocol(self) -> Option<&'static str> {
        self.protobuf.then_some("centrifuge-protobuf")
    }

    /// The request that opens the conversation, with `commands` where they have to be in it.
    pub(crate) fn request(self, target: &Checked, commands: &[u8]) -> Vec<u8> {
        let host = target.address.to_string();
        if self.is_duplex() {
            return handshake::request(&host, &target.path, NONCE, self.protocol());
        }
        let path = match self.transport {
            Transport::Sse => target.path.replace("/websocket", "/sse"),
            _ => target.path.replace("/websocket", "/http_stream"),
        };
        let content_type = if self.protobuf { "application/octet-stream" } else { "application/json" };
        let length = commands.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), commands].concat()
    }

    /// What a socket's bytes are read by.
    pub(crate) fn carrier(self) -> Carrier {
        match self.transport {
            Transport::Websocket => Carrier::WebSocket(Decoder::new(Role::Client)),
            Transport::HttpStream => Carrier::Chunks { events: false, rest: Vec::new() },
            Transport::Sse => Carrier::Chunks { events: true, rest: Vec::new() },
        }
    }
}

/// Reads messages off a socket.
#[derive(Debug)]
pub(crate) enum Carrier {
    WebSocket(Decoder),
    Chunks {
        /// In events.
        events: bool,
        /// The beginning of a chunk.
        rest: Vec<u8>,
    },
}

impl Carrier {
    /// What the start of the server's answer says: open behind so many bytes.
    pub(crate) fn answer(&self, answer: &[u8], speech: Speech) -> Answer {
        match self {
            Self::WebSocket(_) => handshake::answer(answer, NONCE, speech.protocol()),
            Self::Chunks { .. } => match memchr::memmem::find(answer, b"\r\n\r\n") {
                None => Answer::Partial,
                Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Answer::Open(end + 4),
                Some(_) => Answer::Refused(status(answer)),
            },
        }
    }

    /// Gives every message to the session.
    pub(crate) fn take(&mut self, bytes: &mut [u8], session: &mut Session, shared: &mut Shared) {
        match self {
            Self::WebSocket(decoder) => {
                let mut on_event = |event: tidegate_framing::websocket::Event<'_>| {
                    session.on_event(event, shared);
                    ControlFlow::Continue(())
                };
                if let Err(error) = decoder.decode(bytes, &LIMITS, &mut on_event) {
                    session.fail(format!("bad frame: {error}"));
                }
            }
            Self::Chunks { events, rest } => {
                // Most reads bring whole chunks: then nothing is copied.
                let events = *events;
                let used = if rest.is_empty() {
                    let used = chunks(bytes, events, session, shared);
                    rest.extend_from_slice(&bytes[used..]);
                    return;
                } else {
                    rest.extend_from_slice(bytes);
                    chunks(rest, events, session, shared)
                };
                rest.drain(..used);
                if rest.is_empty() {
                    *rest = Vec::new();
                }
            }
        }
    }
}

fn status(answer: &[u8]) -> u16 {
    let digits = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Takes all whole chunks; returns their bytes.
fn chunks(bytes: &[u8], events: bool, session: &mut Session, shared: &mut Shared) -> usize {
    let mut at = 0;
    while let Some(head) = memchr::memmem::find(&bytes[at..], b"\r\n") {
        let length =
            std::str::from_utf8(&bytes[at..at + head]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(length) = length else {
            session.fail("bad chunk");
            return bytes.len();
        };
        let start = at + head + 2;
        let Some(chunk) = bytes.get(start..start + length) else { break };
        if bytes.len() < start + length + 2 {
            break;
        }
        if length == 0 {
            session.fail("the server ended the response");
            return bytes.len();
        }
        match events {
            false => session.on_message(chunk, shared),
            true => {
                let lines = chunk.split(|b| *b == b'\n');
                lines.filter_map(|l| l.strip_prefix(b"data: ")).for_each(|l| session.on_message(l, shared));
            }
        }
        at = start + length + 2;
    }
    at
}
