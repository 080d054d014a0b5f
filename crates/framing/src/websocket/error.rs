//! What a peer can do wrong inside the frames, and the close code that answers it.

use super::close::close_code;

/// A violation of RFC 6455, or of our limit, by the peer. The connection ends with [`ProtocolError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reserved bit without an extension that uses it (section 5.2).
    #[error("reserved bits are set but no extension was negotiated")]
    ReservedBits,
    /// An opcode that the RFC reserves (section 5.2).
    #[error("unknown opcode {0:#x}")]
    UnknownOpcode(u8),
    /// A client must mask (section 5.1).
    #[error("frame from the client is not masked")]
    NotMasked,
    /// A server must not mask (section 5.1).
    #[error("frame from the server is masked")]
    Masked,
    /// The length is not written in the fewest bytes (section 5.2).
    #[error("payload length is not in its shortest form")]
    LengthNotMinimal,
    /// The top bit of a 64-bit length must be 0 (section 5.2).
    #[error("payload length has its top bit set")]
    LengthTopBit,
    /// Control frames come in one piece (section 5.5).
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// Control frames carry 125 bytes at most (section 5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// There is nothing to continue (section 5.4).
    #[error("continuation frame without a message to continue")]
    LoneContinuation,
    /// A fragmented message has to end before the next one starts (section 5.4).
    #[error("new message inside a fragmented message")]
    MessageInterrupted,
    /// A close payload is empty or starts with two bytes of code (section 5.5.1).
    #[error("close frame has a payload of one byte")]
    CloseTooShort,
    /// A code that may not be sent (section 7.4).
    #[error("close code {0} is not allowed on the wire")]
    CloseCode(u16),
    /// A close reason is UTF-8 (section 5.5.1).
    #[error("close reason is not UTF-8")]
    CloseReasonUtf8,
    /// A text message is UTF-8 (section 8.1).
    #[error("text message is not UTF-8")]
    Utf8,
    /// The message is longer than the limit of this end (section 10.4).
    #[error("message is longer than the limit of {0} bytes")]
    MessageTooBig(usize),
}

impl ProtocolError {
    /// The close code that answers it (section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Utf8 | Self::CloseReasonUtf8 => close_code::INVALID_PAYLOAD,
            Self::MessageTooBig(_) => close_code::TOO_BIG,
            _ => close_code::PROTOCOL_ERROR,
        }
    }
}
