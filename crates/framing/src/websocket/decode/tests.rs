//! Cases by section of RFC 6455, then properties over streams cut anywhere and over noise.

use std::ops::ControlFlow::{Break, Continue};

use proptest::prelude::*;

use super::super::encode::{close_frame, write_frame, write_masked_frame};
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(frame) => Self::Close(frame.map(|f| (f.code, f.reason.to_owned()))),
        }
    }
}

/// A masked frame built by hand: any first byte, length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_masked_frame(&mut out, Opcode::Binary, payload, KEY);
    out[0] = first;
    out
}

/// Decodes `stream` in the pieces that `cuts` give; what came before an error, and the error.
fn run(stream: &[u8], cuts: &[usize], limits: Limits, role: Role) -> (Vec<Got>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(role);
    let mut got = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let n = cuts.next().map_or(rest.len(), |n| (*n).min(rest.len()));
        let mut piece = rest[..n].to_vec();
        rest = &rest[n..];
        let mut on_event = |event: Event<'_>| {
            got.push(event.into());
            Continue(())
        };
        if let Err(error) = decoder.decode(&mut piece, &limits, &mut on_event) {
            assert!(decoder.has_ended() && decoder.buffered() == 0);
            return (got, Err(error));
        }
        let bound = 2 * limits.message_bytes_max + 256 + size_of::<Partial>();
        assert!(decoder.buffered() <= bound, "{} bytes", decoder.buffered());
    }
    (got, Ok(()))
}

/// The stream gives these events, then this error or none: in one piece, and byte by byte.
fn check(name: &str, stream: &[u8], events: &[Got], error: Option<ProtocolError>) {
    for cuts in [vec![], vec![1; stream.len()], vec![3; stream.len()]] {
        let (got, result) = run(stream, &cuts, Limits { message_bytes_max: 1_000 }, Role::Server);
        assert_eq!(got, events, "{name}");
        assert_eq!(result.err(), error, "{name}");
    }
}

fn text(s: &str) -> Got {
    Got::Text(s.to_owned())
}

#[test]
fn idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 16);
}

#[test]
fn section_5_2_valid_frames() {
    let cases: &[(&str, Vec<u8>, Got)] = &[
        ("text", frame(0x81, b"Hello"), text("Hello")),
        ("empty text", frame(0x81, b""), text("")),
        ("binary", frame(0x82, &[0, 255]), Got::Binary(vec![0, 255])),
        ("empty binary", frame(0x82, b""), Got::Binary(vec![])),
        ("125 bytes", frame(0x82, &[1; 125]), Got::Binary(vec![1; 125])),
        ("126 bytes", frame(0x82, &[1; 126]), Got::Binary(vec![1; 126])),
        ("1,000 bytes, the limit", frame(0x82, &[1; 1_000]), Got::Binary(vec![1; 1_000])),
    ];
    for (name, stream, event) in cases {
        check(name, stream, std::slice::from_ref(event), None);
    }
}

#[test]
fn section_5_2_64_bit_length() {
    let limits = Limits { message_bytes_max: 70_000 };
    let stream = frame(0x82, &[9; 70_000]);
    for cuts in [vec![], vec![1; 20], vec![65_536]] {
        let (got, result) = run(&stream, &cuts, limits, Role::Server);
        assert_eq!((got, result), (vec![Got::Binary(vec![9; 70_000])], Ok(())));
    }
}

#[test]
fn section_5_2_reserved_bits_opcodes_and_lengths() {
    use ProtocolError as E;
    let mut cases: Vec<(String, Vec<u8>, E)> = vec![
        ("rsv1".into(), frame(0xc1, b"x"), E::ReservedBits),
        ("rsv2".into(), frame(0xa1, b"x"), E::ReservedBits),
        ("rsv3".into(), frame(0x91, b"x"), E::ReservedBits),
        ("rsv on a ping".into(), frame(0xc9, b"x"), E::ReservedBits),
        ("rsv on a continuation".into(), frame(0xc0, b"x"), E::ReservedBits),
        ("16 bits for 125".into(), vec![0x82, 0x80 | 126, 0, 125], E::LengthNotMinimal),
        ("16 bits for 0".into(), vec![0x82, 0x80 | 126, 0, 0], E::LengthNotMinimal),
        ("64 bits for 65535".into(), vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], E::LengthNotMinimal),
        ("top bit".into(), vec![0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0], E::LengthTopBit),
    ];
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        cases.push((format!("opcode {opcode}"), frame(0x80 | opcode, b""), E::UnknownOpcode(opcode)));
    }
    for (name, stream, error) in cases {
        check(&name, &stream, &[], Some(error));
        assert_eq!(error.close_code(), 1002);
    }
}

