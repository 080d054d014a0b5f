//! Frames: whatever arrives means the same in one piece and in many, and what is kept of it has a bound.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use tidegate_framing::websocket::{Decoder, Event, Limits, ProtocolError, Role};

const LIMITS: Limits = Limits { message_bytes_max: 1_000 };

/// Kind and bytes of each event, and how the stream ended.
type Seen = (Vec<(&'static str, Vec<u8>)>, Result<bool, ProtocolError>);

fn decode(role: Role, stream: &[u8], piece_bytes: usize, flow: ControlFlow<()>) -> Seen {
    let (mut decoder, mut events) = (Decoder::new(role), Vec::new());
    for piece in stream.chunks(piece_bytes) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let ended = decoder.has_ended();
            let taken = decoder.decode(rest, &LIMITS, &mut |event| {
                assert!(!ended, "an event after the end");
                events.push(owned(event));
                flow
            });
            match taken {
                Ok(taken) => rest = &mut rest[taken..],
                Err(error) => return (events, Err(error)),
            }
        }
        // A growing buffer is up to twice what is in it, beside a control frame and the state itself.
        assert!(decoder.buffered() <= 2 * LIMITS.message_bytes_max + 512, "{} bytes", decoder.buffered());
    }
    let ended = decoder.has_ended();
    assert!(!ended || decoder.buffered() == 0);
    (events, Ok(ended))
}

fn owned(event: Event<'_>) -> (&'static str, Vec<u8>) {
    match event {
        Event::Text(text) => ("text", text.as_bytes().to_vec()),
        Event::Binary(bytes) => ("binary", bytes.to_vec()),
        Event::Ping(bytes) => ("ping", bytes.to_vec()),
        Event::Pong(bytes) => ("pong", bytes.to_vec()),
        Event::Close(frame) => ("close", frame.map_or(Vec::new(), |f| format!("{} {}", f.code, f.reason).into_bytes())),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[role, piece_bytes], stream)) = data.split_first_chunk::<2>() else { return };
    let role = if role & 1 == 0 { Role::Server } else { Role::Client };
    let whole = decode(role, stream, stream.len().max(1), ControlFlow::Continue(()));
    for flow in [ControlFlow::Continue(()), ControlFlow::Break(())] {
        assert_eq!(decode(role, stream, usize::from(piece_bytes).max(1), flow), whole);
    }
});
