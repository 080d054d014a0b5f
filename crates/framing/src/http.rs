//! The head of an HTTP/1 request: enough of it to decide where a connection goes on.
//!
//! Not an HTTP server: bodies, chunks and responses other than short plain-text ones belong elsewhere. Everything is
//! borrowed from the bytes of the caller.

use std::fmt::Write as _;
use std::time::SystemTime;

use httpdate::HttpDate;

/// Headers that a head may have.
pub const HEADERS_MAX: usize = 64;

/// A parsed request head, borrowed from the read buffer.
#[derive(Debug)]
pub struct Head<'b> {
    method: &'b str,
    target: &'b str,
    minor_version: u8,
    bytes: usize,
    count: usize,
    headers: [httparse::Header<'b>; HEADERS_MAX],
}

/// Why bytes are no request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the syntax of an HTTP/1 request.
    #[error("malformed HTTP request: {0}")]
    Malformed(&'static str),
    /// More than [`HEADERS_MAX`] headers.
    #[error("request has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// An HTTP version that is not 1.0 or 1.1.
    #[error("HTTP version is not supported, use HTTP/1.1")]
    Version,
}

impl HeadError {
    /// The HTTP status that answers it.
    pub fn status(self) -> Status {
        match self {
            Self::Malformed(_) => Status::BAD_REQUEST,
            Self::TooManyHeaders => Status::HEADERS_TOO_LARGE,
            Self::Version => Status::VERSION_NOT_SUPPORTED,
        }
    }
}

impl<'b> Head<'b> {
    /// Reads the head that `bytes` start with; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes cannot become a request head, whatever follows.
    pub fn parse(bytes: &'b [u8]) -> Result<Option<Self>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let size = match request.parse(bytes).map_err(head_error)? {
            httparse::Status::Complete(size) => size,
            httparse::Status::Partial => return Ok(None),
        };
        let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
        let (minor_version, count) = (request.version.unwrap_or(0), request.headers.len());
        Ok(Some(Self { method, target, minor_version, bytes: size, count, headers }))
    }

    /// The method, as it was written.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The request target without its query.
    pub fn path(&self) -> &'b str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// What follows the first `?` of the request target.
    pub fn query(&self) -> Option<&'b str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The minor version: 0 or 1.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// Bytes of the head, the empty line included: what follows belongs to the body or the next protocol.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.headers[..self.count].iter().map(|h| (h.name, h.value))
    }

    /// The values of every header with this name, whatever its case.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the only header with this name; `None` when it is absent, doubled or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => std::str::from_utf8(value).ok().map(str::trim),
            _ => None,
        }
    }

    /// Where a page came from; `None` = no browser. An origin that is doubled or not text is there, and matches nothing.
    pub fn origin(&self) -> Option<&'b str> {
        self.all("origin").next().map(|_| self.header("origin").unwrap_or(""))
    }

    /// The members of comma-separated lists under this name, over all headers of that name. What is not UTF-8 is
    /// passed over.
    pub fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b str> + 's {
        self.all(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|member| !member.is_empty())
    }

    /// Whether `token` is a member of the lists under this name, whatever its case.
    pub fn list_has(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|member| member.eq_ignore_ascii_case(token))
    }
}

/// The head of a response that a server of our own made.
#[derive(Debug)]
pub struct ResponseHead<'b> {
    /// The status.
    pub status: u16,
    /// The headers in order.
    pub headers: Vec<(&'b str, &'b [u8])>,
    /// Bytes of the head, the empty line included.
    pub bytes: usize,
}

impl<'b> ResponseHead<'b> {
    /// Reads the head that `bytes` start with; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes cannot become a response head, whatever follows.
    pub fn parse(bytes: &'b [u8]) -> Result<Option<Self>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let size = match response.parse(bytes).map_err(head_error)? {
            httparse::Status::Complete(size) => size,
            httparse::Status::Partial => return Ok(None),
        };
        let headers = response.headers.iter().map(|h| (h.name, h.value)).collect();
        Ok(Some(Self { status: response.code.unwrap_or(0), headers, bytes: size }))
    }
}

/// The first value of a name in a query, see [`query_values`].
pub fn query_value(query: &str, name: &str) -> Option<Vec<u8>> {
    query_values(query, name).next()
}

/// The values of a name in a query, decoded as forms are (WHATWG URL, section 5.1): `+` is a space, `%41` a byte. What is
/// no escape stays as it is.
pub fn query_values<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = Vec<u8>> + 'q {
    query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('=')).map(unescaped)
}

fn unescaped(value: &str) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    out
}

fn head_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::HeaderName => HeadError::Malformed("bad header name"),
        httparse::Error::HeaderValue => HeadError::Malformed("bad header value"),
        httparse::Error::NewLine => HeadError::Malformed("bad line ending"),
        httparse::Error::Status | httparse::Error::Token => HeadError::Malformed("bad request line"),
    }
}

