//! Section 10.4: a message over the limit is refused, and by its head alone.

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{BINARY, CONTINUATION, FIN, PING, SENDERS, Sender, TEXT, Width, frame, frames, head_of, letters};
use crate::case::{Case, Got, LIMIT};

const WHY: ProtocolError = ProtocolError::MessageTooBig(LIMIT);

pub(crate) fn cases() -> Vec<Case> {
    SENDERS.into_iter().flat_map(|sender| [frames_over(sender), sums(sender)]).flatten().collect()
}

fn frames_over(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let mut cases = Vec::new();
    for (opcode, kind) in [(TEXT, "text"), (BINARY, "binary")] {
        for (fin, what) in [(FIN, "whole"), (0, "first fragment")] {
            let over = LIMIT as u64 + 1;
            let name = format!("10.4 a {kind}, {what}, of {over} bytes from a {from} is refused");
            let head = head_of(sender, fin | opcode, Width::Bits64, over);
            cases.push(Case::fails(name, sender, head, WHY, 1009));
        }
        for len in [LIMIT as u64 * 2, u64::from(u32::MAX), u64::from(u32::MAX) + 1, (1 << 63) - 1] {
            let name = format!("10.4 a {kind} said to have {len} bytes from a {from} is refused");
            let head = head_of(sender, FIN | opcode, Width::Bits64, len);
            cases.push(Case::fails(name, sender, head, WHY, 1009));
        }
    }
    cases
}

fn sums(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let start = frame(sender, BINARY, &letters(LIMIT));
    let then = |what: &str, rest: Vec<u8>| {
        let name = format!("10.4 {what} after as many bytes as the limit from a {from}");
        (name, [&start[..], &rest].concat())
    };
    let whole = Got::Binary(letters(LIMIT));
    let refused = |(name, bytes)| Case::fails(format!("{name} is refused"), sender, bytes, WHY, 1009);
    let (name, bytes) = then("an empty last fragment", frame(sender, FIN | CONTINUATION, b""));
    let empty = Case::frames(name, sender, bytes, vec![whole.clone()]);
    let (name, bytes) = then("a ping", frame(sender, FIN | PING, b"p"));
    let ping = Case::frames(name, sender, bytes, vec![Got::Ping(b"p".to_vec())]);
    let half = letters(LIMIT / 2);
    let (a, b) = (frames(sender, &[(TEXT, &half), (CONTINUATION, &half)]), frame(sender, FIN | CONTINUATION, b"x"));
    let again = [start.clone(), frame(sender, FIN | CONTINUATION, b""), start.clone()].concat();
    vec![
        empty,
        ping,
        refused(then("one byte more", frame(sender, FIN | CONTINUATION, b"x"))),
        refused(then("one byte more and not the last", frame(sender, CONTINUATION, b"x"))),
        refused((format!("10.4 a byte over the limit in the third fragment from a {from}"), [a, b].concat())),
        Case::frames(format!("10.4 the limit counts anew for each message from a {from}"), sender, again, vec![whole]),
    ]
}
