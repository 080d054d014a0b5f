//! One frame's head: reading it and checking what can be checked without state.

use super::decode::Role;
use super::error::ProtocolError;

/// Bytes of the longest head: two, eight of length, four of mask key.
pub(super) const HEAD_BYTES_MAX: usize = 14;

/// Bytes of the longest control payload (section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// Wants a pong.
    Ping = 0x9,
    /// Answers a ping, or says that one is alive.
    Pong = 0xa,
}

impl Opcode {
    /// Whether it is a control frame: never fragmented, at most 125 bytes, may come between fragments.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    fn parse(nibble: u8) -> Result<Self, ProtocolError> {
        Ok(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            other => return Err(ProtocolError::UnknownOpcode(other)),
        })
    }
}

/// A head as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Absent when the sender is a server.
    pub(super) key: Option<[u8; 4]>,
    /// Bytes of the head.
    pub(super) size: usize,
    /// Bytes of the payload.
    pub(super) len: u64,
}

impl Head {
    /// Reads the head that `bytes` start with, from a peer of `role`'s; `None` when more bytes are needed. A fault is
    /// found with the first byte that shows it.
    pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Option<Self>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::parse(first & 0x0f)?);
        if opcode.is_control() && !fin {
            return Err(ProtocolError::ControlFragmented);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        match role {
            Role::Server if !masked => return Err(ProtocolError::NotMasked),
            Role::Client if masked => return Err(ProtocolError::Masked),
            _ => {}
        }
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((len, at)) = length(bytes, short)? else { return Ok(None) };
        if !masked {
            return Ok(Some(Self { fin, opcode, key: None, size: at, len }));
        }
        let key = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
        Ok(key.map(|key| Self { fin, opcode, key: Some(*key), size: at + 4, len }))
    }
}

/// The payload length and where the head goes on after it.
fn length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, ProtocolError> {
    let after = &bytes[2..];
    let (len, at, least) = match short {
        126 => (after.first_chunk().map(|b| u64::from(u16::from_be_bytes(*b))), 4, 126),
        127 => (after.first_chunk().map(|b| u64::from_be_bytes(*b)), 10, 0x1_0000),
        _ => (Some(u64::from(short)), 2, 0),
    };
    match len {
        None => Ok(None),
        Some(len) if len < least => Err(ProtocolError::LengthNotMinimal),
        Some(len) if len >> 63 != 0 => Err(ProtocolError::LengthTopBit),
        Some(len) => Ok(Some((len, at))),
    }
}