/// A status line's number and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16, pub &'static str);

impl Status {
    /// 400
    pub const BAD_REQUEST: Self = Self(400, "Bad Request");
    /// 401
    pub const UNAUTHORIZED: Self = Self(401, "Unauthorized");
    /// 403
    pub const FORBIDDEN: Self = Self(403, "Forbidden");
    /// 413
    pub const CONTENT_TOO_LARGE: Self = Self(413, "Content Too Large");
    /// 405
    pub const METHOD_NOT_ALLOWED: Self = Self(405, "Method Not Allowed");
    /// 408
    pub const REQUEST_TIMEOUT: Self = Self(408, "Request Timeout");
    /// 426
    pub const UPGRADE_REQUIRED: Self = Self(426, "Upgrade Required");
    /// 431
    pub const HEADERS_TOO_LARGE: Self = Self(431, "Request Header Fields Too Large");
    /// 503
    pub const UNAVAILABLE: Self = Self(503, "Service Unavailable");
    /// 505
    pub const VERSION_NOT_SUPPORTED: Self = Self(505, "HTTP Version Not Supported");
}

/// A short plain-text answer that ends the connection. `headers` are whole lines, each with its CRLF. Those that name a
/// protocol in `Upgrade` name that header in `Connection` (RFC 9110 section 7.8). `now` is its `Date` (section 6.6.1).
pub fn text_response(now: SystemTime, status: Status, headers: &str, body: &str) -> Vec<u8> {
    let mut out = String::with_capacity(200 + headers.len() + body.len());
    // Writing to a String cannot fail. The body ends with a newline, for whoever reads it in a terminal.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: \
         close{}\r\nDate: {}\r\n{headers}\r\n{body}\n",
        status.0,
        status.1,
        body.len() + 1,
        if headers.starts_with("Upgrade:") { ", Upgrade" } else { "" },
        HttpDate::from(now),
    );
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] =
        b"GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nconnection: z\r\n\r\nrest";

    #[test]
    fn a_head_is_read_and_its_end_is_known() {
        let head = Head::parse(REQUEST).unwrap().unwrap();
        assert_eq!((head.method(), head.path(), head.query()), ("GET", "/a/b", Some("c=d?e")));
        assert_eq!(&REQUEST[head.bytes()..], b"rest");
        assert_eq!(head.header("HOST"), Some("x"));
        assert_eq!(head.header("connection"), None, "doubled");
        assert_eq!(head.list("connection").collect::<Vec<_>>(), ["keep-alive", "Upgrade", "z"]);
        assert!(head.list_has("Connection", "upgrade"));
        assert_eq!(head.minor_version(), 1);
    }

    #[test]
    fn every_shorter_head_wants_more() {
        for n in 0..REQUEST.len() - 5 {
            assert!(Head::parse(&REQUEST[..n]).unwrap().is_none(), "{n}");
        }
    }

    #[test]
    fn bad_heads_name_their_fault() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        for (bytes, status) in [
            (&b"GET / HTTP/3.0\r\n\r\n"[..], 505),
            (b"\x16\x03\x01\x02", 400),
            (b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\na: \x00\r\n\r\n", 400),
            (many.as_bytes(), 431),
        ] {
            let error = Head::parse(bytes).unwrap_err();
            assert_eq!(error.status().0, status, "{error}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let value = |query| query_value(query, "k").map(|v| String::from_utf8(v).unwrap());
        assert_eq!(value("x=1&k=a%2Bb+c%zz%4&k=2").as_deref(), Some("a+b c%zz%4"));
        assert_eq!(value("k=").as_deref(), Some(""));
        assert_eq!((value("kk=1"), value("k"), value("")), (None, None, None));
    }

    #[test]
    fn a_response_is_read_as_it_was_made() {
        let made = text_response(SystemTime::UNIX_EPOCH, Status::FORBIDDEN, "A: b\r\n", "no");
        let head = ResponseHead::parse(&made).unwrap().unwrap();
        assert_eq!((head.status, &made[head.bytes..]), (403, &b"no\n"[..]));
        assert!(head.headers.contains(&("A", b"b")) && head.headers.len() == 5, "{head:?}");
        assert!(ResponseHead::parse(&made[..40]).unwrap().is_none());
        assert!(ResponseHead::parse(b"GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn a_text_response_counts_its_body() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
        let text = String::from_utf8(text_response(now, Status::FORBIDDEN, "A: b\r\n", "no")).unwrap();
        assert!(text.starts_with("HTTP/1.1 403 Forbidden\r\n") && text.contains("Content-Length: 3\r\n"));
        // The example of RFC 9110 section 5.6.7.
        assert!(text.ends_with("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: b\r\n\r\nno\n"), "{text}");
    }
}
