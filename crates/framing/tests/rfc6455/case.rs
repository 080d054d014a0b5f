//! One case, and how it is fed.
//!
//! A stream of frames is decoded whole, byte by byte, in pieces of several sizes, cut once at many places (at every one
//! where it is short), and with a receiver that wants one event at a time: the same must come out of all. A head of HTTP
//! is cut at every place: what is not whole is never an answer, and a fault stays the same fault.

use std::ops::ControlFlow;
use std::time::SystemTime;

use tidegate_framing::http::Head;
use tidegate_framing::websocket::handshake::{self, Answer, HandshakeError};
use tidegate_framing::websocket::{Decoder, Event, Limits, Origins, ProtocolError, Role};

use crate::bytes::Sender;

/// The message limit of all cases.
pub(crate) const LIMIT: usize = 65_536;

/// Streams up to here are cut at every place.
const CUT_EVERYWHERE_MAX: usize = 300;

/// Streams up to here come in pieces of every size.
const EVERY_SIZE_MAX: usize = 10_000;

/// The nonce of a client whose key is that of section 1.3.
pub(crate) const NONCE: [u8; 16] = *b"the sample nonce";

/// An event that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.as_bytes().to_vec()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(frame) => Self::Close(frame.map(|f| (f.code, f.reason.to_owned()))),
        }
    }
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// More may come.
    Open,
    /// The peer closed.
    Closed,
    /// The peer broke this rule, and is told this code.
    Fails(ProtocolError, u16),
}

/// A case: what is fed, and what is expected.
pub(crate) struct Case {
    pub(crate) name: String,
    subject: Subject,
}

enum Subject {
    Frames {
        sender: Sender,
        bytes: Vec<u8>,
        events: Vec<Got>,
        end: End,
    },
    /// A request to a server that speaks these sub-protocols.
    Request {
        bytes: Vec<u8>,
        speaks: &'static [&'static str],
        status: u16,
        has: Vec<String>,
        lacks: Vec<&'static str>,
    },
    /// An answer to a client that offered this sub-protocol.
    Answer {
        bytes: Vec<u8>,
        offered: Option<&'static str>,
        answer: Answer,
    },
    /// What an encoder wrote, and what it should be.
    Written {
        bytes: Vec<u8>,
        expected: Vec<u8>,
    },
}

impl Case {
    /// Frames that leave the connection open.
    pub(crate) fn frames(name: impl Into<String>, sender: Sender, bytes: Vec<u8>, events: Vec<Got>) -> Self {
        Self { name: name.into(), subject: Subject::Frames { sender, bytes, events, end: End::Open } }
    }

    /// Frames after whose events the peer has closed.
    pub(crate) fn closes(name: impl Into<String>, sender: Sender, bytes: Vec<u8>, events: Vec<Got>) -> Self {
        Self { name: name.into(), subject: Subject::Frames { sender, bytes, events, end: End::Closed } }
    }

    /// Frames that end the connection by a fault of the peer's, without an event before it.
    pub(crate) fn fails(
        name: impl Into<String>,
        sender: Sender,
        bytes: Vec<u8>,
        why: ProtocolError,
        code: u16,
    ) -> Self {
        Self::frames(name, sender, bytes, Vec::new()).then_fails(why, code)
    }

    /// The same after the events that were expected so far.
    pub(crate) fn then_fails(mut self, why: ProtocolError, code: u16) -> Self {
        if let Subject::Frames { end, .. } = &mut self.subject {
            *end = End::Fails(why, code);
        }
        self
    }

    /// A request that is answered with this status.
    pub(crate) fn request(name: impl Into<String>, bytes: impl Into<Vec<u8>>, status: u16) -> Self {
        let (bytes, speaks) = (bytes.into(), &["centrifuge-json", "centrifuge-protobuf"]);
        let subject = Subject::Request { bytes, speaks, status, has: Vec::new(), lacks: Vec::new() };
        Self { name: name.into(), subject }
    }

    /// The answer to the request has this line.
    pub(crate) fn with_line(mut self, line: &str) -> Self {
        if let Subject::Request { has, .. } = &mut self.subject {
            has.push(line.to_owned());
        }
        self
    }

    /// The answer to the request has no header of this name.
    pub(crate) fn without(mut self, name: &'static str) -> Self {
        if let Subject::Request { lacks, .. } = &mut self.subject {
            lacks.push(name);
        }
        self
    }

    /// An answer that a client reads so.
    pub(crate) fn answer(name: impl Into<String>, bytes: impl Into<Vec<u8>>, answer: Answer) -> Self {
        Self { name: name.into(), subject: Subject::Answer { bytes: bytes.into(), offered: None, answer } }
    }

    /// The client offered this sub-protocol.
    pub(crate) fn offered(mut self, protocol: &'static str) -> Self {
        if let Subject::Answer { offered, .. } = &mut self.subject {
            *offered = Some(protocol);
        }
        self
    }

    /// Bytes that an encoder wrote.
    pub(crate) fn written(name: impl Into<String>, bytes: Vec<u8>, expected: Vec<u8>) -> Self {
        Self { name: name.into(), subject: Subject::Written { bytes, expected } }
    }

