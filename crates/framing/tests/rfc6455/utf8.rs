//! Section 8.1: text is UTF-8 (RFC 3629), over all fragments together.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, CONTINUATION, FIN, PING, SENDERS, Sender, TEXT, frame, frames};
use crate::case::{Case, Got};

const GOOD: [(&str, &str); 12] = [
    ("the first character", "\u{0}"),
    ("the last of one byte", "\u{7f}"),
    ("the first of two bytes", "\u{80}"),
    ("the last of two bytes", "\u{7ff}"),
    ("the first of three bytes", "\u{800}"),
    ("the last before the surrogates", "\u{d7ff}"),
    ("the first after the surrogates", "\u{e000}"),
    ("a replacement character", "\u{fffd}"),
    ("the last of three bytes", "\u{ffff}"),
    ("the first of four bytes", "\u{10000}"),
    ("the last character", "\u{10ffff}"),
    ("many alphabets", "κόσμε, мир, 世界, 🌊"),
];

/// Sequences that no continuation makes right.
const BAD: [(&str, &[u8]); 18] = [
    ("a continuation byte alone", b"\x80"),
    ("the last continuation byte alone", b"\xbf"),
    ("a byte that never occurs", b"\xff"),
    ("another byte that never occurs", b"\xfe"),
    ("an overlong zero", b"\xc0\x80"),
    ("an overlong slash in two bytes", b"\xc0\xaf"),
    ("an overlong delete", b"\xc1\xbf"),
    ("an overlong slash in three bytes", b"\xe0\x80\xaf"),
    ("an overlong character of two bytes", b"\xe0\x9f\xbf"),
    ("an overlong slash in four bytes", b"\xf0\x80\x80\xaf"),
    ("an overlong character of three bytes", b"\xf0\x8f\xbf\xbf"),
    ("the first surrogate", b"\xed\xa0\x80"),
    ("the last surrogate", b"\xed\xbf\xbf"),
    ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("a character past the last", b"\xf4\x90\x80\x80"),
    ("a sequence of five bytes", b"\xf8\x88\x80\x80\x80"),
    ("a start of two bytes before a letter", b"\xcea"),
    ("a start of four bytes before a letter", b"\xf0\x9f\x98a"),
];

/// Characters without their end.
const CUT: [(&str, &[u8]); 4] = [
    ("one byte of two", b"\xce"),
    ("two bytes of three", b"\xe2\x82"),
    ("one byte of four", b"\xf0"),
    ("three bytes of four", b"\xf0\x9f\x98"),
];

pub(crate) fn cases() -> Vec<Case> {
    SENDERS.into_iter().flat_map(|sender| [good(sender), bad(sender), cut(sender), early(sender)]).flatten().collect()
}

fn good(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let mut cases = Vec::new();
    for (what, text) in GOOD {
        let bytes = text.as_bytes();
        let event = vec![Got::Text(bytes.to_vec())];
        let whole = frame(sender, FIN | TEXT, bytes);
        cases.push(Case::frames(format!("8.1 {what} from a {from}"), sender, whole, event.clone()));
        // At every byte of a short one, so inside of characters too.
        for at in 1..bytes.len().min(5) {
            let (a, b) = bytes.split_at(at);
            let name = format!("8.1 {what} cut after byte {at} by fragments from a {from}");
            let stream = frames(sender, &[(TEXT, a), (FIN | PING, b""), (FIN | CONTINUATION, b)]);
            cases.push(Case::frames(name, sender, stream, vec![Got::Ping(vec![]), event[0].clone()]));
        }
    }
    let text = "🌊é世".as_bytes();
    let mut stream = frame(sender, TEXT, b"");
    stream.extend(text.iter().flat_map(|byte| frame(sender, CONTINUATION, &[*byte])));
    stream.extend(frame(sender, FIN | CONTINUATION, b""));
    let name = format!("8.1 a byte per fragment from a {from}");
    cases.push(Case::frames(name, sender, stream, vec![Got::Text(text.to_vec())]));
    cases
}

fn bad(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let mut cases = Vec::new();
    for (what, bytes) in BAD {
        let refused = |how: &str, stream| {
            let name = format!("8.1 {what}{how} from a {from} is refused");
            Case::fails(name, sender, stream, ProtocolError::Utf8, 1007)
        };
        let (a, b) = bytes.split_at(bytes.len() / 2);
        cases.push(refused("", frame(sender, FIN | TEXT, bytes)));
        cases.push(refused(" after text", frame(sender, FIN | TEXT, &[b"ok \xce\xba ", bytes].concat())));
        cases.push(refused(" over two fragments", frames(sender, &[(TEXT, a), (FIN | CONTINUATION, b)])));
        let name = format!("8.1 {what} as binary from a {from}");
        let stream = frame(sender, FIN | BINARY, bytes);
        cases.push(Case::frames(name, sender, stream, vec![Got::Binary(bytes.to_vec())]));
    }
    cases
}

/// Half a character is a fault at the end of a message and only there.
fn cut(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let mut cases = Vec::new();
    for (what, bytes) in CUT {
        let refused = |how: &str, stream| {
            let name = format!("8.1 {what} at the end{how} from a {from} is refused");
            Case::fails(name, sender, stream, ProtocolError::Utf8, 1007)
        };
        cases.push(refused("", frame(sender, FIN | TEXT, &[b"ok ", bytes].concat())));
        let last = frames(sender, &[(TEXT, b"ok "), (FIN | CONTINUATION, bytes)]);
        cases.push(refused(" of the last fragment", last));
        let empty = frames(sender, &[(TEXT, bytes), (FIN | CONTINUATION, b"")]);
        cases.push(refused(" before an empty last fragment", empty));
        let name = format!("8.1 {what} at the end of the first fragment from a {from}");
        cases.push(Case::frames(name, sender, frame(sender, TEXT, bytes), vec![]));
    }
    cases
}

/// A fault is told when it comes, not when the message ends.
fn early(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let first = frame(sender, TEXT, b"\xff");
    let middle = frames(sender, &[(TEXT, b"ok"), (CONTINUATION, b"\xed\xa0")]);
    vec![
        Case::fails(format!("8.1 a first fragment from a {from} is checked"), sender, first, ProtocolError::Utf8, 1007),
        Case::fails(format!("8.1 a middle one from a {from} is checked"), sender, middle, ProtocolError::Utf8, 1007),
    ]
}
