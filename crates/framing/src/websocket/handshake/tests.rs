use super::*;

const GOOD: &[(&str, &str)] = &[
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// The good request with some headers replaced (an empty value removes one) or added.
fn with(changes: &[(&str, &str)]) -> String {
    let mut text = String::from("GET /ws HTTP/1.1\r\n");
    let kept = GOOD.iter().filter(|(name, _)| changes.iter().all(|(n, _)| n != name));
    for (name, value) in kept.chain(changes.iter().filter(|(_, value)| !value.is_empty())) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

fn outcome(request: &str) -> Result<String, HandshakeError> {
    let head = Head::parse(request.as_bytes()).unwrap().unwrap();
    check(&head).map(|upgrade| String::from_utf8(upgrade.response(None)).unwrap())
}

#[test]
fn section_1_3_example_key() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let response = outcome(&with(&[])).unwrap();
    assert!(response.starts_with("HTTP/1.1 101 "));
    assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(response.ends_with("\r\n\r\n"));
}

#[test]
fn section_4_2_1_what_is_accepted() {
    for changes in [
        &[("Upgrade", "WebSocket")][..],
        &[("Upgrade", "foo, websocket")],
        &[("Connection", "keep-alive, upgrade")],
        &[("Connection", ""), ("connection", "keep-alive"), ("CONNECTION", "Upgrade")],
        &[("Origin", "https://example.com")],
    ] {
        assert!(outcome(&with(changes)).is_ok(), "{changes:?}");
    }
}

#[test]
fn section_4_2_1_what_is_refused() {
    use HandshakeError as E;
    type Case<'a> = (&'a [(&'a str, &'a str)], E, u16);
    let cases: &[Case<'_>] = &[
        (&[("Upgrade", "")], E::NotAnUpgrade, 426),
        (&[("Upgrade", "h2c")], E::NotAnUpgrade, 426),
        (&[("Connection", "")], E::Connection, 400),
        (&[("Connection", "keep-alive")], E::Connection, 400),
        (&[("Sec-WebSocket-Version", "")], E::Version, 426),
        (&[("Sec-WebSocket-Version", "8")], E::Version, 426),
        (&[("Sec-WebSocket-Version", "13, 8")], E::Version, 426),
        (&[("Sec-WebSocket-Key", "")], E::Key, 400),
        (&[("Sec-WebSocket-Key", "c2hvcnQ=")], E::Key, 400),
        (&[("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!==")], E::Key, 400),
        (&[("Host", "")], E::Host, 400),
    ];
    for (changes, error, status) in cases {
        assert_eq!(outcome(&with(changes)), Err(*error), "{changes:?}");
        assert_eq!(error.status().0, *status);
        let response = String::from_utf8(error.response(SystemTime::UNIX_EPOCH)).unwrap();
        assert!(response.contains(&error.to_string()), "{response}");
    }
    assert_eq!(outcome(&with(&[]).replacen("GET", "POST", 1)), Err(E::Method));
    assert_eq!(outcome(&with(&[]).replacen("HTTP/1.1", "HTTP/1.0", 1)), Err(E::HttpVersion));
    let doubled = with(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
    assert_eq!(outcome(&doubled), Err(E::Key));
}

#[test]
fn section_4_4_a_wrong_version_is_told_the_right_one() {
    let response = String::from_utf8(HandshakeError::Version.response(SystemTime::UNIX_EPOCH)).unwrap();
    assert!(response.contains("\r\nConnection: close, Upgrade\r\n") && response.contains("\r\nUpgrade: websocket\r\n"));
    assert!(response.starts_with("HTTP/1.1 426 ") && response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn section_4_2_2_the_client_prefers_among_the_supported() {
    let request = with(&[("Sec-WebSocket-Protocol", "x, centrifuge-protobuf, centrifuge-json")]);
    let head = Head::parse(request.as_bytes()).unwrap().unwrap();
    let upgrade = check(&head).unwrap();
    assert_eq!(upgrade.choose(&["centrifuge-json", "centrifuge-protobuf"]), Some("centrifuge-protobuf"));
    assert_eq!(upgrade.choose(&["other"]), None);
    let response = String::from_utf8(upgrade.response(Some("centrifuge-json"))).unwrap();
    assert!(response.contains("\r\nSec-WebSocket-Protocol: centrifuge-json\r\n"));
}

#[test]
fn section_10_2_an_unreadable_origin_is_an_origin() {
    let origins = crate::websocket::Origins::default();
    for (changes, allowed) in [
        (&[][..], true),
        (&[("Origin", "http://example.com")], true),
        (&[("Origin", "http://evil.org")], false),
        (&[("Origin", "http://example.com"), ("origin", "http://evil.org")], false),
        (&[("Origin", "\u{e9}")], false),
    ] {
        let request = with(changes);
        let head = Head::parse(request.as_bytes()).unwrap().unwrap();
        let upgrade = check(&head).unwrap();
        assert_eq!(origins.allows(upgrade.origin(), upgrade.host()), allowed, "{changes:?}");
    }
}

#[test]
fn section_4_1_both_ends_understand_each_other() {
    let nonce = [7; 16];
    let request = request("h:1", "/ws?a=b", nonce, Some("p"));
    let head = Head::parse(&request).unwrap().unwrap();
    let upgrade = check(&head).unwrap();
    assert_eq!(upgrade.protocols(), ["p"]);
    let mut response = upgrade.response(upgrade.choose(&["p"]));
    let size = response.len();
    for n in 0..size {
        assert_eq!(answer(&response[..n], nonce, Some("p")), Answer::Partial);
    }
    response.extend_from_slice(b"frames");
    assert_eq!(answer(&response, nonce, Some("p")), Answer::Open(size));
    assert_eq!(answer(&response, [8; 16], Some("p")), Answer::Refused(0));
    assert_eq!(answer(&HandshakeError::Origin.response(SystemTime::UNIX_EPOCH), nonce, None), Answer::Refused(403));
    assert_eq!(answer(b"SSH-2.0\r\n", nonce, None), Answer::Refused(0));
}

#[test]
fn section_4_1_a_client_takes_no_answer_that_it_did_not_ask_for() {
    let nonce = *b"the sample nonce";
    let good = String::from_utf8(response("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Some("p"))).unwrap();
    assert_eq!(answer(good.as_bytes(), nonce, Some("p")), Answer::Open(good.len()));
    assert_eq!(answer(good.as_bytes(), nonce, Some("q")), Answer::Refused(0));
    assert_eq!(answer(good.as_bytes(), nonce, None), Answer::Refused(0));
    for (line, instead) in [
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n"),
        ("Connection: Upgrade\r\n", ""),
        ("Connection: Upgrade\r\n", "Connection: close\r\n"),
        ("Sec-WebSocket-Protocol: p\r\n", "Sec-WebSocket-Protocol: p\r\nSec-WebSocket-Extensions: x\r\n"),
        ("Sec-WebSocket-Protocol: p\r\n", "Sec-WebSocket-Protocol: p\r\nSec-WebSocket-Protocol: p\r\n"),
    ] {
        let text = good.replacen(line, instead, 1);
        assert_ne!(text, good);
        assert_eq!(answer(text.as_bytes(), nonce, Some("p")), Answer::Refused(0), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn noise_in_headers_never_panics(
        values in proptest::collection::vec("[ -~]{0,40}", 6),
        cut in 0usize..400,
    ) {
        let names = ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin", "Host"];
        let changes: Vec<_> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        let request = with(&changes);
        if let Ok(Some(head)) = Head::parse(&request.as_bytes()[..cut.min(request.len())]) {
            let origins = crate::websocket::Origins::parse(["https://*.a*b:*"]).unwrap();
            match check(&head) {
                Ok(upgrade) => drop(origins.allows(upgrade.origin(), upgrade.host())),
                Err(error) => {
                    let response = error.response(SystemTime::UNIX_EPOCH);
                    assert!(response.starts_with(b"HTTP/1.1 4") || error.status().0 == 505);
                }
            }
        }
    }
}
