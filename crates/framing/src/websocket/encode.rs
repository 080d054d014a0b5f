//! Frames on their way out: whole frames only, this end never fragments.
//!
//! A server's frame is the same for every receiver, so it is built once and shared. Only clients mask.

use super::frame::{CONTROL_BYTES_MAX, Opcode};
use super::mask::apply_mask;

/// The head of an unmasked frame: 2, 4 or 10 bytes.
#[derive(Debug, Clone, Copy)]
pub struct FrameHead {
    bytes: [u8; 10],
    len: u8,
}

impl FrameHead {
    /// The bytes to send before the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The head of an unmasked, unfragmented frame with `len` bytes of payload, in its shortest form.
pub fn frame_head(opcode: Opcode, len: usize) -> FrameHead {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | opcode as u8;
    let size = match len {
        0..=125 => {
            bytes[1] = len as u8;
            2
        }
        126..=0xffff => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    FrameHead { bytes, len: size }
}

/// Appends a frame of a server.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = cut_control(opcode, payload);
    out.reserve(10 + payload.len());
    out.extend_from_slice(frame_head(opcode, payload.len()).as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a frame of a client, masked with `key`. Browsers draw the key at random (section 5.3); for a load generator
/// any will do.
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    let payload = cut_control(opcode, payload);
    out.reserve(14 + payload.len());
    let head = frame_head(opcode, payload.len());
    let at = out.len();
    out.extend_from_slice(head.as_bytes());
    out[at + 1] |= 0x80;
    out.extend_from_slice(&key);
    let at = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[at..], key, 0);
}

/// Appends a server's close frame. The reason is cut to 123 bytes at a character's end.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = [0; CONTROL_BYTES_MAX];
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    write_frame(out, Opcode::Close, &payload[..2 + reason.len()]);
}

/// A server's close frame by itself.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + reason.len().min(CONTROL_BYTES_MAX));
    write_close(&mut out, code, reason);
    out
}

/// Control payloads never leave longer than the RFC allows: a pong echoes what was decoded, which is short anyway.
fn cut_control(opcode: Opcode, payload: &[u8]) -> &[u8] {
    if opcode.is_control() { &payload[..payload.len().min(CONTROL_BYTES_MAX)] } else { payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_7_examples() {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        write_masked_frame(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert_eq!(frame_head(Opcode::Binary, 256).as_bytes(), [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(frame_head(Opcode::Binary, 65_536).as_bytes(), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn section_5_2_lengths_are_minimal() {
        for (len, size) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(frame_head(Opcode::Text, len).as_bytes().len(), size, "{len}");
        }
    }

    #[test]
    fn section_5_5_1_a_reason_is_cut_at_a_character() {
        let frame = close_frame(3501, &"é".repeat(80));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close_frame(1000, ""), [0x88, 2, 0x03, 0xe8]);
    }

    #[test]
    fn section_5_5_control_payloads_are_bounded() {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Ping, &[7; 200]);
        assert_eq!(out.len(), 2 + 125);
    }
}
