//! Sections 5.1 and 5.3: who masks, and with what.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, CONTINUATION, FIN, KEY, OPCODES, Sender, TEXT, keyed, letters};
use crate::case::{Case, Got};

const KEYS: [(&str, [u8; 4]); 6] = [
    ("of zeros", [0; 4]),
    ("of ones", [0xff; 4]),
    ("whose first byte alone counts", [0x55, 0, 0, 0]),
    ("whose last byte alone counts", [0, 0, 0, 0x55]),
    ("of section 5.7", KEY),
    ("that looks like a head", [0x88, 0x80, 0x81, 0x7e]),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = who_masks();
    cases.extend(keys());
    cases.push(keys_change());
    cases
}

fn who_masks() -> Vec<Case> {
    let mut cases = Vec::new();
    for (opcode, name) in OPCODES {
        for (what, payload) in [("", &b"\x03\xe8"[..]), (" without a payload", b"")] {
            let first = FIN | opcode;
            let unmasked = format!("5.1 an unmasked {name}{what} from a client is refused");
            let why = ProtocolError::NotMasked;
            cases.push(Case::fails(unmasked, Sender::Client, keyed(first, payload, None), why, 1002));
            let masked = format!("5.1 a masked {name}{what} from a server is refused");
            let why = ProtocolError::Masked;
            cases.push(Case::fails(masked, Sender::Server, keyed(first, payload, Some(KEY)), why, 1002));
        }
    }
    let later = [keyed(FIN | TEXT, b"a", Some(KEY)), keyed(FIN | TEXT, b"b", None)].concat();
    let name = "5.1 an unmasked frame after a masked one is refused";
    let first = vec![Got::Text(b"a".to_vec())];
    cases.push(Case::frames(name, Sender::Client, later, first).then_fails(ProtocolError::NotMasked, 1002));
    cases
}

fn keys() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, key) in KEYS {
        for len in [1, 4, 7, 8, 125, 1_003] {
            let name = format!("5.3 {len} bytes with a key {what}");
            let event = Got::Binary(letters(len));
            cases.push(Case::frames(name, Sender::Client, keyed(FIN | BINARY, &letters(len), Some(key)), vec![event]));
        }
    }
    cases
}

fn keys_change() -> Case {
    let bytes = [
        keyed(TEXT, b"each ", Some([1, 2, 3, 4])),
        keyed(CONTINUATION, b"with its ", Some([0; 4])),
        keyed(FIN | CONTINUATION, b"own", Some([0xff, 0, 0xff, 0])),
    ];
    let event = Got::Text(b"each with its own".to_vec());
    Case::frames("5.3 each fragment with a key of its own", Sender::Client, bytes.concat(), vec![event])
}
