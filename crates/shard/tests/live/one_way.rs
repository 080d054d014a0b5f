//! Clients that only listen: server-sent events without a library, one-way streams and one-way WebSockets.

use std::net::TcpStream;

use serde_json::{Value, json};
use tidegate_core::config::{ControlOptions, CoreOptions, NamespaceOptions};

use crate::response::Response;
use crate::rig::{Client, Node, options, signed};

fn with_tokens() -> CoreOptions {
    let mut options = options();
    options.control = Some(ControlOptions::default());
    options.token.hmac_secret = Some(b"secret".to_vec());
    options.namespaces.push(("closed".into(), NamespaceOptions::default()));
    options
}

fn get(node: &Node, target: &str, headers: &str) -> Response {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    Response::ask(TcpStream::connect(node.address).unwrap(), head.as_bytes())
}

/// The next event: its id, which may be none, and its data.
fn event(response: &mut Response) -> (Option<String>, Value) {
    let mut id = None;
    loop {
        let line = response.line();
        if let Some(data) = line.strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
        if let Some(given) = line.strip_prefix("id: ") {
            id = Some(given.to_owned());
        }
    }
}

fn publication(response: &mut Response) -> (String, Value) {
    let (id, event) = event(response);
    (id.expect("an id"), event["pub"]["data"].clone())
}

