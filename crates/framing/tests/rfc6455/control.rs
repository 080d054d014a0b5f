//! Section 5.5: control frames by themselves. Those between fragments are in [`crate::fragments`].

use tidegate_framing::websocket::ProtocolError;

use crate::bytes::{CLOSE, FIN, PING, PONG, Plan, SENDERS, Sender, TEXT, Width, frame, frames, head_of, letters};
use crate::case::{Case, Got};

const CONTROLS: [(u8, &str); 3] = [(CLOSE, "close"), (PING, "ping"), (PONG, "pong")];

pub(crate) fn cases() -> Vec<Case> {
    SENDERS.into_iter().flat_map(|sender| [allowed(sender), refused(sender), in_a_row(sender)]).flatten().collect()
}

fn allowed(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [0, 1, 2, 124, 125] {
        let from = sender.name();
        let payload = letters(len);
        let ping = frame(sender, FIN | PING, &payload);
        cases.push(Case::frames(
            format!("5.5.2 ping of {len} bytes from a {from}"),
            sender,
            ping,
            vec![Got::Ping(payload.clone())],
        ));
        let pong = frame(sender, FIN | PONG, &payload);
        cases.push(Case::frames(
            format!("5.5.3 unasked pong of {len} bytes from a {from}"),
            sender,
            pong,
            vec![Got::Pong(payload)],
        ));
    }
    for (opcode, name) in [(PING, "5.5.2 ping"), (PONG, "5.5.3 pong")] {
        let payload = vec![0, 0xff, 0xc0, 0x80];
        let bytes = frame(sender, FIN | opcode, &payload);
        let event = if opcode == PING { Got::Ping(payload) } else { Got::Pong(payload) };
        let name = format!("{name} that is no text from a {}", sender.name());
        cases.push(Case::frames(name, sender, bytes, vec![event]));
    }
    cases
}

fn refused(sender: Sender) -> Vec<Case> {
    let mut cases = Vec::new();
    let from = sender.name();
    for (opcode, name) in CONTROLS {
        for payload in [&b""[..], b"\x03\xe8"] {
            let bytes = frame(sender, opcode, payload);
            let case = format!("5.5 a fragmented {name} of {} bytes from a {from} is refused", payload.len());
            cases.push(Case::fails(case, sender, bytes, ProtocolError::ControlFragmented, 1002));
        }
        for len in [126, 127, 65_535, 65_536] {
            let bytes = frame(sender, FIN | opcode, &letters(len));
            let case = format!("5.5 a {name} of {len} bytes from a {from} is refused");
            cases.push(Case::fails(case, sender, bytes, ProtocolError::ControlTooLong, 1002));
        }
        for (width, bits) in [(Width::Bits16, 16), (Width::Bits64, 64)] {
            let bytes = head_of(sender, FIN | opcode, width, 2);
            let case = format!("5.5 a {name} with its length in {bits} bits from a {from} is refused");
            cases.push(Case::fails(case, sender, bytes, ProtocolError::ControlTooLong, 1002));
        }
    }
    cases
}

fn in_a_row(sender: Sender) -> Vec<Case> {
    let from = sender.name();
    let list: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let pings: Vec<Plan<'_>> = list.iter().map(|n| (FIN | PING, n.as_bytes())).collect();
    let events = list.iter().map(|n| Got::Ping(n.as_bytes().to_vec())).collect();
    let row =
        Case::frames(format!("5.5.2 twenty pings in a row from a {from}"), sender, frames(sender, &pings), events);
    let bytes = frames(sender, &[(FIN | TEXT, b"a"), (FIN | PING, b"p"), (FIN | TEXT, b"b"), (FIN | PONG, b"q")]);
    let events = vec![Got::Text(b"a".into()), Got::Ping(b"p".into()), Got::Text(b"b".into()), Got::Pong(b"q".into())];
    let between = Case::frames(format!("5.5 controls between messages from a {from}"), sender, bytes, events);
    vec![row, between]
}
