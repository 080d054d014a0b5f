//! Responses that do not end: in chunks (RFC 9112 section 7.1) or without, and server-sent events in them (WHATWG HTML,
//! section 9.2).
//!
//! A chunk is whole by itself, so it can be made once and sent to many, and several can share a send.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

use httpdate::HttpDate;

/// How a client sees where the body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// In chunks (HTTP/1.1).
    Chunked,
    /// With the connection (HTTP/1.0, RFC 9112 section 6.3): proxies ask so that do not know better.
    UntilClose,
}

const DATA: &[u8] = b"data: ";
const ID: &[u8] = b"id: ";
const END_OF_EVENT: &[u8] = b"\n\n";

impl Transfer {
    /// A part of the body; nothing, when it is empty, because an empty chunk would be the last.
    pub fn write(self, out: &mut Vec<u8>, parts: &[&[u8]]) {
        let bytes = parts.iter().map(|p| p.len()).sum();
        if bytes > 0 {
            self.wrap(out, bytes, |out| parts.iter().for_each(|part| out.extend_from_slice(part)));
        }
    }

    /// An event for each line of `messages`.
    pub fn write_events(self, out: &mut Vec<u8>, messages: &[u8]) {
        let bytes = lines(messages).map(|line| DATA.len() + line.len() + END_OF_EVENT.len()).sum();
        if bytes > 0 {
            self.wrap(out, bytes, |out| {
                for line in lines(messages) {
                    [DATA, line, END_OF_EVENT].iter().for_each(|part| out.extend_from_slice(part));
                }
            });
        }
    }

    /// An event for each line of `messages`, the last of which has an id.
    pub fn write_event_with_id(self, out: &mut Vec<u8>, id: &str, messages: &[u8]) {
        let count = lines(messages).count();
        if count == 0 {
            return;
        }
        let plain: usize = lines(messages).map(|line| DATA.len() + line.len() + END_OF_EVENT.len()).sum();
        self.wrap(out, plain + ID.len() + id.len() + 1, |out| {
            for (at, line) in lines(messages).enumerate() {
                if at + 1 == count {
                    [ID, id.as_bytes(), b"\n"].iter().for_each(|part| out.extend_from_slice(part));
                }
                [DATA, line, END_OF_EVENT].iter().for_each(|part| out.extend_from_slice(part));
            }
        });
    }

    fn wrap(self, out: &mut Vec<u8>, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        out.reserve(bytes + 16);
        match self {
            Self::UntilClose => write(out),
            Self::Chunked => {
                write!(out, "{bytes:x}\r\n").expect("a Vec has room");
                write(out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// What ends the body, beside the end of the connection.
    pub fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"0\r\n\r\n",
            Self::UntilClose => b"",
        }
    }

    /// The head of a response that does not end. Proxies are told not to keep anything of it back; `origin` is the page
    /// that may read it, `now` is its `Date`.
    pub fn head(self, now: SystemTime, content_type: &str, origin: Option<&str>) -> Vec<u8> {
        let coding = match self {
            Self::Chunked => "Transfer-Encoding: chunked\r\n",
            Self::UntilClose => "",
        };
        let mut out = String::with_capacity(448);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: {content_type}\r\n{coding}Connection: close\r\nCache-Control: \
             private, no-cache, no-store, must-revalidate, max-age=0, no-transform\r\nPragma: no-cache\r\nExpires: Thu, 01 \
             Jan 1970 00:00:00 GMT\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n",
            HttpDate::from(now)
        );
        if let Some(origin) = origin {
            let _ = write!(out, "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n");
        }
        out.push_str("\r\n");
        out.into_bytes()
    }
}

fn lines(messages: &[u8]) -> impl Iterator<Item = &[u8]> {
    messages.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        Transfer::Chunked.write(&mut out, parts);
        out
    }

    fn events(messages: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Transfer::Chunked.write_events(&mut out, messages);
        out
    }

    #[test]
    fn chunks_say_their_length_in_hex() {
        assert_eq!(chunk(&[b"{}", b"\n"]), b"3\r\n{}\n\r\n");
        assert_eq!(chunk(&[&[b'a'; 300]])[..5], *b"12c\r\n");
        assert_eq!(chunk(&[b"", b""]), b"", "an empty one would end the response");
    }

    #[test]
    fn each_message_is_an_event() {
        assert_eq!(events(b"{}"), b"a\r\ndata: {}\n\n\r\n");
        assert_eq!(events(b"{\"a\":1}\n{}"), b"19\r\ndata: {\"a\":1}\n\ndata: {}\n\n\r\n");
        assert_eq!(events(b""), b"");
    }

    #[test]
    fn the_last_event_says_where_its_reader_stands() {
        let mut out = Vec::new();
        Transfer::Chunked.write_event_with_id(&mut out, "a.7.e", b"{}");
        assert_eq!(out, b"14\r\nid: a.7.e\ndata: {}\n\n\r\n");
        out.clear();
        Transfer::Chunked.write_event_with_id(&mut out, "a", b"{}\n[]");
        assert_eq!(out, b"1a\r\ndata: {}\n\nid: a\ndata: []\n\n\r\n");
    }

    #[test]
    fn a_page_may_read_what_it_was_allowed_to_open() {
        let now = SystemTime::UNIX_EPOCH;
        let head = |origin| String::from_utf8(Transfer::Chunked.head(now, "text/event-stream", origin)).unwrap();
        assert!(head(None).contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
        assert!(head(Some("https://a.example")).contains("Access-Control-Allow-Origin: https://a.example\r\n"));
        assert!(!head(None).contains("Allow-Origin") && head(None).ends_with("\r\n\r\n"));
    }

    #[test]
    fn without_chunks_the_connection_is_the_end() {
        let mut out = Vec::new();
        Transfer::UntilClose.write(&mut out, &[b"{}", b"\n"]);
        Transfer::UntilClose.write_events(&mut out, b"{}");
        Transfer::UntilClose.write_event_with_id(&mut out, "a", b"{}");
        out.extend_from_slice(Transfer::UntilClose.end());
        assert_eq!(out, b"{}\ndata: {}\n\nid: a\ndata: {}\n\n");
        let head =
            String::from_utf8(Transfer::UntilClose.head(SystemTime::UNIX_EPOCH, "text/event-stream", None)).unwrap();
        assert!(!head.contains("chunked") && head.contains("\r\nConnection: close\r\n"), "{head}");
    }
}
