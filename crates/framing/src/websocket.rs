//! RFC 6455, both ends: the opening handshake, the decoder and the encoder. No extensions.
//!
//! ```text
//!  0               1               2               3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-------+-+-------------+-------------------------------+
//! |F|R|R|R| opcode|M| length (7)  | length (16 bits when 126,     |
//! |I|S|S|S|  (4)  |A|             |  64 bits when 127, big endian)|
//! |N|V|V|V|       |S|             |                               |
//! +-+-+-+-+-------+-+-------------+ - - - - - - - - - - - - - - - +
//! | mask key, 4 bytes, client to server only | payload ...
//! ```
//!
//! Invariants: a decoder between two frames keeps 16 bytes and no buffer; what it buffers never exceeds what arrived
//! nor the message limit (plus one control frame); no input panics; an error ends the decoder for good.

mod close;
mod decode;
mod encode;
mod error;
mod frame;
pub mod handshake;
mod mask;
mod origin;

pub use close::{CloseFrame, close_code, is_valid_close_code};
pub use decode::{Decoder, Event, Limits, Role};
pub use encode::{FrameHead, close_frame, frame_head, write_close, write_frame, write_masked_frame};
pub use error::ProtocolError;
pub use frame::Opcode;
pub use mask::apply_mask;
pub use origin::{OriginPatternError, Origins};
