//! A blocking WebSocket.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tidegate_framing::websocket::handshake::{self, Answer};
use tidegate_framing::websocket::{Decoder, Event, Limits, Opcode, Role, write_masked_frame};
use tidegate_tls_client::Link;

use super::Peer;

/// For the handshake and for each write.
const PATIENCE: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// A server's message; recovery may bring many publications in one.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// A text message.
    Text(String),
    /// The connection is over.
    Closed(Closed),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Closed {
    /// The close code; 0 = without one.
    pub(crate) code: u16,
    /// What the server said, or what broke.
    pub(crate) reason: String,
}

/// An open WebSocket.
pub(crate) struct WebSocket {
    stream: Link,
    decoder: Decoder,
    received: VecDeque<Message>,
    buffer: Box<[u8]>,
}

impl WebSocket {
    /// Connects and shakes hands.
    pub(crate) fn connect(peer: &Peer, path: &str) -> anyhow::Result<Self> {
        let mut stream = peer.connect(PATIENCE)?;
        let url = &peer.url;
        let nonce = random()?;
        let request = handshake::request(&url.host, &format!("{}{path}", url.prefix), nonce, None);
        stream.write_all(&request).context("cannot send the handshake")?;
        let mut head = Vec::new();
        let size = loop {
            let mut chunk = [0; 1_024];
            let count = stream.read(&mut chunk).context("no answer to the handshake")?;
            head.extend_from_slice(&chunk[..count]);
            match handshake::answer(&head, nonce, None) {
                Answer::Open(size) => break size,
                Answer::Partial if count > 0 && head.len() < HEAD_BYTES_MAX => {}
                Answer::Refused(status) if status != 0 => bail!("the server refused the WebSocket with HTTP {status}"),
                _ => bail!("what answers at {}{path} is no WebSocket server", url.prefix),
            }
        };
        let mut socket = Self {
            stream,
            decoder: Decoder::new(Role::Client),
            received: VecDeque::new(),
            buffer: vec![0; 64 << 10].into_boxed_slice(),
        };
        socket.decode(&mut head[size..])?;
        Ok(socket)
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.send_frame(Opcode::Text, text.as_bytes())
    }

    /// Waits for the next message, at most `patience`: then the connection counts as lost.
    pub(crate) fn receive(&mut self, patience: Duration) -> anyhow::Result<Message> {
        loop {
            if let Some(message) = self.received.pop_front() {
                return Ok(message);
            }
            self.stream.set_read_timeout(patience)?;
            let mut buffer = std::mem::take(&mut self.buffer);
            let result = self.stream.read(&mut buffer);
            let decoded = match &result {
                Ok(count) => self.decode(&mut buffer[..*count]),
                Err(_) => Ok(()),
            };
            self.buffer = buffer;
            decoded?;
            match result {
                Ok(0) => return Ok(lost("the server hung up")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(lost("nothing came for too long"));
                }
                Err(error) => return Ok(lost(&error.to_string())),
            }
        }
    }

    fn decode(&mut self, bytes: &mut [u8]) -> anyhow::Result<()> {
        let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX };
        let mut pongs = Vec::new();
        let received = &mut self.received;
        self.decoder
            .decode(bytes, &limits, &mut |event| {
                match event {
                    Event::Text(text) => received.push_back(Message::Text(text.to_owned())),
                    Event::Close(frame) => {
                        let (code, reason) = frame.map_or((0, ""), |f| (f.code, f.reason));
                        received.push_back(Message::Closed(Closed { code, reason: reason.to_owned() }));
                    }
                    Event::Ping(payload) => pongs.push(payload.to_vec()),
                    Event::Binary(_) | Event::Pong(_) => {}
                }
                ControlFlow::Continue(())
            })
            .context("the server broke the WebSocket protocol")?;
        pongs.into_iter().try_for_each(|payload| self.send_frame(Opcode::Pong, &payload))
    }

    fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> anyhow::Result<()> {
        let [a, b, c, d, ..] = random()?;
        let mut frame = Vec::with_capacity(payload.len() + 14);
        write_masked_frame(&mut frame, opcode, payload, [a, b, c, d]);
        self.stream.write_all(&frame).context("cannot send")
    }
}

fn lost(reason: &str) -> Message {
    Message::Closed(Closed { code: 0, reason: reason.to_owned() })
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("no random bytes")?;
    Ok(bytes)
}