#[test]
fn section_5_1_masks() {
    check("unmasked client frame", &[0x81, 0x01, b'x'], &[], Some(ProtocolError::NotMasked));
    let (got, result) = run(&frame(0x81, b"x"), &[], Limits::default(), Role::Client);
    assert_eq!((got, result), (vec![], Err(ProtocolError::Masked)));
    let mut stream = Vec::new();
    write_frame(&mut stream, Opcode::Text, b"from the server");
    let (got, result) = run(&stream, &[4, 3], Limits::default(), Role::Client);
    assert_eq!((got, result), (vec![text("from the server")], Ok(())));
}

#[test]
fn section_5_4_fragments() {
    let join = |frames: &[(u8, &[u8])]| frames.iter().flat_map(|(first, p)| frame(*first, p)).collect::<Vec<_>>();
    let ping = |p: &[u8]| Got::Ping(p.to_vec());
    let cases: &[(&str, Vec<u8>, Vec<Got>)] = &[
        ("two", join(&[(0x01, b"Hel"), (0x80, b"lo")]), vec![text("Hello")]),
        ("three", join(&[(0x02, b"a"), (0x00, b"b"), (0x80, b"c")]), vec![Got::Binary(b"abc".to_vec())]),
        ("all empty", join(&[(0x01, b""), (0x00, b""), (0x80, b"")]), vec![text("")]),
        ("last empty", join(&[(0x01, b"a"), (0x80, b"")]), vec![text("a")]),
        ("ping between", join(&[(0x01, b"a"), (0x89, b"p"), (0x80, b"b")]), vec![ping(b"p"), text("ab")]),
        ("empty ping between", join(&[(0x01, b"a"), (0x89, b""), (0x80, b"b")]), vec![ping(b""), text("ab")]),
        ("pong between", join(&[(0x01, b"a"), (0x8a, b""), (0x80, b"b")]), vec![Got::Pong(vec![]), text("ab")]),
        ("then one more", join(&[(0x01, b"a"), (0x80, b"b"), (0x81, b"c")]), vec![text("ab"), text("c")]),
        ("then fragments", join(&[(0x01, b"a"), (0x80, b""), (0x01, b"c"), (0x80, b"")]), vec![text("a"), text("c")]),
    ];
    for (name, stream, events) in cases {
        check(name, stream, events, None);
    }
}

#[test]
fn section_5_4_fragments_out_of_order() {
    use ProtocolError as E;
    let join = |frames: &[u8]| frames.iter().flat_map(|first| frame(*first, b"x")).collect::<Vec<_>>();
    check("lone continuation", &join(&[0x80]), &[], Some(E::LoneContinuation));
    check("lone continuation, more to come", &join(&[0x00]), &[], Some(E::LoneContinuation));
    check("continuation after the end", &join(&[0x81, 0x80]), &[text("x")], Some(E::LoneContinuation));
    check("text in text", &join(&[0x01, 0x81]), &[], Some(E::MessageInterrupted));
    check("binary in text", &join(&[0x01, 0x82]), &[], Some(E::MessageInterrupted));
    check("fragment in fragment", &join(&[0x01, 0x00, 0x02]), &[], Some(E::MessageInterrupted));
}

#[test]
fn section_5_5_control_frames() {
    use ProtocolError as E;
    check("ping of 125", &frame(0x89, &[1; 125]), &[Got::Ping(vec![1; 125])], None);
    check("pong", &frame(0x8a, b"x"), &[Got::Pong(b"x".to_vec())], None);
    check("ping of 126", &frame(0x89, &[1; 126]), &[], Some(E::ControlTooLong));
    check("close of 126", &frame(0x88, &[1; 126]), &[], Some(E::ControlTooLong));
    check("ping in 64 bits", &[0x89, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], &[], Some(E::ControlTooLong));
    check("fragmented ping", &frame(0x09, b""), &[], Some(E::ControlFragmented));
    check("fragmented pong", &frame(0x0a, b""), &[], Some(E::ControlFragmented));
    check("fragmented close", &frame(0x08, b""), &[], Some(E::ControlFragmented));
}

