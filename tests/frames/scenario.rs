//! What every peer plays against the server, and what it has to see.
//!
//! A session is one connection. Its steps are given to the peers in JSON, tagged by `do`:
//!
//! - `send` a data message, in as many fragments as there are `parts`, with a `ping` between two of them;
//! - `ping` with a `payload`;
//! - `unmasked`: a text frame that breaks section 5.1 of RFC 6455;
//! - `wait` until so many `messages` came in all, and a pong for every ping;
//! - `close` with a `code` and a `reason`.
//!
//! After the last step a peer waits for the end of the connection. Steps that come after it are passed over.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// `client.message_bytes_max`, left as it is.
const LIMIT: usize = 65_536;

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
const CONNECTED: &str = r#"{"id":1,"connect":{"client":""#;

/// The connect command in Protobuf: a length, the id, an empty request.
const CONNECT_PROTOBUF: &[u8] = b"\x04\x08\x01\x22\x00";

/// Bytes, in hexadecimal on the way to a peer and back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl From<Hex> for String {
    fn from(Hex(bytes): Hex) -> Self {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Hex {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "not hexadecimal");
        let byte = |at: usize| Ok(u8::from_str_radix(&text[at..at + 2], 16)?);
        (0..text.len()).step_by(2).map(byte).collect::<Result<_>>().map(Self)
    }
}

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0[..self.0.len().min(200)]))
    }
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Step {
    Send { parts: Vec<Hex>, text: bool, ping: Option<Hex> },
    Ping { payload: Hex },
    Unmasked { payload: Hex },
    Wait { messages: usize },
    Close { code: Option<u16>, reason: String },
}

/// One connection.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    pub(crate) name: String,
    /// The sub-protocol that is offered.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
    #[serde(skip)]
    received: Vec<Part>,
    #[serde(skip)]
    end: (u16, &'static str),
}

/// What one message has to have in it, in its length if that counts.
#[derive(Debug)]
struct Part {
    text: String,
    bytes: Option<usize>,
}

impl Part {
    fn is_in(&self, Hex(message): &Hex) -> bool {
        String::from_utf8_lossy(message).contains(&self.text) && self.bytes.is_none_or(|bytes| bytes == message.len())
    }
}

/// What a peer saw of one.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Seen {
    /// Messages: whether as text, and the bytes.
    pub(crate) received: Vec<(bool, Hex)>,
    pub(crate) pongs: Vec<Hex>,
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) extensions: String,
    pub(crate) protocol: String,
}

impl Session {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), protocol: None, steps: Vec::new(), received: Vec::new(), end: (1000, "") }
    }

    /// A connection that has spoken its connect command.
    fn connected(name: impl Into<String>) -> Self {
        Self::new(name).text(&[CONNECT.as_bytes()], None).hears(CONNECTED)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn data(self, parts: &[&[u8]], text: bool, ping: Option<&[u8]>) -> Self {
        let hex = |bytes: &[u8]| Hex(bytes.to_vec());
        self.step(Step::Send { parts: parts.iter().map(|part| hex(part)).collect(), text, ping: ping.map(hex) })
    }

    fn text(self, parts: &[&[u8]], ping: Option<&[u8]>) -> Self {
        self.data(parts, true, ping)
    }

    fn ping(self, payload: &[u8]) -> Self {
        self.step(Step::Ping { payload: Hex(payload.to_vec()) })
    }

    /// Waits for one message more, and that one contains this.
    fn hears(mut self, part: impl Into<String>) -> Self {
        self.received.push(Part { text: part.into(), bytes: None });
        let messages = self.received.len();
        self.step(Step::Wait { messages })
    }

    /// Closes, and is answered with the same code.
    fn closes(mut self, code: u16, reason: &str) -> Self {
        self.end = (code, "");
        self.step(Step::Close { code: Some(code), reason: reason.to_owned() })
    }

    /// Is closed by the server.
    fn closed_with(mut self, code: u16, reason: &'static str) -> Self {
        self.end = (code, reason);
        self
    }

    /// Every ping that it sends.
    fn pings(&self) -> Vec<&Hex> {
        let mut pings = Vec::new();
        for step in &self.steps {
            match step {
                Step::Ping { payload } => pings.push(payload),
                Step::Send { parts, ping: Some(ping), .. } => pings.extend(std::iter::repeat_n(ping, parts.len() - 1)),
                _ => {}
            }
        }
        pings
    }

    /// Fails with what differs from what is expected.
    pub(crate) fn check(&self, seen: &Seen) -> Result<()> {
        let end = (seen.code, &*seen.reason);
        ensure!(end == self.end, "ended with {end:?} instead of {:?}", self.end);
        let pongs: Vec<&Hex> = seen.pongs.iter().collect();
        ensure!(pongs == self.pings(), "pongs: {pongs:?} instead of {:?}", self.pings());
        ensure!(seen.received.len() == self.received.len(), "messages: {:?}", seen.received);
        let text = self.protocol != Some("centrifuge-protobuf");
        // A publication and the reply to its publish come in either order.
        for part in &self.received {
            let found = seen.received.iter().any(|(is_text, message)| *is_text == text && part.is_in(message));
            ensure!(found, "no {:.200} of {:?} bytes in {:?}", part.text, part.bytes, seen.received);
        }
        ensure!(seen.extensions.is_empty(), "extensions: {}", seen.extensions);
        ensure!(seen.protocol == self.protocol.unwrap_or_default(), "protocol: {}", seen.protocol);
        Ok(())
    }
}