#[test]
fn a_reader_without_a_library_goes_on_where_it_was_cut() {
    let node = Node::start(2, with_tokens());
    let mut reader = get(&node, "/sse?channel=a&channel=b%3Ano&channel=c", "");
    assert!(reader.head.starts_with("HTTP/1.1 400 "), "an unknown namespace: {}", reader.head);
    reader = get(&node, "/sse?channel=a&channel=c&channel=closed%3Ax", "");
    assert!(reader.head.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"), "{}", reader.head);
    assert!(reader.line().starts_with("retry: "));
    let (id, connect) = event(&mut reader);
    assert_eq!(connect["connect"]["subs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!((&connect["connect"]["pong"], &connect["connect"]["node"]), (&json!(null), &json!(null)));
    // Cut before the first publication: nothing is lost either.
    drop(reader);
    node.publish("a", "1");
    let resume = |id: &str| {
        let mut reader = get(&node, "/sse?channel=a&channel=c", &format!("Last-Event-ID: {id}\r\n"));
        reader.line();
        let (_, connect) = event(&mut reader);
        assert_eq!(connect["connect"]["subs"]["a"]["recovered"], true, "{connect}");
        assert_eq!(connect["connect"]["subs"]["a"]["publications"], json!(null), "they come as events");
        reader
    };
    let mut reader = resume(&id.unwrap());
    assert_eq!(publication(&mut reader).1, 1);
    node.publish("c", "2");
    assert_eq!(publication(&mut reader).1, 2);
    node.publish("a", "3");
    let (id, last) = publication(&mut reader);
    assert_eq!(last, 3);
    drop(reader);
    for n in 4..100 {
        node.publish(if n % 3 == 0 { "c" } else { "a" }, &n.to_string());
    }
    let mut reader = resume(&id);
    let mut heard: Vec<u64> = (4..100).map(|_| publication(&mut reader).1.as_u64().unwrap()).collect();
    let of_c = heard.iter().filter(|n| *n % 3 == 0);
    assert!(of_c.is_sorted() && heard.iter().filter(|n| *n % 3 != 0).is_sorted(), "in order in each channel");
    heard.sort_unstable();
    assert_eq!(heard, (4..100).collect::<Vec<_>>());
    node.publish("a", "100");
    assert_eq!(publication(&mut reader).1, 100);
}

#[test]
fn many_readers_hear_all_in_order_with_their_own_ids() {
    let node = Node::start(2, with_tokens());
    let mut readers: Vec<_> = (0..20)
        .map(|n| {
            let mut reader = get(&node, &format!("/sse?channel=all&channel=own{n}"), "");
            reader.line();
            event(&mut reader);
            reader
        })
        .collect();
    for n in 0..200 {
        node.publish("all", &n.to_string());
    }
    let mut ids = std::collections::BTreeSet::new();
    for reader in &mut readers {
        let mut last = String::new();
        for n in 0..200 {
            let (id, data) = publication(reader);
            assert_eq!(data, n);
            last = id;
        }
        assert!(ids.insert(last), "the other channel differs");
    }
}

#[test]
fn a_slow_reader_is_cut_anywhere_and_loses_nothing() {
    let mut options = with_tokens();
    options.client.recovery_publications_max = 10_000;
    options.client.recovery_bytes_max = 64 << 20;
    let node = Node::start(1, options);
    let body = "x".repeat(5_000);
    let mut id = String::new();
    let mut next = 0;
    for round in 0..4 {
        let headers = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
        let mut reader = get(&node, "/sse?channel=a", &headers);
        reader.line();
        let (at, _) = event(&mut reader);
        id = at.unwrap();
        for n in round * 500..(round + 1) * 500 {
            node.publish("a", &json!({"n": n, "body": body}).to_string());
        }
        // It reads a part, and the rest fills the buffers until the socket blocks.
        for _ in 0..200 {
            let (at, data) = publication(&mut reader);
            assert_eq!(data["n"], next);
            (id, next) = (at, next + 1);
        }
    }
}

#[test]
fn a_connect_that_cannot_succeed_is_no_stream() {
    let mut options = with_tokens();
    options.client.allow_anonymous = false;
    let node = Node::start(1, options);
    let status = |target: &str| get(&node, target, "Origin: http://a\r\n").head;
    assert!(status("/sse?channel=a").starts_with("HTTP/1.1 400 "), "no token");
    let head = status("/sse?channel=a&token=wrong");
    assert!(head.starts_with("HTTP/1.1 401 ") && head.contains("Access-Control-Allow-Origin: http://a\r\n"), "{head}");
    let expired = signed(&json!({"sub": "u", "exp": 1}));
    assert!(status(&format!("/sse?channel=a&token={expired}")).starts_with("HTTP/1.1 401 "));
    let good = signed(&json!({"sub": "u"}));
    assert!(status(&format!("/sse?channel=a&token={good}")).starts_with("HTTP/1.1 200 "));
    let by_header = get(&node, "/sse?channel=a", &format!("Authorization: Bearer {good}\r\n"));
    assert!(by_header.head.starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_brings_a_token_that_cannot_be_read_is_nobody_and_not_anonymous() {
    let mut options = with_tokens();
    options.client.allow_anonymous = true;
    let node = Node::start(1, options);
    let status = |target: &str, headers: &str| get(&node, target, headers).head;
    assert!(status("/sse?channel=a&token=", "").starts_with("HTTP/1.1 200 "));
    assert!(status("/sse?channel=a&token=%FF", "").starts_with("HTTP/1.1 401 "));
    let good = signed(&json!({"sub": "u"}));
    let twice = format!("Authorization: Bearer {good}\r\n").repeat(2);
    assert!(status("/sse?channel=a", &twice).starts_with("HTTP/1.1 401 "));
    let closed = signed(&json!({"sub": "u", "channels": ["closed:x"]}));
    let mut reader = get(&node, "/sse?channel=a&token=", &format!("Authorization: bearer {closed}\r\n"));
    let (_, first) = event(&mut reader);
    assert!(first["connect"]["subs"]["closed:x"].is_object(), "{first}");
}

#[test]
fn a_one_way_stream_hears_pushes_and_its_end() {
    let node = Node::start(1, with_tokens());
    let token = signed(&json!({"sub": "u", "channels": ["a"]}));
    let body = json!({"token": token, "subs": {"b": {"recover": true, "offset": 0}}}).to_string();
    node.publish("b", "1");
    let head =
        format!("POST /connection/uni_http_stream HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = Response::ask(TcpStream::connect(node.address).unwrap(), (head + &body).as_bytes());
    let connect = client.message()["connect"].clone();
    assert!(connect["session"].is_string(), "a backend may name the session: {connect}");
    assert_eq!(connect["subs"]["b"]["publications"][0]["data"], 1);
    node.publish("a", "2");
    assert_eq!(client.message(), json!({"channel": "a", "pub": {"data": 2, "offset": 1}}));
    node.order(tidegate_core::Order {
        session: connect["session"].as_str().unwrap().into(),
        action: tidegate_core::Action::Disconnect { code: 3_503, reason: "force disconnect".into(), whitelist: vec![] },
        ..Default::default()
    });
    assert_eq!(client.message(), json!({"disconnect": {"code": 3_503, "reason": "force disconnect"}}));
}

#[test]
fn a_one_way_websocket_connects_by_message_or_by_query() {
    let node = Node::start(1, with_tokens());
    let open = |target: &str| {
        let socket = TcpStream::connect(node.address).unwrap();
        Client::asking(socket, target, None)
    };
    let mut by_message = open("/connection/uni_websocket");
    by_message.say(r#"{"subs":{"a":{}}}"#);
    assert!(by_message.message()["connect"]["subs"]["a"].is_object());
    let mut by_query = open("/connection/uni_websocket?cf_connect=%7B%22subs%22%3A%7B%22a%22%3A%7B%7D%7D%7D");
    assert!(by_query.message()["connect"]["subs"]["a"].is_object());
    node.publish("a", "1");
    for client in [&mut by_message, &mut by_query] {
        assert_eq!(client.message(), json!({"channel": "a", "pub": {"data": 1, "offset": 1}}));
    }
    by_query.say(r#"{"subs":{"a":{}}}"#);
    assert_eq!(by_query.message()["disconnect"]["code"], 3_501);
    assert_eq!(by_query.close_code(), 3_501);
    let mut wrong = open("/connection/uni_websocket");
    wrong.say(r#"{"token":"wrong"}"#);
    assert_eq!(wrong.close_code(), 3_500);
}

#[test]
fn clients_of_http_1_0_get_no_chunks() {
    use std::io::{BufRead as _, Read as _, Write as _};
    let node = Node::start(1, with_tokens());
    let mut socket = TcpStream::connect(node.address).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    socket.write_all(b"GET /sse?channel=a HTTP/1.0\r\n\r\n").unwrap();
    let mut reader = std::io::BufReader::new(socket);
    let mut lines = Vec::new();
    let mut next = |prefix: &str| loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "no {prefix:?} in {lines:?}");
        lines.push(line.clone());
        if line.starts_with(prefix) {
            return line;
        }
    };
    next("data: {\"connect\"");
    node.publish("a", "1");
    assert_eq!(next("data: "), "data: {\"channel\":\"a\",\"pub\":{\"data\":1,\"offset\":1}}\n");
    assert!(lines.iter().all(|line| !line.contains("chunked")), "{lines:?}");
    // Beside it the same in chunks.
    let mut other = get(&node, "/sse?channel=a", "");
    other.line();
    event(&mut other);
    node.publish("a", "2");
    assert_eq!(publication(&mut other).1, 2);
    node.order(tidegate_core::Order {
        action: tidegate_core::Action::Disconnect { code: 3_503, reason: "force disconnect".into(), whitelist: vec![] },
        ..Default::default()
    });
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("data: {\"disconnect\":{\"code\":3503,\"reason\":\"force disconnect\"}}\n\n"), "{rest:?}");
}

fn with_cache(auto: bool) -> CoreOptions {
    let mut options = with_tokens();
    options.namespaces.push((
        "cache".into(),
        NamespaceOptions {
            recovery_mode: tidegate_core::config::RecoveryMode::Cache,
            auto_cache_recover: auto,
            ..crate::rig::open_namespace()
        },
    ));
    options
}

#[test]
fn in_cache_mode_a_reader_begins_with_the_newest() {
    let node = Node::start(1, with_cache(true));
    for n in 1..=5 {
        node.publish("cache:a", &n.to_string());
    }
    let mut reader = get(&node, "/sse?channel=cache%3Aa", "");
    reader.line();
    let (_, connect) = event(&mut reader);
    assert_eq!(connect["connect"]["subs"]["cache:a"]["recovered"], true, "{connect}");
    assert_eq!(publication(&mut reader).1, 5, "the newest alone");
}

#[test]
fn in_cache_mode_an_id_of_another_epoch_loses_nothing() {
    let node = Node::start(1, with_cache(false));
    node.publish("cache:a", "1");
    let mut reader = get(&node, "/sse?channel=cache%3Aa", "");
    reader.line();
    let (id, _) = event(&mut reader);
    let id = id.unwrap();
    let hash = id.split('.').next().unwrap();
    drop(reader);
    let mut reader = get(&node, "/sse?channel=cache%3Aa", &format!("Last-Event-ID: {hash}.1000.old\r\n"));
    reader.line();
    event(&mut reader);
    node.publish("cache:a", "2");
    node.publish("cache:a", "3");
    let mut all = Vec::new();
    while all.last() != Some(&json!(3)) {
        all.push(publication(&mut reader).1);
    }
    assert_eq!(all, [json!(1), json!(2), json!(3)]);
}

#[test]
fn the_answer_to_a_large_connect_has_an_id() {
    let mut options = with_tokens();
    options.client.channel_limit = 300;
    let node = Node::start(1, options);
    let channels: Vec<String> = (0..200).map(|n| format!("{n}{}", "x".repeat(200))).collect();
    let query: Vec<String> = channels.iter().take(20).map(|c| format!("channel={c}")).collect();
    let body = json!({"token": signed(&json!({"sub": "u", "channels": channels}))}).to_string();
    let (query, length) = (query.join("&"), body.len());
    let request = format!("POST /sse?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut reader = Response::ask(TcpStream::connect(node.address).unwrap(), request.as_bytes());
    reader.line();
    let (id, _) = event(&mut reader);
    assert!(id.as_deref().is_some_and(|id| !id.is_empty()), "{id:?}");
}

/// A reader of the channels `c0`, `c1` and so on of a user who may have 300.
fn reader_of(node: &Node, channels: usize, headers: &str) -> Response {
    let channels: Vec<_> = (0..channels).map(|n| format!("channel=c{n}")).collect();
    get(node, &format!("/sse?{}&token={}", channels.join("&"), signed(&json!({"sub": "u"}))), headers)
}

fn room_for_300() -> CoreOptions {
    let mut options = with_tokens();
    options.client.channel_limit = 300;
    options
}

#[test]
fn an_id_brings_a_reader_back_in_200_channels() {
    let node = Node::start(1, room_for_300());
    let mut reader = reader_of(&node, 200, "");
    reader.line();
    let id = event(&mut reader).0.unwrap();
    drop(reader);
    for n in 0..200 {
        node.publish(&format!("c{n}"), &n.to_string());
    }
    let mut reader = reader_of(&node, 200, &format!("Last-Event-ID: {id}\r\n"));
    reader.line();
    let (_, connect) = event(&mut reader);
    let recovered = |sub: &Value| sub["recovered"] == true;
    assert_eq!(connect["connect"]["subs"].as_object().unwrap().values().filter(|sub| recovered(sub)).count(), 200);
    let mut heard: Vec<u64> = (0..200).map(|_| publication(&mut reader).1.as_u64().unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..200).collect::<Vec<_>>());
}

#[test]
fn a_reader_has_no_more_channels_than_its_id_has_room_for() {
    let node = Node::start(1, room_for_300());
    let refused = reader_of(&node, 201, "").head;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let mut reader = reader_of(&node, 200, "");
    reader.line();
    event(&mut reader);
    let ordered = tidegate_core::OrderedSubscription { channel: "more".into(), ..Default::default() };
    let action = tidegate_core::Action::Subscribe(Box::new(ordered));
    node.order(tidegate_core::Order { user: "u".into(), action, ..Default::default() });
    assert_eq!(event(&mut reader).1["disconnect"]["code"], 3_505);
    // Who is told no ids needs no room in them.
    let subs: serde_json::Map<_, _> = (0..201).map(|n| (format!("c{n}"), json!({}))).collect();
    let mut other = Client::asking(TcpStream::connect(node.address).unwrap(), "/connection/uni_websocket", None);
    other.say(&json!({ "subs": subs }).to_string());
    assert_eq!(other.message()["connect"]["subs"].as_object().unwrap().len(), 201);
}

#[test]
fn a_strict_namespace_lets_a_reader_come_back_from_before_the_window() {
    let mut options = with_tokens();
    options.window.payload_bytes_max = 100_000;
    options.client.recovery_bytes_max = 10_000_000;
    options.client.recovery_publications_max = 10_000;
    options.namespaces.push((
        "strict".into(),
        NamespaceOptions { on_lag: tidegate_core::config::OnLag::Disconnect, ..crate::rig::open_namespace() },
    ));
    let node = Node::start(1, options);
    let mut reader = get(&node, "/sse?channel=strict%3Aa", "");
    reader.line();
    let id = event(&mut reader).0.unwrap();
    drop(reader);
    node.until("it is gone", |hub| hub.report().clients == 0);
    for n in 0..400 {
        node.publish("strict:a", &format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(1000)));
    }
    let mut reader = get(&node, "/sse?channel=strict%3Aa", &format!("Last-Event-ID: {id}\r\n"));
    reader.line();
    let (_, connect) = event(&mut reader);
    assert_eq!(connect["connect"]["subs"]["strict:a"]["recovered"], true, "{connect}");
    let (_, next) = event(&mut reader);
    assert_eq!(next["pub"]["data"]["n"], 0, "{next}");
}
