//! Section 4.1: the server's answer as a client reads it.

use tidegate_framing::http::Head;
use tidegate_framing::websocket::handshake::{self, Answer};

use crate::case::{Case, NONCE};

const GOOD: [(&str, &str); 3] =
    [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];

/// The good answer with some headers replaced (an empty value takes one out) or added.
fn answer(line: &str, changes: &[(&str, &str)]) -> String {
    let value = |name: &str| changes.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let kept = GOOD.iter().map(|(name, good)| (*name, value(name).unwrap_or(good)));
    let added = changes.iter().filter(|(name, _)| GOOD.iter().all(|(n, _)| n != name)).copied();
    let headers = kept.chain(added).filter(|(_, value)| !value.is_empty());
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n")
}

fn with(changes: &[(&str, &str)]) -> String {
    answer("HTTP/1.1 101 Switching Protocols", changes)
}

pub(crate) fn cases() -> Vec<Case> {
    [opens(), refused(), other_statuses(), protocols(), requests()].into_iter().flatten().collect()
}

fn open(name: &str, text: String) -> Case {
    let size = text.len();
    Case::answer(name, text, Answer::Open(size))
}

fn opens() -> Vec<Case> {
    let behind = with(&[]);
    let size = behind.len();
    vec![
        open("4.1 an answer opens the connection", with(&[])),
        open("4.1 an answer with Upgrade in capitals", with(&[("Upgrade", "WebSocket")])),
        open("4.1 an answer with Connection in small letters", with(&[("Connection", "upgrade")])),
        open("4.1 an answer with Connection in a list", with(&[("Connection", "keep-alive, Upgrade")])),
        open("4.1 an answer with headers of no concern", with(&[("Server", "x"), ("Date", "today")])),
        open("4.1 an answer without a text for its status", answer("HTTP/1.1 101", &[])),
        Case::answer("4.1 frames behind the answer are not of it", behind + "\u{1}\u{2}", Answer::Open(size)),
        Case::answer("4.1 an answer that is not whole", "HTTP/1.1 101 Switching Protocols\r\n", Answer::Partial),
    ]
}

fn refused() -> Vec<Case> {
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let lists: [(&str, &[(&str, &str)]); 12] = [
        ("without Upgrade", &[("Upgrade", "")]),
        ("with another Upgrade", &[("Upgrade", "h2c")]),
        ("with an Upgrade that only starts so", &[("Upgrade", "websocket2")]),
        ("without Connection", &[("Connection", "")]),
        ("with another Connection", &[("Connection", "close")]),
        ("without Sec-WebSocket-Accept", &[("Sec-WebSocket-Accept", "")]),
        ("with the answer to another key", &[("Sec-WebSocket-Accept", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=")]),
        ("with the key itself", &[("Sec-WebSocket-Accept", "dGhlIHNhbXBsZSBub25jZQ==")]),
        ("with its letters in another case", &[("Sec-WebSocket-Accept", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=")]),
        ("with two Sec-WebSocket-Accept", &[("sec-websocket-accept", accept)]),
        ("with an extension nobody asked for", &[("Sec-WebSocket-Extensions", "permessage-deflate")]),
        ("with a sub-protocol nobody asked for", &[("Sec-WebSocket-Protocol", "chat")]),
    ];
    let case =
        |(what, changes)| Case::answer(format!("4.1 an answer {what} is refused"), with(changes), Answer::Refused(0));
    lists.map(case).into()
}

fn other_statuses() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in [200, 301, 400, 401, 403, 404, 426, 429, 503] {
        let text = answer(&format!("HTTP/1.1 {status} Other"), &[]);
        cases.push(Case::answer(format!("4.1 an answer of {status} opens nothing"), text, Answer::Refused(status)));
    }
    for (what, bytes) in [("SSH", "SSH-2.0-x\r\n"), ("a frame", "\u{1}\u{2}"), ("HTTP/2", "HTTP/2 101 x\r\n\r\n")] {
        let name = format!("4.1 what answers with {what} is no server");
        cases.push(Case::answer(name, bytes, Answer::Refused(0)));
    }
    cases
}

fn protocols() -> Vec<Case> {
    let chosen = |value: &str| with(&[("Sec-WebSocket-Protocol", value)]);
    let refused = |what: &str, text: String| {
        let name = format!("4.1 an answer that chooses {what} is refused");
        Case::answer(name, text, Answer::Refused(0)).offered("chat")
    };
    vec![
        open("4.1 an answer that chooses the sub-protocol", chosen("chat")).offered("chat"),
        open("4.1 an answer that chooses no sub-protocol", with(&[])).offered("chat"),
        refused("another sub-protocol", chosen("superchat")),
        refused("two sub-protocols", chosen("chat, chat")),
        refused(
            "a sub-protocol twice",
            with(&[("Sec-WebSocket-Protocol", "chat"), ("sec-websocket-protocol", "chat")]),
        ),
    ]
}

/// A client's request is one that the server takes.
fn requests() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, target, protocol) in
        [("plain", "/chat", None), ("with a query", "/chat?a=b", None), ("with a sub-protocol", "/", Some("chat"))]
    {
        let bytes = handshake::request("example.com:81", target, NONCE, protocol);
        let offer = protocol.map_or(String::new(), |p| format!("Sec-WebSocket-Protocol: {p}\r\n"));
        let expected = format!(
            "GET {target} HTTP/1.1\r\nHost: example.com:81\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
        );
        cases.push(Case::written(format!("4.1 a request, {what}"), bytes, expected.into_bytes()));
    }
    cases.push(both_ends());
    cases
}

/// What this server answers to this client opens the connection.
fn both_ends() -> Case {
    let request = handshake::request("example.com", "/", NONCE, Some("chat"));
    let head = Head::parse(&request).expect("a request").expect("whole");
    let upgrade = handshake::check(&head).expect("an upgrade");
    let response = upgrade.response(upgrade.choose(&["chat"]));
    let size = response.len();
    Case::answer("4.1 both ends understand each other", response, Answer::Open(size)).offered("chat")
}
