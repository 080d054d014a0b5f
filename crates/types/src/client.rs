//! Who a publication came from, and the public name of a session.

use std::fmt;

use bytes::Bytes;

/// The public id of one session. Not a secret: it appears in presence and in publications.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub u128);

impl ClientId {
    /// An id from 16 random bytes, marked as a version 4 UUID (RFC 9562 section 5.4).
    pub fn from_random(random: [u8; 16]) -> Self {
        let v = u128::from_be_bytes(random);
        let v = v & !(0xf << 76) | 4 << 76;
        Self(v & !(0b11 << 62) | 0b10 << 62)
    }

    /// Reads what [`ClientId`] prints; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let dashes = |(at, b): (usize, u8)| (b == b'-') == matches!(at, 8 | 13 | 18 | 23);
        if text.len() != 36 || !text.bytes().enumerate().all(dashes) {
            return None;
        }
        let digits = text.bytes().filter(|b| *b != b'-');
        digits.map(|b| char::from(b).to_digit(16)).try_fold(0, |v, digit| Some(v << 4 | u128::from(digit?))).map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            v >> 96,
            v >> 80 & 0xffff,
            v >> 64 & 0xffff,
            v >> 48 & 0xffff,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The publisher of a client-originated publication, as subscribers see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientInfo {
    /// The authenticated user; empty = anonymous.
    pub user: String,
    /// The session's public id, as text.
    pub client: String,
    /// JSON that the connection token carried as `info`; empty = none.
    pub conn_info: Bytes,
    /// JSON that the subscription token carried as `info`; empty = none.
    pub chan_info: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_reads_as_a_version_4_uuid() {
        let id = ClientId::from_random([0xff; 16]).to_string();
        assert_eq!(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn what_is_printed_is_read() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            assert_eq!(ClientId::parse(&ClientId(id).to_string()), Some(ClientId(id)));
        }
        for other in ["", "x", "ffffffff-ffff-4fff-bfff-fffffffffffg", "ffffffffffff-4fff-bfff-ffffffffffff--", "é"] {
            assert_eq!(ClientId::parse(other), None, "{other}");
        }
    }
}