#[test]
fn section_5_5_1_close() {
    use ProtocolError as E;
    let close = |code: u16, reason: &str| [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    check("without a code", &frame(0x88, b""), &[Got::Close(None)], None);
    check("with a reason", &frame(0x88, &close(1000, "bye")), &[Got::Close(Some((1000, "bye".into())))], None);
    check(
        "longest reason",
        &frame(0x88, &close(1000, &"x".repeat(123))),
        &[Got::Close(Some((1000, "x".repeat(123))))],
        None,
    );
    check("one byte", &frame(0x88, b"\x03"), &[], Some(E::CloseTooShort));
    check("bad utf-8", &frame(0x88, b"\x03\xe8\xff"), &[], Some(E::CloseReasonUtf8));
    let stream = [frame(0x88, b""), frame(0x81, b"late"), vec![0xff; 20]].concat();
    check("nothing counts after it", &stream, &[Got::Close(None)], None);
}

#[test]
fn section_7_4_close_codes() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4000, 4999] {
        check("allowed", &frame(0x88, &u16::to_be_bytes(code)), &[Got::Close(Some((code, String::new())))], None);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check("not allowed", &frame(0x88, &u16::to_be_bytes(code)), &[], Some(ProtocolError::CloseCode(code)));
    }
}

#[test]
fn section_8_1_utf8() {
    let good = ["κόσμε", "\u{0}", "\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{ffff}", "\u{10000}", "\u{10ffff}"];
    for s in good {
        check(s, &frame(0x81, s.as_bytes()), &[text(s)], None);
        let (a, b) = s.as_bytes().split_at(s.len() / 2);
        check("cut inside a character", &[frame(0x01, a), frame(0x80, b)].concat(), &[text(s)], None);
    }
    let bad: &[&[u8]] = &[
        b"\xff",
        b"\x80",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"ok \xce",
        b"ok \xe2\x82",
        b"ok \xf0\x9f\x98",
    ];
    for bytes in bad {
        check("whole", &frame(0x81, bytes), &[], Some(ProtocolError::Utf8));
        check("first fragment", &[frame(0x01, bytes), frame(0x80, b"x")].concat(), &[], Some(ProtocolError::Utf8));
        check("last fragment", &[frame(0x01, b"x"), frame(0x80, bytes)].concat(), &[], Some(ProtocolError::Utf8));
        check("as binary", &frame(0x82, bytes), &[Got::Binary(bytes.to_vec())], None);
    }
    assert_eq!(ProtocolError::Utf8.close_code(), 1007);
}

#[test]
fn section_8_1_a_fault_ends_a_message_before_its_last_byte() {
    let stream = [frame(0x01, b"\xff"), frame(0x00, b"x")].concat();
    check("first of many", &stream, &[], Some(ProtocolError::Utf8));
}

#[test]
fn section_10_4_limits() {
    let error = ProtocolError::MessageTooBig(1_000);
    check("one frame", &frame(0x82, &[0; 1_001]), &[], Some(error));
    check("head alone", &frame(0x82, &[0; 1_001])[..8], &[], Some(error));
    check("64-bit length", &[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4], &[], Some(error));
    check("sum of fragments", &[frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat(), &[], Some(error));
    let stream = [frame(0x02, &[0; 600]), frame(0x80, &[0; 400])].concat();
    check("exactly", &stream, &[Got::Binary(vec![0; 1_000])], None);
    assert_eq!(error.close_code(), 1009);
    assert_eq!(Limits::default().message_bytes_max, 65_536);
}

#[test]
fn a_break_keeps_the_rest_for_later() {
    let mut decoder = Decoder::new(Role::Server);
    let mut stream = [frame(0x81, b"one"), frame(0x81, b"two")].concat();
    let first = stream.len() / 2;
    let taken = decoder.decode(&mut stream, &Limits::default(), &mut |_| Break(())).unwrap();
    assert_eq!(taken, first);
    let mut seen = Vec::new();
    let mut on_event = |event: Event<'_>| {
        seen.push(Got::from(event));
        Continue(())
    };
    assert_eq!(decoder.decode(&mut stream[taken..], &Limits::default(), &mut on_event), Ok(first));
    assert_eq!(seen, [text("two")]);
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new(Role::Server);
    let mut ignore = |_: Event<'_>| Continue(());
    assert!(decoder.decode(&mut [0xff, 0xff], &Limits::default(), &mut ignore).is_err());
    let mut later = frame(0x81, b"x");
    let n = later.len();
    assert_eq!(decoder.decode(&mut later, &Limits::default(), &mut |_| panic!("no event")), Ok(n));
}

