//! Close frames: codes, and the rules of their payload (RFC 6455 sections 5.5.1 and 7.4).

use super::error::ProtocolError;

/// Close codes that the RFC names.
pub mod close_code {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down or the browser leaves the page.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Data of a kind that this end does not take.
    pub const UNSUPPORTED: u16 = 1003;
    /// Data that is not what it says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A message breaks a policy of this end.
    pub const POLICY: u16 = 1008;
    /// A message is too long.
    pub const TOO_BIG: u16 = 1009;
    /// The server met a condition that it did not expect.
    pub const INTERNAL: u16 = 1011;
}

/// What a close frame said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The code.
    pub code: u16,
    /// The reason, mostly for logs.
    pub reason: &'a str,
}

/// Whether a code may stand in a close frame: 1004-1006 and 1015 never do, 1016-2999 are not assigned.
pub fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the payload of a close frame; `None` when it is empty.
pub(super) fn parse(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, ProtocolError> {
    match payload {
        [] => Ok(None),
        [_] => Err(ProtocolError::CloseTooShort),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_valid_close_code(code) {
                return Err(ProtocolError::CloseCode(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::CloseReasonUtf8)?;
            Ok(Some(CloseFrame { code, reason }))
        }
    }
}
