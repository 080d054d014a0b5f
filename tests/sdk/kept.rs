//! One connection carries requests of every kind, as browsers and proxies send them: what is served elsewhere comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::output_dir;

struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(node: &Node) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", node.port()))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(BufReader::new(socket)))
    }

    fn send(&mut self, request: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(request.as_bytes())?)
    }

    /// The head of the next answer.
    fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(self.0.read_line(&mut head)? > 0, "the connection ended after {head:?}");
        }
        Ok(head.to_ascii_lowercase())
    }

    /// Whether nothing comes for a moment.
    fn is_quiet(&mut self) -> Result<bool> {
        let socket = self.0.get_ref();
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let quiet = socket.peek(&mut [0]).is_err();
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(quiet)
    }

    /// The next answer that ends by itself: head and body.
    fn answer(&mut self) -> Result<(String, String)> {
        let head = self.head()?;
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(Ok(0), str::parse)?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((head, String::from_utf8(body)?))
    }

    /// The next chunk.
    fn chunk(&mut self) -> Result<String> {
        let mut length = String::new();
        self.0.read_line(&mut length)?;
        let mut chunk = vec![0; usize::from_str_radix(length.trim_end(), 16)? + 2];
        self.0.read_exact(&mut chunk)?;
        String::from_utf8(chunk).context("text")
    }
}

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

fn node(name: &str) -> Result<Node> {
    Node::start(Options::dev("node-1", "memory:", &output_dir(name)?))
}

#[test]
fn a_stream_opens_on_a_connection_that_served_other_requests() -> Result<()> {
    let node = node("kept-stream")?;
    let length = CONNECT.len();
    let plain =
        format!("POST /connection/http_stream HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{CONNECT}");
    // What has no length before it comes is given one.
    let chunked = format!(
        "POST /connection/http_stream HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{CONNECT}\r\n0\r\n\r\n"
    );
    let events =
        "GET /connection/sse?cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D HTTP/1.1\r\nhost: a\r\n\r\n";
    for request in [&*plain, &*chunked, events] {
        let mut kept = Kept::open(&node)?;
        for _ in 0..2 {
            kept.send("GET /health HTTP/1.1\r\nhost: a\r\n\r\n")?;
            ensure!(kept.answer()?.0.starts_with("http/1.1 200 "));
        }
        kept.send(request)?;
        let head = kept.head()?;
        ensure!(head.starts_with("http/1.1 200 ok") && head.contains("transfer-encoding: chunked"), "{head}");
        let first = kept.chunk()?;
        let reply = if first.trim() == ":" { kept.chunk()? } else { first };
        ensure!(reply.contains(r#"{"id":1,"connect":{"client""#), "{reply}");
    }
    Ok(())
}

#[test]
fn a_websocket_opens_on_a_connection_that_served_other_requests() -> Result<()> {
    let node = node("kept-websocket")?;
    let mut kept = Kept::open(&node)?;
    kept.send("POST /api/info HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")?;
    ensure!(kept.answer()?.1.contains("nodes"));
    kept.send(concat!(
        "GET /connection/websocket HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ))?;
    let head = kept.head()?;
    ensure!(head.starts_with("http/1.1 101 "), "{head}");
    Ok(())
}

#[test]
fn pages_of_other_origins_are_told_what_they_may() -> Result<()> {
    let node = node("kept-origins")?;
    let host = format!("127.0.0.1:{}", node.port());
    let mut kept = Kept::open(&node)?;
    for (origin, status) in [(format!("http://{host}"), "204"), ("https://evil.example".to_owned(), "403")] {
        kept.send(&format!(
            "OPTIONS /emulation HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\naccess-control-request-headers: content-type\r\n\r\n"
        ))?;
        let (head, _) = kept.answer()?;
        ensure!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        let allowed = head.contains(&format!("access-control-allow-origin: {origin}"));
        ensure!(allowed == (status == "204") && head.contains("access-control-allow-headers") == allowed, "{head}");
    }
    Ok(())
}

/// A proxy sends the next request of anybody over a connection whose answer did not say that it ends.
#[test]
fn a_refused_request_leaves_its_connection_or_says_that_it_does_not() -> Result<()> {
    let node = node("kept-refused")?;
    for (path, header, status) in [
        ("/api/unknown", "a: b", "404"),
        ("/api/info", "origin: https://evil.example", "403"),
        ("/health", "a: b", "405"),
        ("/emulation", "origin: https://evil.example", "403"),
    ] {
        let head =
            |length: usize| format!("POST {path} HTTP/1.1\r\nhost: a\r\n{header}\r\ncontent-length: {length}\r\n");
        let mut kept = Kept::open(&node)?;
        kept.send(&format!("{}\r\n", head(2)))?;
        ensure!(kept.is_quiet()?, "{path} was answered before its body came");
        kept.send("{}GET /health HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let (refusal, _) = kept.answer()?;
        ensure!(
            refusal.starts_with(&format!("http/1.1 {status} ")) && !refusal.contains("connection: close"),
            "{refusal}"
        );
        ensure!(kept.answer()?.0.starts_with("http/1.1 200 "), "{path}: the next request");

        // Too much to wait for, or not sent without a permission.
        for end in ["\r\n", "expect: 100-continue\r\n\r\n"] {
            let length = if end == "\r\n" { 1 << 40 } else { 2 };
            let mut ends = Kept::open(&node)?;
            ends.send(&format!("{}{end}", head(length)))?;
            let refusal = ends.head()?;
            ensure!(refusal.contains("connection: close"), "{path}: {refusal}");
        }
    }
    Ok(())
}

#[test]
fn commands_for_a_connection_that_is_not_here_are_answered_so() -> Result<()> {
    let node = node("kept-emulation")?;
    let mut kept = Kept::open(&node)?;
    let huge = format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000));
    for (body, status, said) in [
        (r#"{"session":"s","node":"n","data":"{}"}"#, "404", "connect again"),
        ("{", "400", "not an emulation request"),
        (r#"{"data":{}}"#, "400", "expected a string"),
        (&huge, "413", "client.message_bytes_max"),
    ] {
        kept.send(&format!("POST /emulation HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
        let (head, text) = kept.answer()?;
        ensure!(head.starts_with(&format!("http/1.1 {status} ")) && text.contains(said), "{head}{text}");
        if status == "413" {
            break;
        }
    }
    Ok(())
}