/// All of them.
pub(crate) fn sessions() -> Vec<Session> {
    [fragments(), pings(), sizes(), deliveries(), faults(), kinds(), closes()].into_iter().flatten().collect()
}

fn fragments() -> Vec<Session> {
    let whole = CONNECT.as_bytes();
    let (a, rest) = whole.split_at(5);
    let (b, c) = rest.split_at(7);
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    let two = format!("{CONNECT}\n{}", r#"{"id":2,"rpc":{"method":"m","data":{}}}"#);
    let (d, e) = two.as_bytes().split_at(30);
    let cut = |ping| Session::new("a command in three fragments").text(&[a, b, c], ping).hears(CONNECTED);
    let mut list = vec![
        Session::connected("a command in one frame").closes(1000, "bye"),
        cut(None).closes(1000, ""),
        Session { name: "pings between fragments".to_owned(), ..cut(Some(b"between")).closes(1000, "") },
        Session::new("a byte per fragment, with pings").text(&bytes, Some(b"p")).hears(CONNECTED).closes(1000, ""),
        Session::new("two commands in two fragments").text(&[d, e], None).hears(r#""code":108"#).closes(1000, ""),
    ];
    for (what, parts) in [
        ("an empty first fragment", [&b""[..], whole, b" "]),
        ("an empty fragment in the middle", [a, b"", rest]),
        ("an empty last fragment", [a, rest, b""]),
        ("two empty fragments", [b"", b"", whole]),
    ] {
        list.push(Session::new(what).text(&parts, Some(b"p")).hears(CONNECTED).closes(1000, ""));
    }
    list
}

fn pings() -> Vec<Session> {
    let mut all = Session::connected("pings of many sizes, text or not");
    for payload in [&b""[..], b"x", b"hello", b"\xff\x00\xc0", &[b'p'; 124], &[0xab; 125]] {
        all = all.ping(payload);
    }
    let early = Session::new("a ping before any command").ping(b"early").step(Step::Wait { messages: 0 });
    let step = Step::Wait { messages: 1 };
    vec![all.step(step).closes(1000, ""), early.closes(1000, "")]
}

/// A connect command with blanks behind it, which are JSON too.
fn padded(bytes: usize) -> Vec<u8> {
    let mut text = CONNECT.as_bytes().to_vec();
    text.resize(bytes, b' ');
    text
}

/// Messages to the server at the boundaries of the length field, up to the limit and past it.
fn sizes() -> Vec<Session> {
    let mut list = Vec::new();
    for bytes in [125, 126, 127, 65_535, LIMIT] {
        let name = format!("a message of {bytes} bytes");
        list.push(Session::new(name).text(&[&padded(bytes)], None).hears(CONNECTED).closes(1000, ""));
    }
    let limit = padded(LIMIT);
    let (a, b) = limit.split_at(LIMIT / 3);
    let fragments = Session::new("a message as long as the limit in fragments").text(&[a, b, b""], Some(b"p"));
    list.push(fragments.hears(CONNECTED).closes(1000, ""));
    for bytes in [LIMIT + 1, 1 << 20] {
        let name = format!("a message of {bytes} bytes, over the limit");
        list.push(Session::connected(name).text(&[&padded(bytes)], None).closed_with(1009, "protocol error"));
    }
    let over = Session::connected("a message that grows over the limit").text(&[a, b, b" "], None);
    list.push(over.closed_with(1009, "protocol error"));
    list
}

/// Messages of the server's at the boundaries of the length field.
fn deliveries() -> Vec<Session> {
    let mut list = Vec::new();
    for bytes in [125, 126, 127, 65_535, 65_536] {
        let channel = format!("d{bytes}");
        let client = "c".repeat(36);
        let around = format!(
            r#"{{"push":{{"channel":"{channel}","pub":{{"data":"","info":{{"client":"{client}"}},"offset":1}}}}}}"#
        );
        let data = "d".repeat(bytes - around.len());
        let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#);
        let publish = format!(r#"{{"id":3,"publish":{{"channel":"{channel}","data":"{data}"}}}}"#);
        let session = Session::connected(format!("a publication in a frame of {bytes} bytes"));
        let session = session.text(&[subscribe.as_bytes()], None).hears(r#"{"id":2,"subscribe":{"#);
        let mut session = session.text(&[publish.as_bytes()], None);
        session.received.push(Part { text: format!(r#""data":"{data}","#), bytes: Some(bytes) });
        list.push(session.hears(r#"{"id":3,"publish":{}}"#).closes(1000, ""));
    }
    list
}

fn faults() -> Vec<Session> {
    let bad = [b"{\"id\":1,\"connect\":{\"name\":\"", &b"\xff\xfe\"}}"[..]];
    let cut = [&b"{\"id\":1,\"connect\":{\"name\":\"\xe2\x82"[..], b"x\"}}"];
    let good = ["{\"id\":1,\"connect\":{\"name\":\"€\"}}".as_bytes()];
    let (a, b) = good[0].split_at(29);
    let unmasked = Step::Unmasked { payload: Hex(CONNECT.into()) };
    vec![
        Session::connected("text that is not UTF-8").text(&[&bad.concat()], None).closed_with(1007, "protocol error"),
        Session::connected("a fragment that is not UTF-8").text(&bad, None).closed_with(1007, "protocol error"),
        Session::connected("a character that goes on wrongly").text(&cut, None).closed_with(1007, "protocol error"),
        Session::new("a character over two fragments").text(&[a, b], Some(b"p")).hears(CONNECTED).closes(1000, ""),
        Session::connected("an unmasked frame").step(unmasked).closed_with(1002, "protocol error"),
        Session::connected("text that is no command").text(&[b"no command"], None).closed_with(3501, "bad request"),
    ]
}

fn kinds() -> Vec<Session> {
    let (json, protobuf) = (Some("centrifuge-json"), Some("centrifuge-protobuf"));
    let binary = |session: Session| session.data(&[CONNECT_PROTOBUF], false, None);
    let fragments = |session: Session| {
        let (a, b) = CONNECT_PROTOBUF.split_at(2);
        session.data(&[a, b], false, Some(b"p"))
    };
    let text = |session: Session| session.text(&[CONNECT.as_bytes()], None);
    let wrong = |session: Session| session.closed_with(1003, "wrong kind of message");
    let offering = |name: &str, protocol| Session { protocol, ..Session::new(name) };
    vec![
        text(offering("JSON by its name", json)).hears(CONNECTED).closes(1000, ""),
        binary(offering("Protobuf by its name", protobuf)).hears("\u{1}").closes(1000, ""),
        fragments(offering("Protobuf in fragments", protobuf)).hears("\u{1}").closes(1000, ""),
        wrong(binary(Session::connected("a binary message in JSON"))),
        wrong(fragments(Session::connected("a binary message in JSON, in fragments"))),
        wrong(text(offering("a text in Protobuf", protobuf))),
    ]
}

fn closes() -> Vec<Session> {
    let close = |code: u16| Session::connected(format!("close with {code} is echoed")).closes(code, "for a reason");
    let mut list: Vec<Session> = [1000, 1001, 1003, 1008, 1011, 3000, 3999, 4000, 4999].map(close).into();
    list.push(Session::new("close before any command").closes(1000, ""));
    list.push(Session::connected("close with the longest reason").closes(4000, &"r".repeat(123)));
    let without = Session::connected("close without a code is answered with 1000");
    list.push(without.step(Step::Close { code: None, reason: String::new() }));
    list
}
