//! Sections 5.5.1 and 7.4: close frames, their codes and reasons.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, CLOSE, FIN, Plan, SENDERS, Sender, TEXT, close_payload, frame, frames};
use crate::case::{Case, Got};

/// Codes that may be sent: those of section 7.4.1 and the ones registered since, and the ranges of section 7.4.2.
const ALLOWED: [(&str, &[u16]); 3] = [
    ("7.4.1", &[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011]),
    ("7.4.2 registered", &[1012, 1013, 1014]),
    ("7.4.2", &[3000, 3001, 3500, 3999, 4000, 4500, 4999]),
];

/// Codes that never stand in a frame.
const REFUSED: [(&str, &[u16]); 3] = [
    ("7.4.1 reserved", &[1004, 1005, 1006, 1015]),
    ("7.4.2 unused", &[0, 1, 125, 999, 5000, 5001, 32_768, 65_535]),
    ("7.4.2 not assigned", &[1016, 1100, 1999, 2000, 2999]),
];

/// Reasons that are no text.
const NO_TEXT: [(&str, &[u8]); 4] = [
    ("a lone byte", b"\xff"),
    ("half a character at the end", b"bye \xe2\x82"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("an overlong slash", b"\xc0\xaf"),
];

pub(crate) fn cases() -> Vec<Case> {
    SENDERS.into_iter().flat_map(|sender| [codes(sender), payloads(sender), afterwards(sender)]).flatten().collect()
}

fn codes(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let mut cases = Vec::new();
    for (section, codes) in ALLOWED {
        for code in codes {
            let bytes = frame(sender, FIN | CLOSE, &close_payload(*code, "why"));
            let event = Got::Close(Some((*code, "why".to_owned())));
            cases.push(Case::closes(
                format!("{section} close with code {code} from a {from}"),
                sender,
                bytes,
                vec![event],
            ));
        }
    }
    for (section, codes) in REFUSED {
        for code in codes {
            let bytes = frame(sender, FIN | CLOSE, &close_payload(*code, ""));
            let name = format!("{section} close with code {code} from a {from} is refused");
            cases.push(Case::fails(name, sender, bytes, ProtocolError::CloseCode(*code), 1002));
        }
    }
    cases
}

fn payloads(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let close = |payload: &[u8]| frame(sender, FIN | CLOSE, payload);
    let mut cases = vec![
        Case::closes(format!("5.5.1 close without a code from a {from}"), sender, close(b""), vec![Got::Close(None)]),
        Case::fails(
            format!("5.5.1 close with half a code from a {from} is refused"),
            sender,
            close(b"\x03"),
            ProtocolError::CloseTooShort,
            1002,
        ),
    ];
    for (what, reason) in [
        ("no reason", String::new()),
        ("a reason of one letter", "x".to_owned()),
        ("the longest reason", "x".repeat(123)),
        ("a reason in many alphabets", "κόσμε 世界 🌊".to_owned()),
    ] {
        let bytes = close(&close_payload(1000, &reason));
        let name = format!("5.5.1 close with {what} from a {from}");
        cases.push(Case::closes(name, sender, bytes, vec![Got::Close(Some((1000, reason)))]));
    }
    for (what, reason) in NO_TEXT {
        let bytes = close(&[b"\x03\xe8", reason].concat());
        let name = format!("8.1 close whose reason is {what} from a {from} is refused");
        cases.push(Case::fails(name, sender, bytes, ProtocolError::CloseReasonUtf8, 1007));
    }
    cases
}

/// Nothing counts after a close frame, be it right or wrong.
fn afterwards(sender: Sender) -> Vec<Case> {
    let close: Plan<'_> = (FIN | CLOSE, b"\x03\xe8");
    let later: [(&str, &[Plan<'_>]); 5] = [
        ("a text", &[(FIN | TEXT, b"late")]),
        ("a second close", &[(FIN | CLOSE, b"\x03\xe9")]),
        ("a reserved opcode", &[(FIN | 0x3, b"late")]),
        ("reserved bits", &[(FIN | 0x70 | BINARY, b"late")]),
        ("a message that is not whole", &[(TEXT, b"late")]),
    ];
    let event = Got::Close(Some((1000, String::new())));
    let case = |(what, list): (&str, &[Plan<'_>])| {
        let bytes = frames(sender, &[&[close], list].concat());
        let name = format!("5.5.1 {what} after the close from a {} is not looked at", sender.name());
        Case::closes(name, sender, bytes, vec![event.clone()])
    };
    let mut cases: Vec<Case> = later.map(case).into();
    let bytes = frames(sender, &[(FIN | TEXT, b"a"), close]);
    let name = format!("7.1.6 a message before the close from a {} counts", sender.name());
    cases.push(Case::closes(name, sender, bytes, vec![Got::Text(b"a".to_vec()), event]));
    cases
}
