//! Responses that do not end: HTTP/1.1 chunks (RFC 9112 section 7.1), and server-sent events in them (WHATWG HTML,
//! section 9.2).
//!
//! A chunk is whole by itself, so it can be made once and sent to many, and several can share a send.

use std::fmt::Write as _;
use std::io::Write as _;

/// Ends a response.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const DATA: &[u8] = b"data: ";
const ID: &[u8] = b"id: ";
const END_OF_EVENT: &[u8] = b"\n\n";

/// One chunk of these parts; nothing, when they are empty, because an empty chunk would be the last.
pub fn write_chunk(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let bytes = parts.iter().map(|p| p.len()).sum();
    if bytes > 0 {
        begin(out, bytes);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(b"\r\n");
    }
}

/// One chunk with an event for each line of `messages`.
pub fn write_events(out: &mut Vec<u8>, messages: &[u8]) {
    let lines = || messages.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let bytes = lines().map(|line| DATA.len() + line.len() + END_OF_EVENT.len()).sum();
    if bytes > 0 {
        begin(out, bytes);
        for line in lines() {
            out.extend_from_slice(DATA);
            out.extend_from_slice(line);
            out.extend_from_slice(END_OF_EVENT);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// One chunk with an event for each line of `messages`, the last of which has an id.
pub fn write_event_with_id(out: &mut Vec<u8>, id: &str, messages: &[u8]) {
    let lines = || messages.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let count = lines().count();
    let plain: usize = lines().map(|line| DATA.len() + line.len() + END_OF_EVENT.len()).sum();
    if count > 0 {
        begin(out, plain + ID.len() + id.len() + 1);
        for (at, line) in lines().enumerate() {
            if at + 1 == count {
                [ID, id.as_bytes(), b"\n"].iter().for_each(|part| out.extend_from_slice(part));
            }
            [DATA, line, END_OF_EVENT].iter().for_each(|part| out.extend_from_slice(part));
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn begin(out: &mut Vec<u8>, bytes: usize) {
    out.reserve(bytes + 16);
    write!(out, "{bytes:x}\r\n").expect("a Vec has room");
}

/// The head of a response that does not end. Proxies are told not to keep anything of it back; `origin` is the page that
/// may read it.
pub fn stream_head(content_type: &str, origin: Option<&str>) -> Vec<u8> {
    let mut out = String::with_capacity(384);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\nConnection: \
         close\r\nCache-Control: private, no-cache, no-store, must-revalidate, max-age=0, no-transform\r\nPragma: \
         no-cache\r\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n"
    );
    if let Some(origin) = origin {
        let _ = write!(out, "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n");
    }
    out.push_str("\r\n");
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        write_chunk(&mut out, parts);
        out
    }

    fn events(messages: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_events(&mut out, messages);
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
        write_event_with_id(&mut out, "a.7.e", b"{}");
        assert_eq!(out, b"14\r\nid: a.7.e\ndata: {}\n\n\r\n");
        out.clear();
        write_event_with_id(&mut out, "a", b"{}\n[]");
        assert_eq!(out, b"1a\r\ndata: {}\n\nid: a\ndata: []\n\n\r\n");
    }

    #[test]
    fn a_page_may_read_what_it_was_allowed_to_open() {
        let head = |origin| String::from_utf8(stream_head("text/event-stream", origin)).unwrap();
        assert!(head(Some("https://a.example")).contains("Access-Control-Allow-Origin: https://a.example\r\n"));
        assert!(!head(None).contains("Allow-Origin") && head(None).ends_with("\r\n\r\n"));
    }
}
