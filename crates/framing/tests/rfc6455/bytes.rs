//! Frames as section 5.2 draws them, right or wrong, without the encoder under test.

/// Set on the last or only frame of a message.
pub(crate) const FIN: u8 = 0x80;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// Every opcode that the RFC defines, with its name.
pub(crate) const OPCODES: [(u8, &str); 6] = [
    (CONTINUATION, "continuation"),
    (TEXT, "text"),
    (BINARY, "binary"),
    (CLOSE, "close"),
    (PING, "ping"),
    (PONG, "pong"),
];

/// The key of the examples in section 5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Who sent the frames: a client masks, a server does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sender {
    Client,
    Server,
}

pub(crate) const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

impl Sender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    fn key(self) -> Option<[u8; 4]> {
        (self == Self::Client).then_some(KEY)
    }
}

/// How a length is written.
#[derive(Clone, Copy)]
pub(crate) enum Width {
    Bits7,
    Bits16,
    Bits64,
}

impl Width {
    /// The one that section 5.2 demands.
    pub(crate) fn minimal(len: u64) -> Self {
        match len {
            0..=125 => Self::Bits7,
            126..=65_535 => Self::Bits16,
            _ => Self::Bits64,
        }
    }
}

/// A head alone: any first byte, and a length that need not be minimal nor come true.
pub(crate) fn head(first: u8, width: Width, len: u64, key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match width {
        Width::Bits7 => out.push(masked | len as u8),
        Width::Bits16 => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        Width::Bits64 => {
            out.push(masked | 127);
            out.extend(len.to_be_bytes());
        }
    }
    out.extend(key.unwrap_or_default().iter().take(if key.is_some() { 4 } else { 0 }));
    out
}

/// A head of `sender`'s.
pub(crate) fn head_of(sender: Sender, first: u8, width: Width, len: u64) -> Vec<u8> {
    head(first, width, len, sender.key())
}

/// A frame with this key, or unmasked.
pub(crate) fn keyed(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let len = payload.len() as u64;
    let mut out = head(first, Width::minimal(len), len, key);
    let key = key.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// A frame of `sender`'s.
pub(crate) fn frame(sender: Sender, first: u8, payload: &[u8]) -> Vec<u8> {
    keyed(first, payload, sender.key())
}

/// First byte and payload of a frame.
pub(crate) type Plan<'a> = (u8, &'a [u8]);

/// Frames after each other.
pub(crate) fn frames(sender: Sender, list: &[Plan<'_>]) -> Vec<u8> {
    list.iter().flat_map(|(first, payload)| frame(sender, *first, payload)).collect()
}

/// A close payload.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// So many letters, which are not all the same: an offset that is wrong by one shows.
pub(crate) fn letters(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 23) as u8).collect()
}
