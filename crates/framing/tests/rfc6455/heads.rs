//! Section 5.2: first bytes, opcodes, reserved bits and lengths.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, FIN, OPCODES, SENDERS, Sender, TEXT, Width, frame, head_of, letters};
use crate::case::{Case, Got};

const LENGTHS: [usize; 9] = [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536];

pub(crate) fn cases() -> Vec<Case> {
    let parts = SENDERS.map(|sender| {
        [lengths(sender), reserved_bits(sender), reserved_opcodes(sender), not_minimal(sender), top_bit(sender)]
    });
    let mut cases: Vec<Case> = parts.into_iter().flatten().flatten().collect();
    cases.push(after_a_good_frame());
    cases
}

fn lengths(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for len in LENGTHS {
        let from = sender.name();
        let payload = letters(len);
        let text = (format!("5.2 text of {len} bytes from a {from}"), TEXT, Got::Text(payload.clone()));
        let binary = (format!("5.2 binary of {len} bytes from a {from}"), BINARY, Got::Binary(payload.clone()));
        for (name, opcode, event) in [text, binary] {
            cases.push(Case::frames(name, sender, frame(sender, FIN | opcode, &payload), vec![event]));
        }
    }
    cases
}

fn reserved_bits(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..8 {
        for (opcode, name) in OPCODES {
            let name = format!("5.2 reserved bits {bits:03b} on a {name} from a {} are refused", sender.name());
            let bytes = frame(sender, FIN | bits << 4 | opcode, b"\x03\xe8");
            cases.push(Case::fails(name, sender, bytes, ProtocolError::ReservedBits, 1002));
        }
    }
    cases
}

fn reserved_opcodes(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        for (fin, what) in [(FIN, "whole"), (0, "fragmented")] {
            let name = format!("5.2 opcode {opcode:#x}, {what}, from a {} is refused", sender.name());
            let why = ProtocolError::UnknownOpcode(opcode);
            cases.push(Case::fails(name, sender, frame(sender, fin | opcode, b"x"), why, 1002));
        }
    }
    cases
}

fn not_minimal(sender: Sender) -> Vec<Case> {
    let in_16 = [0, 1, 124, 125].map(|len| (Width::Bits16, 16, len));
    let in_64 = [0, 1, 125, 126, 127, 65_534, 65_535].map(|len| (Width::Bits64, 64, len));
    let mut cases = Vec::new();
    for (width, bits, len) in in_16.into_iter().chain(in_64) {
        let name = format!("5.2 a length of {len} in {bits} bits from a {} is refused", sender.name());
        let bytes = [head_of(sender, FIN | BINARY, width, len), vec![0; len as usize]].concat();
        cases.push(Case::fails(name, sender, bytes, ProtocolError::LengthNotMinimal, 1002));
    }
    cases
}

fn top_bit(sender: Sender) -> Vec<Case> {
    let case = |len: u64| {
        let name = format!("5.2 a length of {len:#x} from a {} is refused", sender.name());
        let bytes = head_of(sender, FIN | TEXT, Width::Bits64, len);
        Case::fails(name, sender, bytes, ProtocolError::LengthTopBit, 1002)
    };
    [1 << 63, 1 << 63 | 1, u64::MAX].map(case).into()
}

fn after_a_good_frame() -> Case {
    let sender = Sender::Client;
    let bytes = [frame(sender, FIN | TEXT, b"good"), frame(sender, FIN | 0x40 | TEXT, b"bad")].concat();
    let good = vec![Got::Text(b"good".to_vec())];
    Case::frames("5.2 what came before a fault counts", sender, bytes, good)
        .then_fails(ProtocolError::ReservedBits, 1002)
}
