//! A client of a response that does not end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::rig::Node;

/// A client of an HTTP response that does not end.
pub(crate) struct Response {
    pub(crate) head: String,
    pub(crate) reader: BufReader<TcpStream>,
    /// Lines of the body that are whole.
    lines: VecDeque<String>,
    rest: Vec<u8>,
    pub(crate) uplink: (String, String),
}

pub(crate) const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

impl Response {
    pub(crate) fn ask(mut socket: TcpStream, request: &[u8]) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.write_all(request).unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        Self { head, reader, lines: VecDeque::new(), rest: Vec::new(), uplink: Default::default() }
    }

    pub(crate) fn stream(node: &Node, commands: &str) -> Self {
        Self::stream_over(TcpStream::connect(node.address).unwrap(), commands)
    }

    pub(crate) fn stream_over(socket: TcpStream, commands: &str) -> Self {
        let length = commands.len();
        let head = format!("POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        Self::ask(socket, (head + commands).as_bytes())
    }

    pub(crate) fn events(node: &Node, query: &str) -> Self {
        let head = format!("GET /connection/sse?cf_connect={query} HTTP/1.1\r\nHost: a\r\n\r\n");
        Self::ask(TcpStream::connect(node.address).unwrap(), head.as_bytes())
    }

    /// The next chunk; `None` after the last one.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut length = String::new();
        self.reader.read_line(&mut length).unwrap();
        let length = usize::from_str_radix(length.trim_end(), 16).unwrap_or_else(|e| panic!("{length:?}: {e}"));
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        assert_eq!(chunk.split_off(length), b"\r\n");
        (length > 0).then_some(chunk)
    }

    /// The next line that is not empty and no comment.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return line;
            }
            let chunk = self.chunk().expect("a chunk");
            self.rest.extend(chunk);
            let end = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let whole = String::from_utf8(self.rest.drain(..end).collect()).unwrap();
            self.lines.extend(whole.lines().filter(|l| !l.is_empty() && *l != ":").map(str::to_owned));
        }
    }

    pub(crate) fn message(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(line.strip_prefix("data: ").unwrap_or(&line)).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    pub(crate) fn connected(&mut self) -> Value {
        let reply = self.message();
        let text = |name: &str| reply["connect"][name].as_str().expect("text").to_owned();
        self.uplink = (text("node"), text("session"));
        reply
    }

    pub(crate) fn say(&self, node: &Node, commands: &str) {
        let (name, session) = &self.uplink;
        node.uplink(name, session, commands).unwrap();
    }

    pub(crate) fn subscribe(&mut self, node: &Node, channel: &str) -> Value {
        self.say(node, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
        self.message()["subscribe"].clone()
    }

    pub(crate) fn publication(&mut self) -> Value {
        let message = self.message();
        assert!(message["push"]["pub"].is_object(), "{message}");
        message["push"]["pub"]["data"].clone()
    }
}
