//! Every shape that clients write, and what they should not.

use std::ops::ControlFlow;

use proptest::prelude::*;
use tidegate_dialect_centrifuge::{Json, JsonOneWay};
use tidegate_protocol::{Command, Connect, Dialect, History, Method, Since, Subscribe};

fn decode(message: impl AsRef<[u8]>) -> (Vec<Command>, Option<String>) {
    let mut commands = Vec::new();
    let result = Json.decode(message.as_ref(), &mut |command| {
        commands.push(command);
        ControlFlow::Continue(())
    });
    (commands, result.err().map(|e| e.0))
}

fn one(message: &str) -> Method {
    let (commands, error) = decode(message);
    assert_eq!(error, None, "{message}");
    let [command] = <[Command; 1]>::try_from(commands).unwrap();
    command.method
}

fn error(message: impl AsRef<[u8]>) -> String {
    decode(message).1.expect("an error")
}

#[test]
fn every_request_is_known() {
    let channel = || "c".to_owned();
    let cases = [
        (
            r#"{"id":1,"connect":{"token":"t","data":{"a": 1},"name":"js","version":"5","subs":{"x":{}},"flag":1}}"#,
            Method::Connect(Box::new(Connect {
                token: "t".into(),
                data: r#"{"a": 1}"#.into(),
                name: "js".into(),
                version: "5".into(),
                subscriptions: vec![Subscribe { channel: "x".into(), ..Subscribe::default() }],
                ..Connect::default()
            })),
        ),
        (r#"{"id":1,"connect":{}}"#, Method::Connect(Box::default())),
        (r#"{"id":1,"unsubscribe":{"channel":"c"}}"#, Method::Unsubscribe { channel: channel() }),
        (
            r#"{"id":1,"publish":{"channel":"c","data":null}}"#,
            Method::Publish { channel: channel(), data: "null".into(), exclude_self: false },
        ),
        (
            r#"{"id":1,"publish":{"channel":"c","exclude_self":true}}"#,
            Method::Publish { channel: channel(), data: "".into(), exclude_self: true },
        ),
        (r#"{"id":1,"presence":{"channel":"c"}}"#, Method::Presence { channel: channel() }),
        (r#"{"id":1,"presence_stats":{"channel":"c"}}"#, Method::PresenceStats { channel: channel() }),
        (
            r#"{"id":1,"history":{"channel":"c","limit":-1,"since":{"offset":3,"epoch":"e"},"reverse":true}}"#,
            Method::History(Box::new(History {
                channel: channel(),
                limit: -1,
                since: Some(Since { offset: 3, epoch: "e".into() }),
                reverse: true,
            })),
        ),
        (
            r#"{"id":1,"rpc":{"method":"m","data":[1,"\n"]}}"#,
            Method::Rpc { method: "m".into(), data: r#"[1,"\n"]"#.into() },
        ),
        (r#"{"send":{"data":1}}"#, Method::Send { data: "1".into() }),
        (r#"{"id":1,"refresh":{"token":"t"}}"#, Method::Refresh { token: "t".into() }),
        (
            r#"{"id":1,"sub_refresh":{"channel":"c","token":"t"}}"#,
            Method::SubRefresh { channel: channel(), token: "t".into() },
        ),
        (r#"{"id":1,"ping":{}}"#, Method::Ping),
        ("{}", Method::Pong),
        (r#"{"id":0,"subscribe":{"channel":"c"}}"#, Method::Pong),
    ];
    for (message, method) in cases {
        assert_eq!(one(message), method, "{message}");
    }
}

#[test]
fn what_a_connect_says_beside_is_taken_and_ignored() {
    let connect = Connect { token: "t".into(), ..Connect::default() };
    let beside =
        r#""headers":{"Authorization":"Bearer x","empty":""},"flag":3,"profile":"list","dict":"q83vEjRWeJCrze8S""#;
    let message = format!(r#"{{"id":1,"connect":{{{beside},"token":"t"}}}}"#);
    assert_eq!(one(&message), Method::Connect(Box::new(connect.clone())));
    assert_eq!(one_way(&format!(r#"{{"token":"t",{beside}}}"#)), Ok(connect));
    assert_eq!(one(r#"{"id":1,"connect":{"headers":null,"flag":null}}"#), Method::Connect(Box::default()));
}

#[test]
fn subscribe_wishes() {
    let check = |fields: &str, expected: Subscribe| {
        let message = format!(r#"{{"id":1,"subscribe":{{"channel":"c"{fields}}}}}"#);
        let expected = Subscribe { channel: "c".into(), ..expected };
        assert_eq!(one(&message), Method::Subscribe(Box::new(expected)), "{message}");
    };
    check("", Subscribe::default());
    check(
        r#","flag":1,"token":null,"unknown":[{}],"delta":"fossil""#,
        Subscribe { delta: true, ..Subscribe::default() },
    );
    check(r#","flag":3"#, Subscribe { reject_unrecovered: true, ..Subscribe::default() });
    check(
        r#","positioned":true,"recoverable":true,"join_leave":true"#,
        Subscribe { positioned: true, recoverable: true, join_leave: true, ..Subscribe::default() },
    );
    let since = Since { offset: u64::MAX, epoch: "e".into() };
    check(
        r#","recover":true,"offset":18446744073709551615,"epoch":"e","token":"t""#,
        Subscribe { recover: Some(since), token: "t".into(), ..Subscribe::default() },
    );
    check(r#","recover":true"#, Subscribe { recover: Some(Since::default()), ..Subscribe::default() });
    check(r#","offset":5,"epoch":"e""#, Subscribe::default());
}

#[test]
fn kinds_of_subscription_that_are_not_built_are_unsupported() {
    assert_eq!(one(r#"{"id":1,"subscribe":{"channel":"c","type":1}}"#), Method::Unsupported);
    assert_eq!(one(r#"{"id":1,"subscribe":{"channel":"c","tf":{"key":"a","cmp":"ex"}}}"#), Method::Unsupported);
}

#[test]
fn the_first_request_wins() {
    assert!(matches!(one(r#"{"id":1,"publish":{},"connect":{}}"#), Method::Connect(_)));
    assert!(matches!(one(r#"{"id":1,"publish":{},"connect":null}"#), Method::Publish { .. }));
}

#[test]
fn several_commands_share_a_message() {
    let (commands, error) = decode("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}\n{}\n");
    assert_eq!(error, None);
    assert_eq!(commands.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 2, 0]);
}

#[test]
fn a_break_ends_the_message() {
    let mut seen = 0;
    let result = Json.decode(b"{}\n{}\nnonsense", &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, result), (2, Ok(())));
}

#[test]
fn payloads_lose_newlines_between_tokens_only() {
    let method = one("{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":{\r\n  \"a\": \"x\\ny\"\n}}}");
    assert_eq!(
        method,
        Method::Publish { channel: "c".into(), data: "{  \"a\": \"x\\ny\"}".into(), exclude_self: false }
    );
}

#[test]
fn what_is_no_command_says_why() {
    assert_eq!(error(""), "no command in the message");
    assert_eq!(error(" \n"), "no command in the message");
    assert_eq!(error(r#"{"id":5}"#), "command with id 5 asks for nothing known");
    assert_eq!(error(r#"{"id":1,"subscribe":{"channel":"c","delta":"zip"}}"#), "unknown delta type \"zip\"");
    assert!(error("{}\n[").starts_with("command 2: "), "{}", error("{}\n["));
    for message in [
        "nonsense",
        "{\"id\":",
        "[1]",
        "[]",
        "{}[]",
        "null",
        "\"\"",
        r#"{"id":-1}"#,
        r#"{"id":1.5}"#,
        r#"{"id":"1"}"#,
        "{}x",
    ] {
        error(message);
    }
    error(r#"{"id":1,"subscribe":{"channel":7}}"#);
    error(r#"{"id":1,"subscribe":{"channel":"c","offset":-1}}"#);
    error(b"{\"id\":1,\"refresh\":{\"token\":\"\xff\"}}");
    error(b"{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":\"\xff\"}}");
}

#[test]
fn commands_before_the_error_were_handed_out() {
    let (commands, error) = decode("{\"id\":1,\"connect\":{}}\nnonsense");
    assert_eq!(commands.len(), 1);
    assert!(error.is_some());
}

#[test]
fn a_message_has_a_bounded_number_of_commands() {
    let (commands, error) = decode("{}\n".repeat(10_000));
    assert_eq!(commands.len(), 1_024);
    assert_eq!(error.as_deref(), Some("more than 1024 commands in one message"));
}

#[test]
fn deep_nesting_is_survived() {
    let deep = format!(r#"{{"id":1,"publish":{{"channel":"c","data":{}{}}}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    decode(&deep);
    decode("[".repeat(60_000));
}

proptest! {
    #[test]
    fn strings_arrive_as_they_were(channel in any::<String>(), token in any::<String>(), id in 1..u32::MAX) {
        let text = serde_json::json!({"id": id, "sub_refresh": {"channel": channel, "token": token}}).to_string();
        prop_assert_eq!(one(&text), Method::SubRefresh { channel, token });
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes);
    }

    #[test]
    fn no_cut_or_flip_makes_it_panic(cut in 0..200usize, at in 0..200usize, byte in any::<u8>()) {
        let mut bytes = br#"{"id":1,"connect":{"token":"t","data":{"a":[1,2,{"b":"\u00e9"}]}}}
{"id":2,"subscribe":{"channel":"c","recover":true,"offset":18,"epoch":"e","flag":1}}"#.to_vec();
        bytes.truncate(cut);
        if let Some(b) = bytes.get_mut(at) { *b = byte; }
        decode(&bytes);
    }
}

/// What a message of a client that only listens asks for.
fn one_way(message: &str) -> Result<Connect, String> {
    let mut asked = None;
    let decoded = JsonOneWay.decode(message.as_bytes(), &mut |command| {
        asked = Some(command);
        ControlFlow::Continue(())
    });
    match asked.map(|command| (command.id, command.method)) {
        Some((1, Method::Connect(connect))) => Ok(*connect),
        other => Err(format!("{other:?} {:?}", decoded.unwrap_err().0)),
    }
}

#[test]
fn one_way_clients_say_a_bare_request_or_nothing() {
    assert_eq!(one_way(""), Ok(Connect::default()));
    assert_eq!(one_way("{}"), Ok(Connect::default()));
    let connect = one_way(r#"{"token":"t","subs":{"a":{"recover":true,"offset":7,"epoch":"e"}}}"#).unwrap();
    let recover = Some(Since { offset: 7, epoch: "e".into() });
    let subscriptions = vec![Subscribe { channel: "a".into(), recover, ..Subscribe::default() }];
    assert_eq!(connect, Connect { token: "t".into(), subscriptions, ..Connect::default() });
    for wrong in ["[]", "7", "{", "{}{}", r#"{"token":7}"#, r#"{"subs":[]}"#, r#"{"subs":{"a":{"delta":"x"}}}"#] {
        assert!(one_way(wrong).is_err(), "{wrong}");
    }
}
