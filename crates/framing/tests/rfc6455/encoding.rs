//! Sections 5.7 and 6.1: what the encoder writes, against frames that were built by hand.

use tidegate_framing::websocket::{Opcode, close_frame, frame_head, write_close, write_frame, write_masked_frame};

use crate::bytes::{CLOSE, FIN, KEY, SENDERS, Sender, close_payload, frame, letters};
use crate::case::Case;

const OPCODES: [Opcode; 4] = [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = SENDERS.map(|sender| [lengths(sender), controls(sender)]).into_iter().flatten().flatten().collect();
    [heads(), closes(), examples()].into_iter().for_each(|part| Vec::extend(&mut cases, part));
    cases
}

fn written(sender: Sender, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    // What is in the buffer already stays.
    let mut out = b"before".to_vec();
    match sender {
        Sender::Client => write_masked_frame(&mut out, opcode, payload, KEY),
        Sender::Server => write_frame(&mut out, opcode, payload),
    }
    out
}

fn expected(sender: Sender, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [b"before", &frame(sender, FIN | opcode as u8, payload)[..]].concat()
}

fn lengths(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [Opcode::Text, Opcode::Binary] {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let name = format!("6.1 a {} writes {opcode:?} of {len} bytes", sender.name());
            let payload = letters(len);
            cases.push(Case::written(name, written(sender, opcode, &payload), expected(sender, opcode, &payload)));
        }
    }
    cases
}

fn controls(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [Opcode::Ping, Opcode::Pong] {
        for len in [0, 1, 125, 126, 1_000] {
            let name = format!("5.5 a {} writes {opcode:?} of {len} bytes in 125 at most", sender.name());
            let payload = letters(len);
            let short = &payload[..len.min(125)];
            cases.push(Case::written(name, written(sender, opcode, &payload), expected(sender, opcode, short)));
        }
    }
    cases
}

/// Heads that are sent before a payload which lies elsewhere.
fn heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in OPCODES {
        for len in [0, 125] {
            let head = frame(Sender::Server, FIN | opcode as u8, &letters(len))[..2].to_vec();
            let name = format!("5.2 a head for {opcode:?} of {len} bytes");
            cases.push(Case::written(name, frame_head(opcode, len).as_bytes().to_vec(), head));
        }
    }
    for (len, head) in [
        (126, &[0x82, 126, 0, 126][..]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (0x12_3456_789a, &[0x82, 127, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a]),
    ] {
        let name = format!("5.2 a head for {len} bytes of binary");
        cases.push(Case::written(name, frame_head(Opcode::Binary, len).as_bytes().to_vec(), head.to_vec()));
    }
    cases
}

fn closes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, code, reason, kept) in [
        ("without a reason", 1000, String::new(), 0),
        ("with a reason", 3001, "shutdown".to_owned(), 8),
        ("with the longest reason", 4999, "x".repeat(123), 123),
        ("with a reason that is cut", 1009, "x".repeat(124), 123),
        ("with a reason that is cut before a character of two bytes", 1002, "é".repeat(80), 122),
        ("with a reason that is cut before a character of four bytes", 1002, "🌊".repeat(40), 120),
    ] {
        let expected = frame(Sender::Server, FIN | CLOSE, &close_payload(code, &reason[..kept]));
        let mut appended = Vec::new();
        write_close(&mut appended, code, &reason);
        cases.push(Case::written(format!("5.5.1 close {what} is appended"), appended, expected.clone()));
        cases.push(Case::written(format!("5.5.1 close {what} by itself"), close_frame(code, &reason), expected));
    }
    cases
}

/// The frames of section 5.7 that need no fragments, which this encoder never makes.
fn examples() -> Vec<Case> {
    let example = |name: &str, written: &dyn Fn(&mut Vec<u8>), expected: &[u8]| {
        let mut out = Vec::new();
        written(&mut out);
        Case::written(format!("5.7 {name}"), out, expected.to_vec())
    };
    let (masked_hello, masked_pong) =
        ([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
    vec![
        example("an unmasked text", &|out| write_frame(out, Opcode::Text, b"Hello"), b"\x81\x05Hello"),
        example("a masked text", &|out| write_masked_frame(out, Opcode::Text, b"Hello", KEY), &masked_hello),
        example("an unmasked ping", &|out| write_frame(out, Opcode::Ping, b"Hello"), b"\x89\x05Hello"),
        example(
            "a masked pong",
            &|out| write_masked_frame(out, Opcode::Pong, b"Hello", KEY),
            &[&masked_pong[..], &masked_hello[6..]].concat(),
        ),
        example(
            "256 bytes of binary",
            &|out| write_frame(out, Opcode::Binary, &[7; 256]),
            &[&[0x82, 0x7e, 1, 0][..], &[7; 256]].concat(),
        ),
        example(
            "64 KiB of binary",
            &|out| write_frame(out, Opcode::Binary, &[7; 65_536]),
            &[&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat(),
        ),
    ]
}
