//! Sections 4.2 and 10.2: a client's request as the server reads it, with its headers varied one by one.

use crate::case::Case;

/// Names and values of headers.
type Headers<'a> = &'a [(&'a str, &'a str)];

const GOOD: [(&str, &str); 5] = [
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// The good request with some headers replaced, in their place, or added behind them.
fn request(line: &str, changes: Headers<'_>) -> String {
    let value = |name: &str| changes.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let kept = GOOD.iter().map(|(name, good)| (*name, value(name).unwrap_or(good)));
    let added = changes.iter().filter(|(name, _)| GOOD.iter().all(|(n, _)| n != name)).copied();
    let headers = kept.chain(added).filter(|(_, value)| *value != GONE);
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n")
}

/// Takes a header out of the request.
const GONE: &str = "gone";

fn with(name: &str, changes: Headers<'_>, status: u16) -> Case {
    Case::request(name, request("GET /chat HTTP/1.1", changes), status)
}

pub(crate) fn cases() -> Vec<Case> {
    [answers(), accepted(), refused(), keys(), lines(), heads(), protocols(), origins()].into_iter().flatten().collect()
}

fn answers() -> Vec<Case> {
    vec![
        with("4.2.2 the answer opens the connection", &[], 101)
            .with_line("Upgrade: websocket")
            .with_line("Connection: Upgrade")
            .with_line("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .without("sec-websocket-protocol")
            .without("sec-websocket-extensions"),
        with("4.2.2 another key gets another answer", &[("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")], 101)
            .with_line("Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
        with("4.4 a wrong version is told the right one", &[("Sec-WebSocket-Version", "25")], 426)
            .with_line("Sec-WebSocket-Version: 13"),
        with("4.2.1 a request without an upgrade is told to upgrade", &[("Upgrade", GONE)], 426)
            .with_line("Upgrade: websocket"),
        Case::request("4.2.1 another method is told the right one", request("POST /chat HTTP/1.1", &[]), 405)
            .with_line("Allow: GET"),
        with(
            "9.1 an extension that is offered is not taken",
            &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")],
            101,
        )
        .without("sec-websocket-extensions"),
    ]
}

fn accepted() -> Vec<Case> {
    let lists: [(&str, Headers<'_>); 13] = [
        ("Upgrade in capitals", &[("Upgrade", "WEBSOCKET")]),
        ("Upgrade in a list", &[("Upgrade", "h2c, websocket")]),
        ("Upgrade in two headers", &[("Upgrade", "h2c"), ("upgrade", "websocket")]),
        ("Connection in small letters", &[("Connection", "upgrade")]),
        ("Connection in a list", &[("Connection", "keep-alive, Upgrade")]),
        ("Connection in a list without blanks", &[("Connection", "keep-alive,Upgrade,x")]),
        ("Connection in a list with empty members", &[("Connection", ",, Upgrade ,")]),
        ("Connection in two headers", &[("Connection", "keep-alive"), ("connection", "Upgrade")]),
        ("blanks around the version", &[("Sec-WebSocket-Version", "  13  ")]),
        ("blanks around the key", &[("Sec-WebSocket-Key", "   dGhlIHNhbXBsZSBub25jZQ==\t")]),
        ("a host with a port", &[("Host", "example.com:8000")]),
        ("headers of no concern", &[("Cookie", "a=b"), ("X-Any", "1"), ("User-Agent", "z")]),
        (
            "header names in small letters",
            &[
                ("Sec-WebSocket-Key", GONE),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Version", GONE),
                ("SEC-WEBSOCKET-VERSION", "13"),
            ],
        ),
    ];
    lists.map(|(what, changes)| with(&format!("4.2.1 {what}"), changes, 101)).into()
}

fn refused() -> Vec<Case> {
    let lists: [(&str, Headers<'_>, u16); 14] = [
        ("no Host", &[("Host", GONE)], 400),
        ("two Hosts", &[("host", "other.com")], 400),
        ("no Upgrade", &[("Upgrade", GONE)], 426),
        ("an empty Upgrade", &[("Upgrade", "")], 426),
        ("another Upgrade", &[("Upgrade", "h2c")], 426),
        ("an Upgrade that only starts so", &[("Upgrade", "websocket2")], 426),
        ("no Connection", &[("Connection", GONE)], 400),
        ("a Connection that is kept", &[("Connection", "keep-alive")], 400),
        ("a Connection that only starts so", &[("Connection", "Upgrade2")], 400),
        ("no version", &[("Sec-WebSocket-Version", GONE)], 426),
        ("an empty version", &[("Sec-WebSocket-Version", "")], 426),
        ("an old version", &[("Sec-WebSocket-Version", "8")], 426),
        ("two versions in a list", &[("Sec-WebSocket-Version", "13, 8")], 426),
        ("two versions in headers", &[("sec-websocket-version", "13")], 426),
    ];
    lists.map(|(what, changes, status)| with(&format!("4.2.1 {what} is refused"), changes, status)).into()
}

fn keys() -> Vec<Case> {
    let lists = [
        ("no key", GONE),
        ("an empty key", ""),
        ("a key of 15 bytes", "YWJjZGVmZ2hpamtsbW5v"),
        ("a key of 17 bytes", "YWJjZGVmZ2hpamtsbW5vcHE="),
        ("a key without its padding", "dGhlIHNhbXBsZSBub25jZQ"),
        ("a key with too much padding", "dGhlIHNhbXBsZSBub25jZQ==="),
        ("a key with bits beyond its end", "dGhlIHNhbXBsZSBub25jZR=="),
        ("a key in another alphabet", "dGhlIHNhbXBsZSBub25j_-=="),
        ("a key that is no base64", "!!!!!!!!!!!!!!!!!!!!!!=="),
        ("a key with a blank inside", "dGhlIHNhbXBs ZSBub25jZQ=="),
        ("two keys in a list", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut cases: Vec<Case> =
        lists.map(|(what, key)| with(&format!("4.2.1 {what} is refused"), &[("Sec-WebSocket-Key", key)], 400)).into();
    let twice = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    cases.push(with("11.3.1 two keys in headers are refused", &twice, 400));
    cases
}

fn lines() -> Vec<Case> {
    let lists = [
        ("a request by POST is refused", "POST /chat HTTP/1.1", 405),
        ("a request by PUT is refused", "PUT /chat HTTP/1.1", 405),
        ("a request by HEAD is refused", "HEAD /chat HTTP/1.1", 405),
        ("a method in small letters is another", "get /chat HTTP/1.1", 405),
        ("HTTP/1.0 is refused", "GET /chat HTTP/1.0", 505),
        ("HTTP/2.0 is refused", "GET /chat HTTP/2.0", 505),
        ("HTTP/0.9 is refused", "GET /chat", 400),
        ("another protocol is refused", "SSH-2.0-x", 400),
        ("a target with a query", "GET /chat?a=b&c HTTP/1.1", 101),
        ("a target that is the root", "GET / HTTP/1.1", 101),
        ("a target that is an address", "GET http://example.com/chat HTTP/1.1", 101),
    ];
    lists.map(|(what, line, status)| Case::request(format!("4.2.1 {what}"), request(line, &[]), status)).into()
}

/// The head as RFC 9112 wants it, which section 4.2.1 refers to.
fn heads() -> Vec<Case> {
    let good = request("GET /chat HTTP/1.1", &[]);
    let many = |count: usize| format!("{}{}\r\n", good.trim_end_matches("\r\n"), "\r\nA: b".repeat(count) + "\r\n");
    vec![
        Case::request("4.2.1 frames that follow at once are not of the head", good.clone() + "\u{1}\u{2}", 101),
        Case::request("4.2.1 empty lines before the request", format!("\r\n\r\n{good}"), 101),
        Case::request("4.2.1 lines that end without a carriage return", good.replace("\r\n", "\n"), 101),
        Case::request("4.2.1 as many headers as there may be", many(59), 101),
        Case::request("4.2.1 a header more is refused", many(60), 431),
        Case::request("4.2.1 a blank before the colon is refused", good.replacen("Host:", "Host :", 1), 400),
        Case::request("4.2.1 a folded header is refused", good.replacen("Upgrade\r\n", "x,\r\n Upgrade\r\n", 1), 400),
        Case::request("4.2.1 a zero in a header is refused", good.replacen("example", "exa\0mple", 1), 400),
        Case::request("4.2.1 a header without a colon is refused", good.replacen("Host: ", "Host ", 1), 400),
    ]
}

fn protocols() -> Vec<Case> {
    let name = "Sec-WebSocket-Protocol";
    let chosen = |what: &str, offers: Headers<'_>, line: &str| {
        with(&format!("4.2.2 {what}"), offers, 101).with_line(&format!("{name}: {line}"))
    };
    let none = |what: &str, offer: &str| {
        with(&format!("4.2.2 {what} chooses none"), &[(name, offer)], 101).without("sec-websocket-protocol")
    };
    let (json, protobuf) = ("centrifuge-json", "centrifuge-protobuf");
    vec![
        chosen("a sub-protocol", &[(name, json)], json),
        chosen("the client's first comes first", &[(name, "centrifuge-protobuf, centrifuge-json")], protobuf),
        chosen("one among unknown ones", &[(name, "x,y, centrifuge-json")], json),
        chosen("one of two headers", &[(name, "x"), ("sec-websocket-protocol", protobuf)], protobuf),
        none("an unknown sub-protocol", "chat"),
        none("an empty list of sub-protocols", ""),
        none("a sub-protocol in other letters", "Centrifuge-JSON"),
        none("a sub-protocol that only starts so", "centrifuge-json2"),
    ]
}

fn origins() -> Vec<Case> {
    let lists: [(&str, Headers<'_>, u16); 9] = [
        ("its own page", &[("Origin", "http://example.com")], 101),
        ("its own page over TLS", &[("Origin", "https://example.com")], 101),
        ("its own page in capitals", &[("Origin", "HTTP://EXAMPLE.COM")], 101),
        ("another page", &[("Origin", "http://evil.org")], 403),
        ("a page of another port", &[("Origin", "http://example.com:81")], 403),
        ("a page of a longer name", &[("Origin", "http://example.com.evil.org")], 403),
        ("a page without an origin", &[("Origin", "null")], 403),
        ("an empty origin", &[("Origin", "")], 403),
        ("two origins", &[("Origin", "http://example.com"), ("origin", "http://example.com")], 403),
    ];
    lists.map(|(what, changes, status)| with(&format!("10.2 a request of {what}"), changes, status)).into()
}
