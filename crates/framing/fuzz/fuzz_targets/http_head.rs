//! Heads of requests and answers: what was read from their start stays true when more comes.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use tidegate_framing::http::{Head, query_value, text_response};
use tidegate_framing::websocket::Origins;
use tidegate_framing::websocket::handshake::{self, Answer};

static ORIGINS: LazyLock<Origins> =
    LazyLock::new(|| Origins::parse(["https://*.a.example", "http://localhost:*"]).expect("patterns"));

fn look_at(head: &Head<'_>) {
    let _ = (head.method(), head.path(), head.header("host"), head.list_has("connection", "upgrade"));
    if let Some(query) = head.query() {
        assert!(query_value(query, "a").is_none_or(|value| value.len() <= query.len()));
    }
    match handshake::check(head) {
        Ok(upgrade) => {
            let _ = ORIGINS.allows(upgrade.origin(), upgrade.host());
            let response = upgrade.response(upgrade.choose(&["centrifuge-json", "centrifuge-protobuf"]));
            assert!(response.starts_with(b"HTTP/1.1 101 "));
        }
        Err(error) => assert!(error.response(SystemTime::UNIX_EPOCH).starts_with(b"HTTP/1.1 ")),
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = Head::parse(data);
    match &whole {
        Ok(Some(head)) => {
            assert!(head.bytes() <= data.len());
            look_at(head);
            let again = Head::parse(&data[..head.bytes()]).expect("the same head").expect("whole");
            assert_eq!(again.headers().collect::<Vec<_>>(), head.headers().collect::<Vec<_>>());
        }
        Ok(None) => {}
        Err(error) => {
            let text = text_response(SystemTime::UNIX_EPOCH, error.status(), "", &error.to_string());
            assert!(text.starts_with(b"HTTP/1.1 "));
        }
    }
    match Head::parse(&data[..data.len() / 2]) {
        Ok(Some(half)) => assert_eq!(whole.expect("it was whole").expect("it was whole").bytes(), half.bytes()),
        Ok(None) => {}
        Err(_) => assert!(whole.is_err(), "a fault went away"),
    }
    if let Answer::Open(size) = handshake::answer(data, *b"the sample nonce", Some("centrifuge-json")) {
        assert!(size <= data.len());
    }
});