#[test]
fn nothing_is_kept_between_messages() {
    let mut decoder = Decoder::new(Role::Server);
    let stream = [frame(0x01, b"abc"), frame(0x89, b"ping"), frame(0x80, b"def")].concat();
    for byte in &stream {
        decoder.decode(&mut [*byte], &Limits::default(), &mut |_| Continue(())).unwrap();
    }
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn nothing_is_kept_after_a_close_between_fragments() {
    let mut decoder = Decoder::new(Role::Server);
    for byte in [frame(0x01, b"abc"), frame(0x88, b"\x03\xe8")].concat() {
        decoder.decode(&mut [byte], &Limits::default(), &mut |_| Continue(())).unwrap();
    }
    assert!(decoder.has_ended());
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_declared_length_allocates_nothing_by_itself() {
    let mut decoder = Decoder::new(Role::Server);
    let mut start = frame(0x82, &[0; 60_000]);
    decoder.decode(&mut start[..20], &Limits::default(), &mut |_| Continue(())).unwrap();
    assert!(decoder.buffered() < 256, "{}", decoder.buffered());
}

#[test]
fn our_own_close_frame_is_read_back() {
    let (got, result) = run(&close_frame(3001, "shutdown"), &[], Limits::default(), Role::Client);
    assert_eq!((got, result), (vec![Got::Close(Some((3001, "shutdown".into())))], Ok(())));
}

/// A message or control frame as its frames, control frames possibly between fragments, and the events expected.
fn any_message() -> impl Strategy<Value = (Vec<u8>, Vec<Got>)> {
    let payload = prop_oneof![".{0,40}", ".{120,200}", "[a-z]{0,400}"];
    let ping = prop::option::of(prop::collection::vec(any::<u8>(), 0..=125));
    (payload, prop::collection::vec(any::<prop::sample::Index>(), 0..4), ping, any::<bool>()).prop_map(
        |(payload, cuts, ping, is_text)| {
            let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(payload.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(payload.len());
            let (mut stream, mut events, mut from) = (Vec::new(), Vec::new(), 0);
            for (i, to) in cuts.iter().copied().enumerate() {
                let opcode = if i > 0 { 0 } else { 2 - u8::from(is_text) };
                let fin = if i + 1 == cuts.len() { 0x80 } else { 0 };
                if let Some(ping) = ping.as_ref().filter(|_| i == 1) {
                    stream.extend(frame(0x89, ping));
                    events.push(Got::Ping(ping.clone()));
                }
                stream.extend(frame(fin | opcode, &payload.as_bytes()[from..to]));
                from = to;
            }
            events.push(if is_text { Got::Text(payload) } else { Got::Binary(payload.into_bytes()) });
            (stream, events)
        },
    )
}

proptest! {
    #[test]
    fn a_valid_stream_means_the_same_wherever_it_is_cut(
        messages in prop::collection::vec(any_message(), 1..6),
        cuts in prop::collection::vec(1usize..200, 0..64),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let events: Vec<Got> = messages.into_iter().flat_map(|(_, events)| events).collect();
        let limits = Limits { message_bytes_max: 2_000 };
        let (got, result) = run(&stream, &cuts, limits, Role::Server);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(got, events);
    }

    #[test]
    fn noise_never_panics_and_stays_bounded(
        noise in prop::collection::vec(any::<u8>(), 0..2_000),
        cuts in prop::collection::vec(1usize..50, 0..64),
        masked in any::<bool>(),
    ) {
        let role = if masked { Role::Server } else { Role::Client };
        let limits = Limits { message_bytes_max: 300 };
        let whole = run(&noise, &[], limits, role);
        prop_assert_eq!(run(&noise, &cuts, limits, role), whole);
    }

    #[test]
    fn plausible_heads_before_noise_never_panic(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..140)), 0..12),
        cuts in prop::collection::vec(1usize..50, 0..64),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(|(first, p)| frame(first & 0x8f, p)).collect();
        let limits = Limits { message_bytes_max: 300 };
        let whole = run(&stream, &[], limits, Role::Server);
        prop_assert_eq!(run(&stream, &cuts, limits, Role::Server), whole);
    }
}
