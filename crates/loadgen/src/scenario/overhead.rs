//! How many bytes a delivery is on the socket, by transport and encoding.
//!
//! No load: one subscriber and one publication at a time. What arrives between the answer to its subscription and the end
//! of the last publication is counted as TCP carries it, framing included. Pings of the server would be counted too, so a
//! run stays far below their interval.
//!
//! Figures: `NAME_bytes` for each way; `json_message_bytes_above` and `protobuf_message_bytes_above` are what a message has
//! beside payload and channel name, without what frames it. An offset is longer the larger it is, and those of a new
//! channel are small: `protobuf_message_bytes_above_at_2_31` is what the last message would have at that offset, computed
//! from what came.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_framing::websocket::{Decoder, Event, Limits, Opcode, Role, handshake, write_masked_frame};

use crate::clients::{Speech, Transport};
use crate::clock::{Deadline, now_ns};
use crate::mark::{Mark, Marker};
use crate::target::Checked;
use crate::wire::{self, Line, SubscribeOptions};
use crate::{Report, protobuf};

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Overhead {
    /// Publications by each way
    #[arg(long, default_value_t = 50)]
    pub publications: u32,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
}

/// The figures, in their order: one for each way, and what a message has beside its payload and its channel.
pub(crate) const FIGURES: &[&str] = &[
    "websocket_json_bytes",
    "websocket_protobuf_bytes",
    "http_stream_json_bytes",
    "http_stream_protobuf_bytes",
    "sse_json_bytes",
    "uni_websocket_json_bytes",
    "uni_http_stream_json_bytes",
    "event_source_json_bytes",
    "json_message_bytes_above",
    "protobuf_message_bytes_above",
    "protobuf_message_bytes_above_at_2_31",
];

/// How long nothing comes when all has come.
const QUIET: Duration = Duration::from_millis(100);
/// An offset as a partition of Kafka may have it.
const LARGE_OFFSET: u64 = 1 << 31;
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A handshake key that need not be a secret.
const NONCE: [u8; 16] = *b"tidegate loadgen";

/// A client and how it subscribes.
#[derive(Clone, Copy)]
enum Way {
    /// Commands of the protocol.
    Speech(Speech),
    /// One that only listens, on a WebSocket.
    UniWebsocket,
    /// The same on a response that does not end.
    UniHttpStream,
    /// An `EventSource` without a library.
    EventSource,
}

const fn speech(transport: Transport, protobuf: bool) -> Way {
    Way::Speech(Speech { transport, protobuf })
}

/// In the order of [`FIGURES`].
const WAYS: [Way; 8] = [
    speech(Transport::Websocket, false),
    speech(Transport::Websocket, true),
    speech(Transport::HttpStream, false),
    speech(Transport::HttpStream, true),
    speech(Transport::Sse, false),
    Way::UniWebsocket,
    Way::UniHttpStream,
    Way::EventSource,
];

impl Overhead {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(target.tls.is_none(), "bytes are counted without TLS: use ws://");
        ensure!(self.publications > 0, "--publications must be above zero");
        let marker = Marker::new((now_ns() >> 20) as u16, self.size);
        let mut publisher = Publisher::connect(target, marker)?;
        let mut above = [0.0; 2];
        let mut above_at_large = 0.0;
        for ((channel, way), figure) in (0..).zip(WAYS).zip(FIGURES) {
            let bytes = self.measure(target, &mut publisher, way, channel).with_context(|| (*figure).to_owned())?;
            report.add(figure, bytes.len() as f64 / f64::from(self.publications));
            if let Way::Speech(Speech { transport: Transport::Websocket, protobuf }) = way {
                let beside = (publisher.data_bytes() + format!("{}{channel}", target.prefix).len()) as f64;
                let messages = messages(bytes)?;
                above[usize::from(protobuf)] =
                    messages.iter().map(Vec::len).sum::<usize>() as f64 / f64::from(self.publications) - beside;
                if protobuf {
                    let last = messages.last().context("no message came")?;
                    above_at_large = bytes_at(last, LARGE_OFFSET)? as f64 - beside;
                }
            }
        }
        for (figure, bytes) in FIGURES[WAYS.len()..].iter().zip([above[0], above[1], above_at_large]) {
            report.add(figure, bytes);
        }
        Ok(())
    }

    /// What arrives of all publications.
    fn measure(&self, target: &Checked, publisher: &mut Publisher, way: Way, channel: u32) -> Result<Vec<u8>> {
        let mut subscriber = way.subscribe(target, channel)?;
        let (mut heard, mut at) = (Vec::new(), 0);
        for sequence in 1..=self.publications {
            let mark = Mark { channel, sequence, at_ns: 0 };
            publisher.publish(target, mark)?;
            let deadline = Deadline::after(ANSWER_MAX);
            at = loop {
                match publisher.marker.find(&heard, at) {
                    Some(found) if found.intact => {
                        ensure!(found.mark == mark, "{:?} came where {mark:?} was published", found.mark);
                        break found.end;
                    }
                    _ => ensure!(!deadline.is_past(), "a publication does not arrive"),
                }
                read(&mut subscriber, &mut heard)?;
            };
        }
        read_to_quiet(&mut subscriber, &mut heard)?;
        Ok(heard)
    }
}

