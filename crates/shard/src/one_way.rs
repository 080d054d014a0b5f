//! Clients that only listen: their connect comes with the request, and its parts may stand where a browser or a command
//! line can put them.
//!
//! The head of the response waits for the answer to the connect. A connect that never can succeed is answered with a
//! status of HTTP: readers of server-sent events come back after any response that began well, for ever (WHATWG HTML,
//! section 9.2.3). One that may succeed later is told in the stream, and they come back.

use tidegate_framing::http::{Head, Status, query_value, query_values, text_response};
use tidegate_protocol::{Command, Connect, Method, Positions, Subscribe};
use tidegate_types::codes::{Disconnect, ErrorCode};

use crate::input;
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
    Some(text_response(status, &allowing, &format!("{code} {reason}{}", hint(code))))
}

/// What a developer may look for who sees this answer.
fn hint(code: u16) -> &'static str {
    match code {
        _ if code == Disconnect::BAD_REQUEST.code => {
            ": a token is needed (token= or Authorization: Bearer), or a channel is of a namespace that is not configured, or \
             cf_connect is no connect request"
        }
        _ if code == Disconnect::INVALID_TOKEN.code => {
            ": the token was not made for this server, or its key is not known here"
        }
        _ if code == Disconnect::EXPIRED.code => ": connect with a new token",
        _ => "",
    }
}

/// Adds to a connect request what its HTTP request says: channels, a token, and where the reader stood.
fn add(connect: &mut Connect, head: &Head<'_>) {
    let query = head.query().unwrap_or_default();
    let text = |value: Vec<u8>| String::from_utf8(value).unwrap_or_default();
    for channel in query_values(query, "channel").map(text) {
        if connect.subscriptions.iter().all(|s| s.channel != channel) {
            connect.subscriptions.push(Subscribe { channel, recoverable: true, ..Subscribe::default() });
        }
    }
    if connect.token.is_empty() {
        let bearer = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        connect.token = query_value(query, "token").map(text).or(bearer.map(str::to_owned)).unwrap_or_default();
    }
    let last = head.header("last-event-id").map(str::to_owned);
    let last = last.or_else(|| query_value(query, "last_event_id").map(text));
    connect.resume = last.map(|id| Positions::parse(&id)).unwrap_or_default();
}

impl Shard {
    /// Takes the connect of a client that only listens.
    pub(crate) fn take_one_way(&mut self, place: Place, head: &Head<'_>, message: &[u8]) {
        let Some(connection) = self.connections.get(place.index) else { return };
        let wire = self.options.wires[usize::from(connection.wire)].clone();
        let (mut commands, error) = input::commands(&wire, message);
        if let Some(Command { method: Method::Connect(connect), .. }) = commands.first_mut() {
            add(connect, head);
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
        add(&mut connect, &head);
        let channels: Vec<_> = connect.subscriptions.iter().map(|s| (&*s.channel, &*s.token, s.recoverable)).collect();
        assert_eq!(channels, [("news", "own", false), ("job:7", "", true)]);
        assert_eq!(connect.token, "t+1");
        assert_eq!(connect.resume.of("a").map(|since| since.offset), Some(7));
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
