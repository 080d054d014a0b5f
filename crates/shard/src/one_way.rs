//! Clients that only listen: their connect comes with the request, and its parts may stand where a browser or a command
//! line can put them.
//!
//! The head of the response waits for the answer to the connect. A connect that never can succeed is answered with a
//! status of HTTP: readers of server-sent events come back after any response that began well, for ever (WHATWG HTML,
//! section 9.2.3). One that may succeed later is told in the stream, and they come back.

use std::collections::HashSet;

use tidegate_framing::http::{Head, Status, query_value, query_values};
use tidegate_protocol::{Command, Connect, Method, Positions, Subscribe};
use tidegate_types::codes::{Disconnect, ErrorCode};

use crate::input;
use crate::request::text_answer;
use crate::shard::Shard;
use crate::slab::Place;

/// What ends a connection of a client that cannot be told an error, where its connect leads to one.
fn disconnect(code: ErrorCode) -> Disconnect {
    match code {
        ErrorCode::TOKEN_EXPIRED | ErrorCode::EXPIRED => Disconnect::EXPIRED,
        ErrorCode::TOO_MANY_REQUESTS => Disconnect::TOO_MANY_REQUESTS,
        ErrorCode::PERMISSION_DENIED => Disconnect::PERMISSION_DENIED,
        _ => Disconnect::SERVER_ERROR,
    }
}

/// The response to a connect that cannot succeed; `None` where another try may. `head` is that of the stream.
pub(crate) fn refusal(head: &[u8], code: u16, reason: &str) -> Option<Vec<u8>> {
    let is = |d: Disconnect| d.code == code;
    let status = match code {
        _ if is(Disconnect::INVALID_TOKEN) || is(Disconnect::EXPIRED) => Status::UNAUTHORIZED,
        _ if is(Disconnect::BAD_REQUEST) => Status::BAD_REQUEST,
        3500..=3999 | 4500..=4999 => Status::FORBIDDEN,
        _ => return None,
    };
    // A page of another origin sees the status only when it may see the response.
    let lines = std::str::from_utf8(head).unwrap_or_default().split_inclusive("\r\n");
    let allowing: String =
        lines.filter(|line| line.starts_with("Access-Control-") || line.starts_with("Vary:")).collect();
    Some(text_answer(status, &allowing, &format!("{code} {reason}{}", hint(code))))
}

/// What a developer may look for who sees this answer.
fn hint(code: u16) -> &'static str {
    match code {
        _ if code == Disconnect::BAD_REQUEST.code => {
            ": a token is needed (token= or Authorization: Bearer), or a channel is of a namespace that is not configured, or \
             cf_connect is no connect request"
        }
        _ if code == Disconnect::INVALID_TOKEN.code => {
            ": the token was not made for this server, or its key is not known here, or there are two"
        }
        _ if code == Disconnect::EXPIRED.code => ": connect with a new token",
        _ => "",
    }
}

/// The only one of several values. One that cannot be read, or a second one, is no reason to go on as nobody.
fn only(mut values: impl Iterator<Item = Vec<u8>>) -> Result<Option<String>, Disconnect> {
    let Some(value) = values.next() else { return Ok(None) };
    match (String::from_utf8(value), values.next()) {
        (Ok(value), None) => Ok(Some(value)),
        _ => Err(Disconnect::INVALID_TOKEN),
    }
}

/// The token of a request, from its query or else its header; empty = none.
fn token(head: &Head<'_>) -> Result<String, Disconnect> {
    let in_query = query_values(head.query().unwrap_or_default(), "token").filter(|token| !token.is_empty());
    if let Some(token) = only(in_query)? {
        return Ok(token);
    }
    let header = only(head.all("authorization").map(<[u8]>::to_vec))?.unwrap_or_default();
    let header = header.trim();
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    match token.trim() {
        // Of another scheme, which is for a proxy in between.
        _ if !scheme.eq_ignore_ascii_case("bearer") => Ok(String::new()),
        "" => Err(Disconnect::INVALID_TOKEN),
        token => Ok(token.to_owned()),
    }
}

/// Adds to a connect request what its HTTP request says: channels, a token, and where the reader stood.
fn add(connect: &mut Connect, head: &Head<'_>) -> Result<(), Disconnect> {
    let query = head.query().unwrap_or_default();
    let text = |value: Vec<u8>| String::from_utf8(value).unwrap_or_default();
    let mut known: HashSet<String> = connect.subscriptions.iter().map(|s| s.channel.clone()).collect();
    for channel in query_values(query, "channel").map(text) {
        if known.insert(channel.clone()) {
            connect.subscriptions.push(Subscribe { channel, recoverable: true, ..Subscribe::default() });
        }
    }
    if connect.token.is_empty() {
        connect.token = token(head)?;
    }
    let last = head.header("last-event-id").map(str::to_owned);
    let last = last.or_else(|| query_value(query, "last_event_id").map(text));
    connect.resume = last.map(|id| Positions::parse(&id)).unwrap_or_default();
    Ok(())
}

