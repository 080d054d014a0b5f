//! The Rust library `tungstenite`, frame by frame.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client};
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameSocket};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::scenario::{Hex, Seen, Session, Step};

/// How long nothing may come while something is expected.
const PATIENCE: Duration = Duration::from_secs(20);

struct Peer {
    socket: WebSocket<TcpStream>,
    seen: Seen,
    pings: usize,
    ended: bool,
}

/// Plays one session on the server at this port of loopback.
pub(crate) fn play(port: u16, session: &Session) -> Result<Seen> {
    let mut peer = Peer::connect(port, session.protocol).context(session.name.clone())?;
    for step in &session.steps {
        if !peer.ended {
            peer.step(step).context(session.name.clone())?;
        }
    }
    while !peer.ended {
        peer.read().context(session.name.clone())?;
    }
    Ok(peer.seen)
}

impl Peer {
    fn connect(port: u16, protocol: Option<&'static str>) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = format!("ws://127.0.0.1:{port}/connection/websocket").into_client_request()?;
        if let Some(protocol) = protocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse()?);
        }
        let (socket, response) = client(request, stream).map_err(|error| anyhow!("handshake: {error}"))?;
        let header = |name| header(&response, name);
        let (extensions, protocol) = (header("Sec-WebSocket-Extensions"), header("Sec-WebSocket-Protocol"));
        Ok(Self { socket, seen: Seen { extensions, protocol, ..Seen::default() }, pings: 0, ended: false })
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Send { parts, text, ping } => self.fragments(parts, *text, ping.as_ref()),
            Step::Ping { payload } => self.ping(payload),
            Step::Unmasked { payload } => {
                let frame = Frame::message(payload.0.clone(), OpCode::Data(Data::Text), true);
                Ok(FrameSocket::new(self.socket.get_mut()).send(frame)?)
            }
            Step::Wait { messages } => {
                while !self.ended && (self.seen.received.len() < *messages || self.seen.pongs.len() < self.pings) {
                    self.read()?;
                }
                Ok(())
            }
            Step::Close { code, reason } => {
                let frame = code.map(|code| CloseFrame { code: code.into(), reason: reason.as_str().into() });
                Ok(self.socket.close(frame)?)
            }
        }
    }

    fn fragments(&mut self, parts: &[Hex], text: bool, ping: Option<&Hex>) -> Result<()> {
        for (at, part) in parts.iter().enumerate() {
            let data = match (at, text) {
                (0, true) => Data::Text,
                (0, false) => Data::Binary,
                _ => Data::Continue,
            };
            let last = at + 1 == parts.len();
            self.send(Message::Frame(Frame::message(part.0.clone(), OpCode::Data(data), last)))?;
            if let Some(ping) = ping.filter(|_| !last) {
                self.ping(ping)?;
            }
        }
        Ok(())
    }

    fn ping(&mut self, payload: &Hex) -> Result<()> {
        self.pings += 1;
        self.send(Message::Ping(payload.0.clone().into()))
    }

    /// Whoever is closed while it sends learns of it when it reads on.
    fn send(&mut self, message: Message) -> Result<()> {
        match self.socket.send(message) {
            Ok(()) | Err(Error::ConnectionClosed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> Result<()> {
        match self.socket.read() {
            Ok(Message::Text(text)) => self.seen.received.push((true, Hex(text.as_bytes().to_vec()))),
            Ok(Message::Binary(bytes)) => self.seen.received.push((false, Hex(bytes.to_vec()))),
            Ok(Message::Pong(payload)) => self.seen.pongs.push(Hex(payload.to_vec())),
            Ok(Message::Close(frame)) => {
                let frame = frame.context("a close without a code")?;
                (self.seen.code, self.seen.reason) = (frame.code.into(), frame.reason.to_string());
            }
            Err(Error::ConnectionClosed) => self.ended = true,
            Ok(other) => bail!("unexpected: {other:?}"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