impl Way {
    /// Opens a connection and subscribes; what that was answered is read.
    fn subscribe(self, target: &Checked, channel: u32) -> Result<TcpStream> {
        let mut stream =
            TcpStream::connect(target.address).with_context(|| format!("connect to {}", target.address))?;
        stream.set_read_timeout(Some(QUIET))?;
        stream.write_all(&self.request(target, channel))?;
        let mut answer = Vec::new();
        let deadline = Deadline::after(ANSWER_MAX);
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            ensure!(!deadline.is_past(), "no answer to the request");
            read(&mut stream, &mut answer)?;
        }
        let status = answer.get(9..12).unwrap_or_default();
        ensure!(matches!(status, b"200" | b"101"), "status {}", String::from_utf8_lossy(status));
        if let Some((opcode, message)) = self.first_message(target, channel) {
            let mut frame = Vec::new();
            write_masked_frame(&mut frame, opcode, &message, [0x5a; 4]);
            stream.write_all(&frame)?;
        }
        read_to_quiet(&mut stream, &mut answer)?;
        Ok(stream)
    }

    fn request(self, target: &Checked, channel: u32) -> Vec<u8> {
        let (host, name) = (target.address, format!("{}{channel}", target.prefix));
        match self {
            Self::Speech(speech) => speech.request(target, &commands(target, channel, speech.protobuf)),
            Self::UniWebsocket => {
                let path = target.path.replace("/websocket", "/uni_websocket");
                handshake::request(&host.to_string(), &path, NONCE, None)
            }
            Self::UniHttpStream => {
                let path = target.path.replace("/websocket", "/uni_http_stream");
                let body = uni_connect(target, &name);
                let length = body.len();
                format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
            }
            Self::EventSource => {
                let token = target.token.as_ref().map(|token| format!("&token={token}")).unwrap_or_default();
                format!("GET /sse?channel={name}{token} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
            }
        }
    }

    /// What is said once a WebSocket is open.
    fn first_message(self, target: &Checked, channel: u32) -> Option<(Opcode, Vec<u8>)> {
        match self {
            Self::Speech(speech) if speech.is_duplex() => {
                let opcode = if speech.protobuf { Opcode::Binary } else { Opcode::Text };
                Some((opcode, commands(target, channel, speech.protobuf)))
            }
            Self::UniWebsocket => {
                Some((Opcode::Text, uni_connect(target, &format!("{}{channel}", target.prefix)).into_bytes()))
            }
            _ => None,
        }
    }
}

/// Connect and subscribe, in one message.
fn commands(target: &Checked, channel: u32, is_protobuf: bool) -> Vec<u8> {
    let (prefix, options) = (&target.prefix, SubscribeOptions { recoverable: true, ..SubscribeOptions::default() });
    if is_protobuf {
        [protobuf::connect(target), protobuf::subscribe(prefix, [channel].into_iter(), &options)].concat()
    } else {
        [wire::connect(target), wire::subscribe(prefix, [channel].into_iter(), &options)].join("\n").into_bytes()
    }
}

/// The connect of a client that only listens.
fn uni_connect(target: &Checked, channel: &str) -> String {
    let token = target.token.as_ref().map(|token| format!("\"token\":\"{token}\",")).unwrap_or_default();
    format!("{{{token}\"subs\":{{\"{channel}\":{{\"recoverable\":true}}}}}}")
}

/// Publishes one after the other.
struct Publisher {
    stream: TcpStream,
    marker: Marker,
}

impl Publisher {
    fn connect(target: &Checked, marker: Marker) -> Result<Self> {
        let stream = TcpStream::connect(target.api_address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream, marker })
    }

    /// Bytes of what is published.
    fn data_bytes(&self) -> usize {
        let mut data = Vec::new();
        self.marker.write(&mut data, Mark { channel: 0, sequence: 0, at_ns: 0 });
        data.len()
    }

    fn publish(&mut self, target: &Checked, mark: Mark) -> Result<()> {
        let mut request = Vec::new();
        wire::api_publish(&mut request, target, &self.marker, mark, false);
        self.stream.write_all(&request)?;
        // An answer is short and comes in one piece, mostly; its JSON ends it.
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            ensure!(read(&mut self.stream, &mut answer)?, "no answer to a publish");
        }
        let text = String::from_utf8_lossy(&answer);
        if !text.contains("\"result\"") {
            bail!("publish: {text}");
        }
        Ok(())
    }
}

/// Reads once; nothing within the stream's timeout is no error.
fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<bool> {
    let mut room = [0; 16 << 10];
    match stream.read(&mut room) {
        Ok(0) => bail!("the server ended the connection"),
        Ok(count) => into.extend_from_slice(&room[..count]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

fn read_to_quiet(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<()> {
    while read(stream, into)? {}
    Ok(())
}

/// Bytes of a message with one publication in Protobuf, were it at this offset.
fn bytes_at(message: &[u8], offset: u64) -> Result<usize> {
    let Some(Line::Push(push)) = protobuf::lines(message).last() else { bail!("the last message is no publication") };
    Ok(message.len() + protobuf::growth_at(push, offset).context("the last message has no offset")?)
}

/// The messages in frames of a WebSocket.
fn messages(mut frames: Vec<u8>) -> Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Text(text) => messages.push(text.as_bytes().to_vec()),
            Event::Binary(message) => messages.push(message.to_vec()),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let limits = Limits { message_bytes_max: 16 << 20 };
    Decoder::new(Role::Client).decode(&mut frames, &limits, &mut on_event).context("bad frame")?;
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_figure() {
        assert_eq!(FIGURES.len(), WAYS.len() + 3);
        for (way, figure) in WAYS.iter().zip(FIGURES) {
            let protobuf = matches!(way, Way::Speech(speech) if speech.protobuf);
            assert_eq!(figure.contains("protobuf"), protobuf, "{figure}");
        }
    }
}
