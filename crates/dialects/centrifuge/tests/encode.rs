//! Every shape that the server writes, byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_dialect_centrifuge::{Json, JsonOneWay};
use tidegate_protocol::{ConnectResult, Data, Dialect, HistoryResult, Push, Reply, SubscribeResult};
use tidegate_types::codes::{ErrorCode, Unsubscribe};
use tidegate_types::{ClientId, ClientInfo, Epoch, Meta, Offset, Payload, PayloadKind, Publication, StreamPosition};

fn reply(id: u32, reply: &Reply) -> String {
    let mut out = Vec::new();
    Json.encode_reply(id, reply, &mut out);
    String::from_utf8(out).unwrap()
}

fn push(channel: &str, publication: &Publication) -> String {
    let mut out = Vec::new();
    Json.encode_publication(channel, publication, Data::Plain, &mut out);
    String::from_utf8(out).unwrap()
}

fn publication(offset: u64, json: &'static str) -> Publication {
    let json = Bytes::from_static(json.as_bytes());
    Publication {
        offset: Offset(offset),
        time_ms: 1,
        payload: Payload::new(json.clone(), json, PayloadKind::Json),
        meta: None,
    }
}

fn position(offset: u64) -> StreamPosition {
    StreamPosition { offset: Offset(offset), epoch: Epoch::new("abcd") }
}

fn subscribed() -> SubscribeResult {
    SubscribeResult {
        recoverable: false,
        positioned: false,
        position: None,
        publications: Vec::new(),
        recovered: false,
        was_recovering: false,
        ttl_seconds: None,
        data: Bytes::new(),
        delta: false,
    }
}

