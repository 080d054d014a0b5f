//! The Protobuf encoding beside the JSON one: what both say of the same, and bytes that are no message.

use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_dialect_centrifuge::Protobuf;
use tidegate_protocol::{
    Command, Connect, ConnectResult, Data, Dialect, History, Method, Push, Reply, Since, Subscribe, SubscribeResult,
    Uplink,
};
use tidegate_types::codes::{ErrorCode, Unsubscribe};
use tidegate_types::{ClientId, ClientInfo, Meta, Offset, Payload, PayloadKind, Publication};

fn decode(message: &[u8]) -> (Vec<Command>, Option<String>) {
    let mut commands = Vec::new();
    let result = Protobuf.decode(message, &mut |command| {
        commands.push(command);
        ControlFlow::Continue(())
    });
    (commands, result.err().map(|e| e.0))
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A command with id 1 and one request.
fn command(number: u8, request: &[&[u8]]) -> Vec<u8> {
    let body = [varint(1, 1), field(number, &request.concat())].concat();
    [&[u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

#[test]
fn every_request_is_known() {
    let c = &*field(1, b"c");
    let channel = || "c".to_owned();
    let subscribe = Subscribe {
        channel: channel(),
        token: "t".into(),
        recover: Some(Since { offset: 7, epoch: "e".into() }),
        positioned: true,
        recoverable: true,
        reject_unrecovered: true,
        join_leave: true,
        delta: true,
    };
    let wishes =
        [varint(3, 1), field(6, b"e"), varint(7, 7), varint(9, 1), varint(10, 1), varint(11, 1), varint(14, 3)];
    let wishes = [wishes.concat(), field(12, b"fossil")].concat();
    let connect = Connect {
        token: "t".into(),
        data: "d".into(),
        name: "go".into(),
        version: "1".into(),
        subscriptions: vec![Subscribe { channel: "x".into(), recoverable: true, ..Subscribe::default() }],
        ..Connect::default()
    };
    let history =
        History { channel: channel(), limit: 3, since: Some(Since { offset: 2, epoch: "e".into() }), reverse: true };
    let since = field(8, &[varint(1, 2), field(2, b"e")].concat());
    let wish = [field(1, b"x"), field(2, &varint(10, 1))].concat();
    let cases: Vec<(Vec<u8>, Method)> = vec![
        (
            command(
                4,
                &[&field(1, b"t"), &field(2, b"d"), &field(3, &wish), &field(4, b"go"), &field(5, b"1"), &varint(7, 1)],
            ),
            Method::Connect(Box::new(connect)),
        ),
        (command(5, &[c, &field(2, b"t"), &wishes]), Method::Subscribe(Box::new(subscribe))),
        (command(5, &[c, &varint(15, 1)]), Method::Unsupported),
        (command(6, &[c]), Method::Unsubscribe { channel: channel() }),
        (
            command(7, &[c, &field(2, b"\xff")]),
            Method::Publish { channel: channel(), data: b"\xff"[..].into(), exclude_self: false },
        ),
        (command(8, &[c]), Method::Presence { channel: channel() }),
        (command(9, &[c]), Method::PresenceStats { channel: channel() }),
        (command(10, &[c, &varint(7, 3), &since, &varint(9, 1)]), Method::History(Box::new(history))),
        (command(11, &[]), Method::Ping),
        (command(12, &[&field(1, b"d")]), Method::Send { data: "d".into() }),
        (command(13, &[&field(1, b"d"), &field(2, b"m")]), Method::Rpc { method: "m".into(), data: "d".into() }),
        (command(14, &[&field(1, b"t")]), Method::Refresh { token: "t".into() }),
        (command(15, &[c, &field(2, b"t")]), Method::SubRefresh { channel: channel(), token: "t".into() }),
    ];
    for (bytes, method) in &cases {
        assert_eq!(decode(bytes), (vec![Command { id: 1, method: method.clone() }], None), "{bytes:x?}");
    }
    let all: Vec<u8> = cases.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    assert_eq!(decode(&all).0.len(), cases.len(), "many in one message");
    assert_eq!(decode(&[0]).0, [Command { id: 0, method: Method::Pong }]);
}

#[test]
fn what_a_connect_says_beside_is_taken_and_ignored() {
    let header = |name: &[u8], value: &[u8]| field(6, &[field(1, name), field(2, value)].concat());
    let (headers, flag) = ([header(b"Authorization", b"Bearer x"), header(b"empty", b"")].concat(), varint(7, 3));
    let (dict, profile) = (field(8, b"q83vEjRWeJCrze8S"), field(9, b"list"));
    let connect = Connect { token: "t".into(), ..Connect::default() };
    assert_eq!(
        decode(&command(4, &[&headers, &flag, &dict, &profile, &field(1, b"t")])),
        (vec![Command { id: 1, method: Method::Connect(Box::new(connect)) }], None)
    );
}

#[test]
fn what_is_wrong_is_said() {
    let error = |bytes: &[u8]| decode(bytes).1.expect("an error");
    assert_eq!(error(b""), "no command in the message");
    assert_eq!(error(b"\x09\x08\x01"), "command 1: its length is 9 and 2 bytes follow");
    assert_eq!(error(b"\x02\x08\x07"), "command with id 7 asks for nothing known");
    assert_eq!(error(&command(5, &[&field(12, b"zstd")])), "unknown delta type \"zstd\"");
    assert!(error(&command(5, &[&field(1, b"\xff")])).contains("UTF-8"));
    assert!(error(&[0; 2_000]).contains("more than 1024 commands"));
}

fn reply(id: u32, reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    Protobuf.encode_reply(id, reply, &mut out);
    assert_eq!(usize::from(out[0]), out.len() - 1, "behind its length");
    out.split_off(1)
}

#[test]
fn replies_carry_what_the_schema_says() {
    assert_eq!(reply(3, &Reply::Unsubscribe), [varint(1, 3), field(7, b"")].concat());
    assert_eq!(reply(3, &Reply::Publish), [varint(1, 3), field(8, b"")].concat());
    let error = [varint(1, 100), field(2, b"internal server error"), varint(3, 1)].concat();
    assert_eq!(reply(3, &Reply::Error(ErrorCode::INTERNAL)), [varint(1, 3), field(2, &error)].concat());
    let connected = ConnectResult {
        client: ClientId(0),
        version: "1.0",
        ttl_seconds: Some(9),
        data: Bytes::from_static(b"\x00"),
        ping_seconds: 25,
        pong: true,
        uplink: Some(Uplink { session: "s".into(), node: "n".into() }),
        subscriptions: vec![("x".into(), SubscribeResult { recoverable: true, ..Default::default() })],
        padding: 0,
    };
    let id = ClientId(0).to_string();
    let fields = [field(1, id.as_bytes()), field(2, b"1.0"), varint(3, 1), varint(4, 9), field(5, b"\x00")].concat();
    let subscription = [field(1, b"x"), field(2, &varint(3, 1))].concat();
    let fields =
        [fields, field(6, &subscription), varint(7, 25), varint(8, 1), field(9, b"s"), field(10, b"n")].concat();
    assert_eq!(reply(1, &Reply::Connect(Box::new(connected))), [varint(1, 1), field(5, &fields)].concat());
}

#[test]
fn pushes_have_no_id() {
    let mut out = Vec::new();
    Protobuf.encode_push(&Push::Unsubscribed { channel: "c", code: Unsubscribe::INSUFFICIENT_STATE }, &mut out);
    let code = [vec![2 << 3, 0xc4, 0x13], field(3, b"insufficient state")].concat();
    assert_eq!(out[1..], field(4, &[field(2, b"c"), field(7, &code)].concat()));
}

#[test]
fn presence_its_changes_and_deltas() {
    let info = ClientInfo { user: "u".into(), client: "x".into(), ..Default::default() };
    let shown = [field(1, b"u"), field(2, b"x")].concat();
    let entry = [field(1, b"x"), field(2, &shown)].concat();
    assert_eq!(
        reply(3, &Reply::Presence(vec![info.clone().into()])),
        [varint(1, 3), field(9, &field(1, &entry))].concat()
    );
    let stats = [varint(1, 4), varint(2, 2)].concat();
    assert_eq!(reply(3, &Reply::PresenceStats { clients: 4, users: 2 }), [varint(1, 3), field(10, &stats)].concat());
    let push = |push: Push<'_>| {
        let mut out = Vec::new();
        Protobuf.encode_push(&push, &mut out);
        out.split_off(1)
    };
    let told = |number| field(4, &[field(2, b"c"), field(number, &field(1, &shown))].concat());
    assert_eq!(push(Push::Joined { channel: "c", info: &info }), told(5));
    assert_eq!(push(Push::Left { channel: "c", info: &info }), told(6));
    let ttl = [varint(1, 1), varint(2, 5)].concat();
    assert_eq!(push(Push::Refreshed { ttl_seconds: Some(5) }), field(4, &field(12, &ttl)));
    let payload = Payload::new(Bytes::from_static(b"whole"), Bytes::new(), PayloadKind::Binary);
    let publication = Publication { offset: Offset(5), time_ms: 1, payload, meta: None };
    let mut out = Vec::new();
    Protobuf.encode_publication("c", &publication, Data::Delta(b"delta"), &mut out);
    let pushed = [field(4, b"delta"), varint(6, 5), varint(8, 1)].concat();
    assert_eq!(out[1..], field(4, &[field(2, b"c"), field(4, &pushed)].concat()));
}

#[test]
fn a_publication_carries_the_untouched_payload_and_what_came_beside_it() {
    let raw = Bytes::from_static(b"{\n \"a\": 1}");
    let info = ClientInfo { user: "u".into(), client: "x".into(), ..Default::default() };
    let meta = Meta { tags: vec![("k".into(), "v".into())], info: Some(info), ..Default::default() };
    let payload = Payload::new(raw.clone(), Bytes::from_static(b"{ \"a\": 1}"), PayloadKind::Json);
    let mut publication = Publication { offset: Offset(5), time_ms: 1, payload, meta: meta.boxed() };
    let mut out = Vec::new();
    Protobuf.encode_publication("c", &publication, Data::Plain, &mut out);
    let info = field(5, &[field(1, b"u"), field(2, b"x")].concat());
    let tags = field(7, &[field(1, b"k"), field(2, b"v")].concat());
    let pushed = |fields: &[&[u8]]| field(4, &[field(2, b"c"), field(4, &fields.concat())].concat());
    assert_eq!(out[1..], pushed(&[&field(4, &raw), &info, &varint(6, 5), &tags]));
    publication.meta = None;
    out.clear();
    Protobuf.encode_publication("c", &publication, Data::Plain, &mut out);
    assert_eq!(out[1..], pushed(&[&field(4, &raw), &varint(6, 5)]));
}

/// What a load generator counts on a socket and computes for large offsets, of the encoder itself.
#[test]
fn a_publication_has_as_many_bytes_beside_its_payload_as_its_offset_needs() {
    let beside = |offset| {
        let json = Bytes::from(vec![b'1'; 128]);
        let payload = Payload::new(json.clone(), json, PayloadKind::Json);
        let publication = Publication { offset: Offset(offset), time_ms: 1, payload, meta: None };
        let mut out = Vec::new();
        Protobuf.encode_publication("bench1", &publication, Data::Plain, &mut out);
        out.len() - 128 - "bench1".len()
    };
    let offsets = [1, 127, 128, (1 << 14) - 1, 1 << 14, 1 << 21, 1 << 28, 1 << 31];
    assert_eq!(offsets.map(beside), [15, 15, 16, 16, 17, 18, 19, 19]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes);
    }
}
