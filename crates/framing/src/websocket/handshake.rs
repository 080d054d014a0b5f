//! The opening handshake, both ends (RFC 6455 sections 4.1 and 4.2).

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::http::{Head, Status, text_response};

/// Appended to the key before hashing (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that asks for a WebSocket in the right way. Whether it gets one is still to be decided: path, origin,
/// admission.
#[derive(Debug)]
pub struct Upgrade<'b> {
    accept: String,
    origin: Option<&'b str>,
    host: Option<&'b str>,
    protocols: Vec<&'b str>,
}

/// Why a request gets no WebSocket. [`HandshakeError::response`] is the whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Only GET can be upgraded.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// HTTP/1.0 has no upgrade.
    #[error("a WebSocket needs HTTP/1.1")]
    HttpVersion,
    /// An ordinary request came to an address that serves WebSockets.
    #[error("this address serves WebSockets: send \"Upgrade: websocket\" and \"Connection: Upgrade\"")]
    NotAnUpgrade,
    /// A hop on the way removed the header.
    #[error("the Connection header does not name Upgrade: a proxy on the way may have removed it")]
    Connection,
    /// Another version than 13.
    #[error("only version 13 of the WebSocket protocol is supported")]
    Version,
    /// No key, two keys, or one that is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// HTTP/1.1 needs it.
    #[error("the Host header is missing")]
    Host,
    /// The page may not connect.
    #[error("this origin may not connect: add it to the allowed origins")]
    Origin,
}

impl HandshakeError {
    /// The status that answers it.
    pub fn status(self) -> Status {
        match self {
            Self::Method => Status::METHOD_NOT_ALLOWED,
            Self::HttpVersion => Status::VERSION_NOT_SUPPORTED,
            Self::NotAnUpgrade | Self::Version => Status::UPGRADE_REQUIRED,
            Self::Connection | Self::Key | Self::Host => Status::BAD_REQUEST,
            Self::Origin => Status::FORBIDDEN,
        }
    }

    /// The whole answer, made `now`: status, the headers that the status asks for, and the error as text.
    pub fn response(self, now: SystemTime) -> Vec<u8> {
        let headers = match self {
            Self::Method => "Allow: GET\r\n",
            Self::NotAnUpgrade => "Upgrade: websocket\r\n",
            Self::Version => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        text_response(now, self.status(), headers, &self.to_string())
    }
}

impl<'b> Upgrade<'b> {
    /// Where the page came from; `None` = no browser.
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The host that was asked for.
    pub fn host(&self) -> Option<&'b str> {
        self.host
    }

    /// The sub-protocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> &[&'b str] {
        &self.protocols
    }

    /// The first sub-protocol of the client's that is `supported`.
    pub fn choose<'s>(&self, supported: &[&'s str]) -> Option<&'s str> {
        self.protocols.iter().find_map(|offer| supported.iter().find(|s| *s == offer).copied())
    }

    /// The answer that opens the WebSocket, with the sub-protocol that was chosen.
    pub fn response(&self, protocol: Option<&str>) -> Vec<u8> {
        response(&self.accept, protocol)
    }
}

/// Checks a request for everything that section 4.2.1 demands.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn check<'b>(head: &Head<'b>) -> Result<Upgrade<'b>, HandshakeError> {
    if !head.list_has("upgrade", "websocket") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if head.method() != "GET" {
        return Err(HandshakeError::Method);
    }
    if head.minor_version() < 1 {
        return Err(HandshakeError::HttpVersion);
    }
    if !head.list_has("connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if head.header("sec-websocket-version") != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = head.header("sec-websocket-key").filter(|key| is_key(key)).ok_or(HandshakeError::Key)?;
    let host = head.header("host").ok_or(HandshakeError::Host)?;
    let protocols = head.list("sec-websocket-protocol").collect();
    Ok(Upgrade { accept: accept_key(key), origin: head.origin(), host: Some(host), protocols })
}

/// What `Sec-WebSocket-Accept` answers to a key.
pub fn accept_key(key: &str) -> String {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(GUID);
    BASE64.encode(sha1.digest().bytes())
}

/// The answer that opens the WebSocket.
pub fn response(accept: &str, protocol: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    for (name, value) in [("Sec-WebSocket-Accept", Some(accept)), ("Sec-WebSocket-Protocol", protocol)] {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A client's request. `nonce` should be random where the server is not one's own.
pub fn request(host: &str, target: &str, nonce: [u8; 16], protocol: Option<&str>) -> Vec<u8> {
    let key = BASE64.encode(nonce);
    let protocol = protocol.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n")).unwrap_or_default();
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         {key}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
    )
    .into_bytes()
}

/// What a client makes of the server's answer to [`request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// More bytes are needed.
    Partial,
    /// The WebSocket is open; frames start after so many bytes.
    Open(usize),
    /// The server refused with this status, or answered something else than the handshake (0).
    Refused(u16),
}

/// Reads the server's answer to a [`request`] with this nonce, which offered this sub-protocol.
pub fn answer(bytes: &[u8], nonce: [u8; 16], offered: Option<&str>) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; crate::http::HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Answer::Partial,
        Ok(httparse::Status::Complete(size)) if response.code == Some(101) => {
            if opens(response.headers, nonce, offered) { Answer::Open(size) } else { Answer::Refused(0) }
        }
        Ok(httparse::Status::Complete(_)) => Answer::Refused(response.code.unwrap_or(0)),
        Err(_) => Answer::Refused(0),
    }
}

/// Whether the headers of an answer are what section 4.1 demands: the upgrade that was asked for, the proof that the
/// request was read, and no extension or sub-protocol that was not offered.
fn opens(headers: &[httparse::Header<'_>], nonce: [u8; 16], offered: Option<&str>) -> bool {
    let all = |name: &'static str| headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let only = |name| {
        let mut values = all(name);
        values.next().filter(|_| values.next().is_none())
    };
    let upgraded = only("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && all("connection")
            .flat_map(|value| value.split(|b| *b == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let accepted = only("sec-websocket-accept") == Some(accept_key(&BASE64.encode(nonce)).as_bytes());
    let extended = all("sec-websocket-extensions").next().is_some();
    let chosen = all("sec-websocket-protocol").next().is_none()
        || offered.is_some_and(|offered| only("sec-websocket-protocol") == Some(offered.as_bytes()));
    upgraded && accepted && !extended && chosen
}

fn is_key(key: &str) -> bool {
    key.len() == 24 && BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Whether an origin's host and port are those of a `Host` header, which leaves out the port where it is the scheme's.
pub(super) fn authority_matches(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests;