#[test]
fn errors_say_whether_they_are_temporary() {
    assert_eq!(
        reply(7, &Reply::Error(ErrorCode::INTERNAL)),
        r#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
    assert_eq!(
        reply(7, &Reply::Error(ErrorCode::PERMISSION_DENIED)),
        r#"{"id":7,"error":{"code":103,"message":"permission denied"}}"#
    );
}

#[test]
fn empty_results_are_objects() {
    assert_eq!(reply(3, &Reply::Unsubscribe), r#"{"id":3,"unsubscribe":{}}"#);
    assert_eq!(reply(4, &Reply::Publish), r#"{"id":4,"publish":{}}"#);
    assert_eq!(reply(5, &Reply::SubRefresh { ttl_seconds: None }), r#"{"id":5,"sub_refresh":{}}"#);
    assert_eq!(reply(6, &Reply::Subscribe(Box::new(subscribed()))), r#"{"id":6,"subscribe":{}}"#);
}

#[test]
fn connect_results() {
    let mut result = ConnectResult {
        client: ClientId(0),
        version: "0.1.0 tidegate",
        ttl_seconds: None,
        data: Bytes::new(),
        ping_seconds: 25,
        pong: true,
        uplink: None,
        subscriptions: Vec::new(),
        padding: 0,
    };
    assert_eq!(
        reply(1, &Reply::Connect(Box::new(result.clone()))),
        r#"{"id":1,"connect":{"client":"00000000-0000-0000-0000-000000000000","version":"0.1.0 tidegate","ping":25,"pong":true}}"#
    );
    result.ttl_seconds = Some(60);
    result.data = Bytes::from_static(b"{\n\"a\":1}");
    result.ping_seconds = 0;
    result.pong = false;
    result.subscriptions.push(("a\"b".into(), SubscribeResult { recovered: true, ..subscribed() }));
    assert_eq!(
        reply(1, &Reply::Connect(Box::new(result))),
        r#"{"id":1,"connect":{"client":"00000000-0000-0000-0000-000000000000","version":"0.1.0 tidegate","expires":true,"ttl":60,"data":{"a":1},"subs":{"a\"b":{"recovered":true}}}}"#
    );
}

#[test]
fn subscribe_results() {
    let new = SubscribeResult { recoverable: true, positioned: true, position: Some(position(9)), ..subscribed() };
    assert_eq!(
        reply(2, &Reply::Subscribe(Box::new(new.clone()))),
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abcd","offset":9,"positioned":true}}"#
    );
    let recovered = SubscribeResult {
        position: Some(position(7)),
        publications: vec![Arc::new(publication(8, "1")), Arc::new(publication(9, r#"{"a":2}"#))],
        recovered: true,
        was_recovering: true,
        ..new.clone()
    };
    assert_eq!(
        reply(2, &Reply::Subscribe(Box::new(recovered))),
        concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abcd","offset":7,"publications":[{"data":1,"offset":8},"#,
            r#"{"data":{"a":2},"offset":9}],"recovered":true,"positioned":true,"was_recovering":true}}"#
        )
    );
    let failed = SubscribeResult { was_recovering: true, position: Some(position(0)), ttl_seconds: Some(5), ..new };
    assert_eq!(
        reply(2, &Reply::Subscribe(Box::new(failed))),
        r#"{"id":2,"subscribe":{"expires":true,"ttl":5,"recoverable":true,"epoch":"abcd","positioned":true,"was_recovering":true}}"#
    );
}

#[test]
fn history_results_always_have_the_list() {
    let mut result = HistoryResult { publications: Vec::new(), top: position(0) };
    assert_eq!(
        reply(3, &Reply::History(Box::new(result.clone()))),
        r#"{"id":3,"history":{"publications":[],"epoch":"abcd"}}"#
    );
    result.publications = vec![Arc::new(publication(4, "\"x\""))];
    result.top = position(4);
    assert_eq!(
        reply(3, &Reply::History(Box::new(result))),
        r#"{"id":3,"history":{"publications":[{"data":"x","offset":4}],"epoch":"abcd","offset":4}}"#
    );
}

#[test]
fn refresh_results() {
    let refresh = Reply::Refresh { client: ClientId(1), ttl_seconds: Some(9) };
    assert_eq!(
        reply(8, &refresh),
        r#"{"id":8,"refresh":{"client":"00000000-0000-0000-0000-000000000001","expires":true,"ttl":9}}"#
    );
    assert_eq!(
        reply(8, &Reply::SubRefresh { ttl_seconds: Some(9) }),
        r#"{"id":8,"sub_refresh":{"expires":true,"ttl":9}}"#
    );
}

#[test]
fn publication_pushes() {
    assert_eq!(
        push("job:1", &publication(u64::MAX, r#"{"a":1}"#)),
        r#"{"push":{"channel":"job:1","pub":{"data":{"a":1},"offset":18446744073709551615}}}"#
    );
    assert_eq!(push("a\"\\b", &publication(0, "null")), r#"{"push":{"channel":"a\"\\b","pub":{"data":null}}}"#);
}

#[test]
fn publications_carry_publisher_and_tags() {
    let mut publication = publication(3, "1");
    let info = ClientInfo {
        user: "u\"".to_owned(),
        client: "c".to_owned(),
        conn_info: Bytes::from_static(b"{\"n\":1}"),
        chan_info: Bytes::new(),
    };
    let tags = vec![("k".to_owned(), "v\n".to_owned()), ("tidegate-encoding".to_owned(), "lie".to_owned())];
    publication.meta = Some(Box::new(Meta { tags, info: Some(info), ..Meta::default() }));
    assert_eq!(
        push("c", &publication),
        concat!(
            r#"{"push":{"channel":"c","pub":{"data":1,"info":{"user":"u\"","client":"c","conn_info":{"n":1}},"#,
            r#""offset":3,"tags":{"k":"v\n","tidegate-encoding":"lie"}}}}"#
        )
    );
    publication.payload = Payload::new(vec![0xff].into(), Bytes::from_static(b"\"/w==\""), PayloadKind::Binary);
    publication.meta.as_mut().unwrap().info = None;
    assert_eq!(
        push("c", &publication),
        r#"{"push":{"channel":"c","pub":{"data":"/w==","offset":3,"tags":{"k":"v\n","tidegate-encoding":"base64"}}}}"#
    );
    publication.meta = None;
    assert_eq!(
        push("c", &publication),
        r#"{"push":{"channel":"c","pub":{"data":"/w==","offset":3,"tags":{"tidegate-encoding":"base64"}}}}"#
    );
}

#[test]
fn other_pushes_and_pings() {
    let mut out = Vec::new();
    Json.encode_push(&Push::Unsubscribed { channel: "c", code: Unsubscribe::INSUFFICIENT_STATE }, &mut out);
    Json.encode_ping(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"push":{"channel":"c","unsubscribe":{"code":2500,"reason":"insufficient state"}}}{}"#
    );
}

#[test]
fn who_takes_deltas_gets_strings() {
    let publication = publication(3, r#"{"a":"b"}"#);
    let push = |data: Data<'_>| {
        let mut out = Vec::new();
        Json.encode_publication("c", &publication, data, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(push(Data::Whole), r#"{"push":{"channel":"c","pub":{"data":"{\"a\":\"b\"}","offset":3}}}"#);
    assert_eq!(
        push(Data::Delta(b"9\n1@0,;")),
        r#"{"push":{"channel":"c","pub":{"data":"9\n1@0,;","delta":true,"offset":3}}}"#
    );
    let result = SubscribeResult { delta: true, publications: vec![Arc::new(publication.clone())], ..subscribed() };
    assert_eq!(
        reply(2, &Reply::Subscribe(Box::new(result))),
        r#"{"id":2,"subscribe":{"publications":[{"data":"{\"a\":\"b\"}","offset":3}],"delta":true}}"#
    );
}

#[test]
fn presence_and_its_changes() {
    let info = ClientInfo { user: "u".into(), client: "c1".into(), ..Default::default() };
    assert_eq!(
        reply(2, &Reply::Presence(vec![Arc::new(info.clone())])),
        r#"{"id":2,"presence":{"presence":{"c1":{"user":"u","client":"c1"}}}}"#
    );
    assert_eq!(reply(2, &Reply::Presence(Vec::new())), r#"{"id":2,"presence":{"presence":{}}}"#);
    assert_eq!(
        reply(2, &Reply::PresenceStats { clients: 3, users: 1 }),
        r#"{"id":2,"presence_stats":{"num_clients":3,"num_users":1}}"#
    );
    assert_eq!(
        reply(2, &Reply::PresenceStats { clients: 0, users: 0 }),
        r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#
    );
    let push = |push: Push<'_>| {
        let mut out = Vec::new();
        Json.encode_push(&push, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        push(Push::Joined { channel: "a", info: &info }),
        r#"{"push":{"channel":"a","join":{"info":{"user":"u","client":"c1"}}}}"#
    );
    assert_eq!(
        push(Push::Left { channel: "a", info: &info }),
        r#"{"push":{"channel":"a","leave":{"info":{"user":"u","client":"c1"}}}}"#
    );
    assert_eq!(push(Push::Refreshed { ttl_seconds: Some(5) }), r#"{"push":{"refresh":{"expires":true,"ttl":5}}}"#);
    assert_eq!(
        push(Push::Disconnected { code: 4001, reason: "bye" }),
        r#"{"push":{"disconnect":{"code":4001,"reason":"bye"}}}"#
    );
}

fn heard(encode: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_the_server_subscribes_to_is_pushed() {
    let result = SubscribeResult {
        recoverable: true,
        positioned: true,
        position: Some(position(9)),
        data: Bytes::from_static(b"1"),
        recovered: true,
        ..subscribed()
    };
    let push = Push::Subscribed { channel: "c", result: &result };
    let told =
        r#"{"channel":"c","subscribe":{"recoverable":true,"epoch":"abcd","offset":9,"positioned":true,"data":1}}"#;
    assert_eq!(heard(|out| Json.encode_push(&push, out)), format!(r#"{{"push":{told}}}"#));
    assert_eq!(heard(|out| JsonOneWay.encode_push(&push, out)), told);
}
