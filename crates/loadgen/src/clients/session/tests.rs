//! A conversation by hand: what the server says, and what the session makes of it.

use std::ops::ControlFlow;

use tidegate_framing::websocket::{CloseFrame, Decoder, Limits, Role};

use super::super::Clients;
use super::*;
use crate::mark::Mark;
use crate::target::Target;

/// A session with these channels, already subscribed, and what it shares with others.
fn ready(channels: &[u32]) -> (Session, Shared) {
    let target = Target {
        url: "ws://127.0.0.1:1".into(),
        api: "/api/publish".into(),
        api_key: None,
        token: None,
        pid: None,
        prefix: "c".into(),
    };
    let mut shared = Clients::new(target.check().unwrap(), 100).unwrap().shared;
    let mut session = Session::new(Plan { channels: channels.to_vec(), ..Plan::default() });
    session.on_open(&shared);
    assert_eq!(said(&mut session), ["{\"id\":1,\"connect\":{}}"]);
    session.on_event(Event::Text("{\"id\":1,\"connect\":{\"client\":\"x\",\"ping\":25,\"pong\":true}}"), &mut shared);
    assert_eq!(session.stage, Stage::Subscribing);
    assert_eq!(said(&mut session)[0].lines().count(), channels.len());
    for id in 2..2 + channels.len() {
        let reply = format!("{{\"id\":{id},\"subscribe\":{{\"epoch\":\"e\",\"offset\":4}}}}");
        session.on_event(Event::Text(&reply), &mut shared);
    }
    assert_eq!(session.stage, Stage::Ready);
    (session, shared)
}

/// The texts in its output, which is emptied.
fn said(session: &mut Session) -> Vec<String> {
    let mut texts = Vec::new();
    let mut on_event = |event: Event<'_>| {
        texts.push(match event {
            Event::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        });
        ControlFlow::Continue(())
    };
    let mut out = std::mem::take(&mut session.out);
    Decoder::new(Role::Server).decode(&mut out, &Limits::default(), &mut on_event).unwrap();
    texts
}

fn push(shared: &Shared, channel: u32, sequence: u32) -> String {
    let mut line = format!("{{\"push\":{{\"channel\":\"c{channel}\",\"pub\":{{\"data\":").into_bytes();
    shared.marker.write(&mut line, Mark { channel, sequence, at_ns: 1 });
    line.extend_from_slice(b",\"offset\":5}}}");
    String::from_utf8(line).unwrap()
}

#[test]
fn deliveries_are_checked_off() {
    let (mut session, mut shared) = ready(&[3, 1]);
    let text = [push(&shared, 1, 0), push(&shared, 3, 0), push(&shared, 1, 1)].join("\n");
    session.on_event(Event::Text(&text), &mut shared);
    assert_eq!((shared.tally.unique(), session.received), (3, 3));
    assert_eq!(session.position, Position { epoch: "e".into(), offset: 4 });
}

#[test]
fn every_kind_of_mistake_is_counted() {
    let (mut session, mut shared) = ready(&[1]);
    let corrupted = push(&shared, 1, 5).replace("xxx\"}", "xyx\"}");
    for line in [
        push(&shared, 1, 0),
        push(&shared, 1, 0),
        push(&shared, 1, 2),
        push(&shared, 1, 1),
        push(&shared, 9, 0),
        corrupted,
    ] {
        session.on_event(Event::Text(&line), &mut shared);
    }
    let tally = &shared.tally;
    assert_eq!((tally.duplicated, tally.reordered, tally.foreign, tally.corrupted), (1, 1, 1, 1));
    assert_eq!(tally.unique(), 4);
}

#[test]
fn pings_of_both_kinds_are_answered() {
    let (mut session, mut shared) = ready(&[1]);
    session.on_event(Event::Text("{}"), &mut shared);
    session.on_event(Event::Ping(b"x"), &mut shared);
    assert_eq!(said(&mut session), ["{}", "Pong([120])"]);
    assert_eq!(shared.pings, 2);
}

#[test]
fn recovered_publications_in_a_reply_count() {
    let (mut session, mut shared) = ready(&[1]);
    let publication = |n| push(&shared, 1, n).split_once("\"pub\":").unwrap().1.trim_end_matches("}}").to_owned();
    let reply = format!(
        "{{\"id\":2,\"subscribe\":{{\"recovered\":true,\"offset\":6,\"publications\":[{},{}]}}}}",
        publication(0),
        publication(1)
    );
    session.on_event(Event::Text(&reply), &mut shared);
    assert!(session.recovered && session.failure.is_none(), "{:?}", session.failure);
    assert_eq!(session.received, 2);
}

#[test]
fn the_server_ending_things_is_a_failure() {
    let events = [
        (
            Event::Close(Some(CloseFrame { code: 3501, reason: "bad request" })),
            "closed by the server: 3501 bad request",
        ),
        (Event::Text("{\"id\":9,\"error\":{\"code\":100}}"), "server error {\"code\":100}"),
        (Event::Text("{\"push\":{\"channel\":\"c1\",\"unsubscribe\":{\"code\":2500}}}"), "unsubscribed by the server"),
        (Event::Binary(b""), "a message of the wrong kind"),
    ];
    for (event, why) in events {
        let (mut session, mut shared) = ready(&[1]);
        session.on_event(event, &mut shared);
        assert_eq!((session.stage, session.failure.as_deref()), (Stage::Closed, Some(why)));
    }
}

#[test]
fn ping_pong_answers_a_delivery_with_the_next_publish() {
    let (mut session, mut shared) = ready(&[1]);
    shared.answer_own = true;
    let line = push(&shared, 1, 0);
    session.on_event(Event::Text(&line), &mut shared);
    let texts = said(&mut session);
    assert!(texts.len() == 1 && texts[0].contains("\"publish\":{\"channel\":\"c1\""), "{texts:?}");
}
