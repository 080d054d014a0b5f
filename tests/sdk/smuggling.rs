//! Requests that two parsers could read differently: a proxy in front sees one request where the server sees two, and the
//! second is whoever's. RFC 9112 sections 6.3, 7.1 and 11.2.
//!
//! Each shape hides a publish. Whatever is answered, the hidden request must not be carried out, and the node serves on.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::node::{Node, Options, post};
use tidegate_testkit::ports::connect;
use tidegate_tests::output_dir;

const HIDDEN: &str =
    "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 32\r\n\r\n{\"channel\":\"hidden\",\"data\":true}";

/// Paths that a shard answers, that it opens streams on, and that the HTTP side answers.
const PATHS: [&str; 5] =
    ["/api/publish", "/api/info", "/connection/http_stream", "/connection/uni_http_stream", "/emulation"];

/// Heads and what stands before the hidden request, by name. `{path}` is filled in.
const SHAPES: [(&str, &str); 17] = [
    ("both ways to end a body", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("both, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}"),
    ("two lengths in a list", "Content-Length: 2, 200\r\n\r\n{}"),
    ("a length with a sign", "Content-Length: +2\r\n\r\n{}"),
    ("a length in hexadecimal", "Content-Length: 0x2\r\n\r\n{}"),
    ("a length that is too large", "Content-Length: 18446744073709551618\r\n\r\n{}"),
    ("a space before the colon", "Content-Length : 2\r\n\r\n{}"),
    ("a folded line", "Content-Length:\r\n 2\r\n\r\n{}"),
    ("a coding that is none", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked is not the last coding", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("a coding with a vertical tab", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
    ("a chunk with a sign", "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n"),
    ("a chunk that is too large", "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n"),
    ("a chunk without an end", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n"),
    ("a byte of zero", "X: \u{0}\r\nContent-Length: 2\r\n\r\n{}"),
    ("a carriage return alone", "X: a\rContent-Length: 200\r\nContent-Length: 2\r\n\r\n{}"),
];

/// What is answered until the end, or until nothing comes any more.
fn answers(node: &Node, request: &str) -> Result<String> {
    let mut socket = connect(node.port())?;
    socket.set_read_timeout(Some(Duration::from_millis(150)))?;
    socket.write_all(request.as_bytes())?;
    let mut answers = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut buffer) {
        answers.extend_from_slice(&buffer[..n]);
    }
    Ok(String::from_utf8_lossy(&answers).into_owned())
}

#[test]
fn no_request_hides_in_another() -> Result<()> {
    let node = Node::start(Options::dev("node-smuggling", "memory:", &output_dir("smuggling")?))?;
    // What is not hidden is carried out: so the same bytes would be, if somebody saw them as a request.
    let open = format!("POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{{}}{HIDDEN}")
        .replace("hidden", "opened");
    answers(&node, &open)?;
    let history = post(node.port(), "/api/history", r#"{"channel":"opened","limit":10}"#)?;
    ensure!(history.contains("\"data\":true"), "{history}");
    for path in PATHS {
        for (name, shape) in SHAPES {
            let request = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{shape}{HIDDEN}");
            let answers = answers(&node, &request)?;
            let history = post(node.port(), "/api/history", r#"{"channel":"hidden","limit":10}"#)
                .with_context(|| format!("after {name} on {path}"))?;
            let kept = history.contains("\"publications\":[]");
            ensure!(kept, "{name} on {path}: the hidden request was carried out; answered with {answers:?}");
            ensure!(
                !answers.starts_with("HTTP/1.1 200") || answers.matches("HTTP/1.1 ").count() <= 1,
                "{name} on {path}: {answers:?}"
            );
        }
    }
    Ok(())
}
