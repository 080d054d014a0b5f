//! Section 5.4: messages in fragments, control frames between them, and fragments out of order.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Plan, SENDERS, Sender, TEXT, frame, frames, letters};
use crate::case::{Case, Got};

/// What comes between two fragments.
const BETWEEN: [(&str, &[Plan<'_>]); 6] = [
    ("", &[]),
    (" with a ping between", &[(PING, b"p")]),
    (" with an empty ping between", &[(PING, b"")]),
    (" with a pong between", &[(PONG, b"q")]),
    (" with the longest ping between", &[(PING, &[b'p'; 125])]),
    (" with two pings and a pong between", &[(PING, b"1"), (PONG, b""), (PING, b"2")]),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sender in SENDERS {
        cases.extend(with_controls(sender));
        cases.extend(sizes(sender));
        cases.extend(sequences(sender));
        cases.extend(out_of_order(sender));
    }
    cases.push(many_fragments());
    cases
}

fn message(opcode: u8, bytes: &[u8]) -> Got {
    if opcode == TEXT { Got::Text(bytes.to_vec()) } else { Got::Binary(bytes.to_vec()) }
}

fn kinds() -> [(u8, &'static str); 2] {
    [(TEXT, "text"), (BINARY, "binary")]
}

/// The fragments of a message, with `between` after each but the last.
fn fragmented(sender: Sender, opcode: u8, parts: &[&[u8]], between: &[Plan<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        let first = if at == 0 { opcode } else { CONTINUATION } | if last { FIN } else { 0 };
        bytes.extend(frame(sender, first, part));
        if !last {
            bytes.extend(between.iter().flat_map(|(opcode, payload)| frame(sender, FIN | opcode, payload)));
        }
    }
    bytes
}

fn with_controls(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for (opcode, kind) in kinds() {
        for count in [2, 3, 5] {
            for (what, between) in BETWEEN {
                let payload = letters(7 * count);
                let parts: Vec<&[u8]> = payload.chunks(7).collect();
                let control = between.iter().map(|(opcode, payload)| match *opcode {
                    PING => Got::Ping(payload.to_vec()),
                    _ => Got::Pong(payload.to_vec()),
                });
                let mut events: Vec<Got> = std::iter::repeat_n(control, count - 1).flatten().collect();
                events.push(message(opcode, &payload));
                let name = format!("5.4 {kind} in {count} fragments{what} from a {}", sender.name());
                cases.push(Case::frames(name, sender, fragmented(sender, opcode, &parts, between), events));
            }
        }
    }
    cases
}

/// Fragments of particular sizes, empty ones among them.
fn sizes(sender: Sender) -> Vec<Case> {
    let lists: &[&[usize]] = &[
        &[0, 5],
        &[5, 0],
        &[0, 0],
        &[0, 0, 0],
        &[0, 3, 0],
        &[2, 0, 0, 2],
        &[1, 1, 1, 1],
        &[125, 126],
        &[126, 125, 127],
        &[65_535, 1],
        &[1, 65_535],
        &[30_000, 0, 35_536],
    ];
    let mut cases = Vec::new();
    for (opcode, kind) in kinds() {
        for list in lists {
            let payload = letters(list.iter().sum());
            let mut rest = &payload[..];
            let parts: Vec<&[u8]> = list
                .iter()
                .map(|size| {
                    let (part, after) = rest.split_at(*size);
                    rest = after;
                    part
                })
                .collect();
            let name = format!("5.4 {kind} in fragments of {list:?} bytes from a {}", sender.name());
            let bytes = fragmented(sender, opcode, &parts, &[]);
            cases.push(Case::frames(name, sender, bytes, vec![message(opcode, &payload)]));
        }
    }
    cases
}

/// Messages after each other, whole and in fragments.
fn sequences(sender: Sender) -> Vec<Case> {
    let text = |s: &str| Got::Text(s.as_bytes().to_vec());
    let (whole, start, end) = (FIN | TEXT, TEXT, FIN | CONTINUATION);
    let lists: [(&str, Vec<u8>, Vec<Got>); 4] = [
        (
            "a whole message, then fragments",
            frames(sender, &[(whole, b"a"), (start, b"b"), (end, b"c")]),
            vec![text("a"), text("bc")],
        ),
        (
            "fragments, then a whole message",
            frames(sender, &[(start, b"a"), (end, b"b"), (whole, b"c")]),
            vec![text("ab"), text("c")],
        ),
        (
            "fragments, then fragments of another kind",
            frames(sender, &[(start, b"a"), (end, b"b"), (BINARY, b"c"), (end, b"d")]),
            vec![text("ab"), Got::Binary(b"cd".to_vec())],
        ),
        ("the start of a message alone", frames(sender, &[(start, b"a"), (CONTINUATION, b"b")]), vec![]),
    ];
    let mut cases: Vec<Case> = lists
        .into_iter()
        .map(|(what, bytes, events)| {
            Case::frames(format!("5.4 {what} from a {}", sender.name()), sender, bytes, events)
        })
        .collect();
    let name = format!("5.4 a close between fragments from a {} ends the message", sender.name());
    let bytes = frames(sender, &[(start, b"a"), (FIN | CLOSE, b"\x03\xe8"), (end, b"b")]);
    cases.push(Case::closes(name, sender, bytes, vec![Got::Close(Some((1000, String::new())))]));
    cases
}

fn out_of_order(sender: Sender) -> Vec<Case> {
    use ProtocolError::{LoneContinuation, MessageInterrupted};
    let (text, binary, more, end) = (FIN | TEXT, FIN | BINARY, CONTINUATION, FIN | CONTINUATION);
    let lists: [(&str, &[u8], &[&str], ProtocolError); 11] = [
        ("a continuation of nothing", &[end], &[], LoneContinuation),
        ("a continuation of nothing, more to come", &[more], &[], LoneContinuation),
        ("a continuation after a whole message", &[text, end], &["0"], LoneContinuation),
        ("a continuation after the last fragment", &[TEXT, end, end], &["01"], LoneContinuation),
        ("a text inside a text", &[TEXT, text], &[], MessageInterrupted),
        ("a text inside a binary", &[BINARY, text], &[], MessageInterrupted),
        ("a binary inside a text", &[TEXT, binary], &[], MessageInterrupted),
        ("the start of a text inside a text", &[TEXT, TEXT], &[], MessageInterrupted),
        ("the start of a binary inside a binary", &[BINARY, BINARY], &[], MessageInterrupted),
        ("a text after two fragments", &[TEXT, more, text], &[], MessageInterrupted),
        ("a text after a message and a fragment", &[text, BINARY, text], &["0"], MessageInterrupted),
    ];
    let case = |(what, firsts, messages, why): (&str, &[u8], &[&str], ProtocolError)| {
        let payloads: Vec<String> = (0..firsts.len()).map(|n| n.to_string()).collect();
        let list: Vec<Plan<'_>> = firsts.iter().copied().zip(payloads.iter().map(|p| p.as_bytes())).collect();
        let events = messages.iter().map(|m| Got::Text(m.as_bytes().to_vec())).collect();
        let name = format!("5.4 {what} from a {} is refused", sender.name());
        Case::frames(name, sender, frames(sender, &list), events).then_fails(why, 1002)
    };
    lists.map(case).into()
}

fn many_fragments() -> Case {
    let payload = letters(1_000);
    let parts: Vec<&[u8]> = payload.chunks(1).collect();
    let bytes = fragmented(Sender::Client, TEXT, &parts, &[]);
    Case::frames("5.4 text in 1000 fragments of a byte", Sender::Client, bytes, vec![Got::Text(payload)])
}