impl Shard {
    /// Takes the connect of a client that only listens.
    pub(crate) fn take_one_way(&mut self, place: Place, head: &Head<'_>, message: &[u8]) {
        let Some(connection) = self.connections.get(place.index) else { return };
        let wire = self.options.wires[usize::from(connection.wire)].clone();
        let (mut commands, error) = input::commands(&wire, message);
        if let Some(Command { method: Method::Connect(connect), .. }) = commands.first_mut()
            && let Err(why) = add(connect, head)
        {
            return self.end(place, Some(why));
        }
        self.on_commands(place, commands, error);
        self.flush_replies(place.index);
    }

    /// The connect of a client that only listens was refused.
    pub(crate) fn refuse_one_way(&mut self, place: Place, code: ErrorCode) {
        self.end(place, Some(disconnect(code)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_to_listen_to() {
        let text = b"GET /sse?channel=news&channel=job%3A7&token=t%2B1&last_event_id=x HTTP/1.1\r\nHost: h\r\n\
            Last-Event-ID: af63dc4c8601ec8c.7.e\r\n\r\n";
        let head = Head::parse(text).unwrap().unwrap();
        let mut connect = Connect::default();
        connect.subscriptions.push(Subscribe { channel: "news".into(), token: "own".into(), ..Subscribe::default() });
        add(&mut connect, &head).unwrap();
        let channels: Vec<_> = connect.subscriptions.iter().map(|s| (&*s.channel, &*s.token, s.recoverable)).collect();
        assert_eq!(channels, [("news", "own", false), ("job:7", "", true)]);
        assert_eq!(connect.token, "t+1");
        assert_eq!(connect.resume.of("a").map(|since| since.offset), Some(7));
    }

    #[test]
    fn a_credential_is_read_or_refused_and_never_passed_over() {
        let check = |query: &str, headers: &str, expected: Result<&str, Disconnect>| {
            let text = format!("GET /sse?channel=a{query} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let head = Head::parse(text.as_bytes()).unwrap().unwrap();
            let mut connect = Connect::default();
            let result = add(&mut connect, &head).map(|()| &*connect.token);
            assert_eq!(result, expected, "{query:?} {headers:?}");
        };
        let invalid = Err(Disconnect::INVALID_TOKEN);
        check("", "", Ok(""));
        check("&token=q", "Authorization: Bearer h\r\n", Ok("q"));
        for header in ["Authorization: Bearer h\r\n", "authorization: bearer h\r\n", "Authorization: BEARER   h \r\n"] {
            check("", header, Ok("h"));
            check("&token=", header, Ok("h"));
        }
        check("&token=&token=q", "", Ok("q"));
        check("&token=%FF", "Authorization: Bearer h\r\n", invalid);
        check("&token=q&token=r", "", invalid);
        check("", "Authorization: Bearer h\r\nAuthorization: Bearer h\r\n", invalid);
        check("", "Authorization: Bearer h\r\nAuthorization: Basic YTpi\r\n", invalid);
        check("", "Authorization: Bearer \r\n", invalid);
        check("", "Authorization: Basic YTpi\r\n", Ok(""));
        let bytes = b"GET /sse HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer \xff\r\n\r\n";
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(add(&mut Connect::default(), &head), Err(Disconnect::INVALID_TOKEN));
    }

    #[test]
    fn what_cannot_succeed_is_no_stream() {
        let head = b"HTTP/1.1 200 OK\r\nVary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n\r\n:\n\n";
        let status =
            |d: Disconnect| refusal(head, d.code, d.reason).map(|r| String::from_utf8(r).unwrap()[9..12].to_owned());
        assert_eq!(status(Disconnect::INVALID_TOKEN).as_deref(), Some("401"));
        assert_eq!(status(Disconnect::EXPIRED).as_deref(), Some("401"));
        assert_eq!(status(Disconnect::BAD_REQUEST).as_deref(), Some("400"));
        assert_eq!(status(Disconnect::PERMISSION_DENIED).as_deref(), Some("403"));
        assert_eq!(status(Disconnect::SERVER_ERROR), None);
        let response = String::from_utf8(refusal(head, 3500, "invalid token").unwrap()).unwrap();
        assert!(response.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"), "{response}");
    }
}