    /// Fails with what differs.
    pub(crate) fn run(&self) -> Result<(), String> {
        match &self.subject {
            Subject::Frames { sender, bytes, events, end } => {
                cuts(bytes.len()).iter().try_for_each(|cuts| decode(*sender, bytes, cuts, events, *end))
            }
            Subject::Request { bytes, speaks, status, has, lacks } => {
                let response = respond_at_every_place(bytes, speaks)?;
                check_response(&response, *status, has, lacks)
            }
            Subject::Answer { bytes, offered, answer } => read_at_every_place(bytes, *offered, *answer),
            Subject::Written { bytes, expected } => same("bytes", bytes, expected),
        }
    }
}

/// The sizes of the pieces of each feeding.
fn cuts(len: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![len]];
    // A long stream takes long in pieces of two, and shows nothing more.
    let sizes: &[usize] = if len <= EVERY_SIZE_MAX { &[1, 2, 3, 5, 7, 64, 1_000] } else { &[1, 7, 1_000] };
    all.extend(sizes.iter().map(|size| vec![*size; len.div_ceil(*size)]));
    let near = |place: usize| place.saturating_sub(2)..place + 3;
    let places: Vec<usize> = if len <= CUT_EVERYWHERE_MAX {
        (1..len).collect()
    } else {
        [3, 8, 13, len / 3, len / 2, len - 3].into_iter().flat_map(near).filter(|at| (1..len).contains(at)).collect()
    };
    all.extend(places.into_iter().map(|at| vec![at, len - at]));
    all
}

/// One feeding of a stream, to a receiver that takes all and to one that takes an event at a time.
fn decode(sender: Sender, bytes: &[u8], cuts: &[usize], events: &[Got], end: End) -> Result<(), String> {
    for flow in [ControlFlow::Continue(()), ControlFlow::Break(())] {
        let (got, seen) = feed(sender, bytes, cuts, flow);
        let first = cuts.first().copied().unwrap_or_default();
        let how = format!("first piece of {first} bytes, {flow:?}");
        same(&how, &seen, &end)?;
        same(&how, &got[..], events)?;
    }
    Ok(())
}

fn feed(sender: Sender, bytes: &[u8], cuts: &[usize], flow: ControlFlow<()>) -> (Vec<Got>, End) {
    let role = if sender == Sender::Client { Role::Server } else { Role::Client };
    let limits = Limits { message_bytes_max: LIMIT };
    let (mut decoder, mut got, mut rest) = (Decoder::new(role), Vec::new(), bytes);
    for size in cuts {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        let mut piece = piece.to_vec();
        let mut left = &mut piece[..];
        while !left.is_empty() {
            let taken = decoder.decode(left, &limits, &mut |event| {
                got.push(event.into());
                flow
            });
            match taken {
                Ok(taken) => left = &mut left[taken..],
                Err(why) => return (got, End::Fails(why, why.close_code())),
            }
        }
    }
    let end = if decoder.has_ended() { End::Closed } else { End::Open };
    (got, end)
}

/// What a server answers to the start of a request; nothing while it is not whole.
fn respond(bytes: &[u8], speaks: &[&str]) -> Option<Vec<u8>> {
    let now = SystemTime::UNIX_EPOCH;
    let head = match Head::parse(bytes) {
        Ok(head) => head?,
        Err(error) => return Some(tidegate_framing::http::text_response(now, error.status(), "", &error.to_string())),
    };
    Some(match handshake::check(&head) {
        Err(error) => error.response(now),
        Ok(upgrade) if !Origins::default().allows(upgrade.origin(), upgrade.host()) => {
            HandshakeError::Origin.response(now)
        }
        Ok(upgrade) => upgrade.response(upgrade.choose(speaks)),
    })
}

fn respond_at_every_place(bytes: &[u8], speaks: &[&str]) -> Result<String, String> {
    let response = respond(bytes, speaks).ok_or("no answer to the whole request")?;
    for at in 0..bytes.len() {
        if let Some(early) = respond(&bytes[..at], speaks) {
            // A fault may show before the head is whole, or what follows the head may be missing.
            same(&format!("after {at} bytes"), &early, &response)?;
        }
    }
    String::from_utf8(response).map_err(|error| error.to_string())
}

fn check_response(response: &str, status: u16, has: &[String], lacks: &[&str]) -> Result<(), String> {
    let (head, body) = response.split_once("\r\n\r\n").ok_or("the answer's head does not end")?;
    if !head.starts_with(&format!("HTTP/1.1 {status} ")) || body.is_empty() != (status == 101) {
        return Err(format!("answered {response:?} instead of {status}"));
    }
    if let Some(line) = has.iter().find(|line| !head.lines().any(|l| l == line.as_str())) {
        return Err(format!("no line {line:?} in {head:?}"));
    }
    let named = |name: &str| head.lines().any(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")));
    lacks.iter().find(|name| named(name)).map_or(Ok(()), |name| Err(format!("{name} is in {head:?}")))
}

fn read_at_every_place(bytes: &[u8], offered: Option<&str>, answer: Answer) -> Result<(), String> {
    same("whole", &handshake::answer(bytes, NONCE, offered), &answer)?;
    for at in 0..bytes.len() {
        let early = handshake::answer(&bytes[..at], NONCE, offered);
        if early != Answer::Partial {
            same(&format!("after {at} bytes"), &early, &answer)?;
        }
    }
    Ok(())
}

/// Equal, or both in short: some are long.
fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    let short = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    if got == expected { Ok(()) } else { Err(format!("{what}: {} instead of {}", short(got), short(expected))) }
}
