//! What is said to the server: the Centrifuge client protocol in JSON, and its server API.
//!
//! Written out by hand rather than by the dialect's codec: a load generator has to find the server's mistakes, not share
//! them, and it works on other servers of the same protocol as well.

use std::fmt::Write as _;

use crate::mark::{Mark, Marker};
use crate::target::Checked;

/// A place to recover from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// How clients subscribe.
#[derive(Debug, Clone, Default)]
pub(crate) struct SubscribeOptions {
    /// Ask for positions and recovery.
    pub(crate) recoverable: bool,
    /// Recover from here.
    pub(crate) from: Option<Position>,
    /// Be told of joins and leaves.
    pub(crate) join_leave: bool,
    /// Ask for deltas.
    pub(crate) delta: bool,
}

/// The connect command; its id is 1.
pub(crate) fn connect(target: &Checked) -> String {
    match &target.token {
        Some(token) => format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"),
        None => "{\"id\":1,\"connect\":{}}".to_owned(),
    }
}

/// One frame that subscribes to all these channels; ids count from 2.
pub(crate) fn subscribe(prefix: &str, channels: impl Iterator<Item = u32>, options: &SubscribeOptions) -> String {
    let mut out = String::new();
    for (id, channel) in (2..).zip(channels) {
        if id > 2 {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{{\"id\":{id},\"subscribe\":{{\"channel\":\"{prefix}{channel}\"");
        if options.recoverable {
            out.push_str(",\"positioned\":true,\"recoverable\":true");
        }
        if let Some(Position { epoch, offset }) = &options.from {
            let epoch = serde_json::Value::from(epoch.as_str());
            let _ = write!(out, ",\"recover\":true,\"offset\":{offset},\"epoch\":{epoch}");
        }
        if options.join_leave {
            out.push_str(",\"join_leave\":true");
        }
        if options.delta {
            out.push_str(",\"delta\":\"fossil\"");
        }
        out.push_str("}}");
    }
    out
}

/// A client's publish command.
pub(crate) fn publish(out: &mut Vec<u8>, prefix: &str, id: u64, marker: &Marker, mark: Mark) {
    let channel = mark.channel;
    out.extend_from_slice(
        format!("{{\"id\":{id},\"publish\":{{\"channel\":\"{prefix}{channel}\",\"data\":").as_bytes(),
    );
    marker.write(out, mark);
    out.extend_from_slice(b"}}");
}

/// A publish by the server API: the whole request. With `delta` it may reach subscribers as one.
pub(crate) fn api_publish(out: &mut Vec<u8>, target: &Checked, marker: &Marker, mark: Mark, delta: bool) {
    let mut body = format!("{{\"channel\":\"{}{}\",\"data\":", target.prefix, mark.channel).into_bytes();
    marker.write(&mut body, mark);
    body.extend_from_slice(if delta { b",\"delta\":true}" } else { b"}" });
    let key = target.api_key.as_ref().map(|key| format!("X-API-Key: {key}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n{key}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        target.api_path,
        target.api_address,
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&body);
}

/// What a line from the server is. Pushes are by far the most, so they are told apart by their first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Wants a pong.
    Ping,
    /// An answer to a command.
    Reply(&'a [u8]),
    /// Something pushed: mostly a publication.
    Push(&'a [u8]),
}

/// The lines of a text message.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(|line| match line {
        b"{}" => Line::Ping,
        _ if line.starts_with(b"{\"push\"") => Line::Push(line),
        _ => Line::Reply(line),
    })
}

/// What an answer says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Connected,
    Subscribed { position: Position, recovered: bool, delta: bool },
    Done,
    Failed(String),
}

/// Reads an answer.
pub(crate) fn reply(line: &[u8]) -> Reply {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        return Reply::Failed("a reply is not JSON".into());
    };
    if let Some(error) = value.get("error") {
        return Reply::Failed(format!("server error {error}"));
    }
    if value.get("connect").is_some() {
        return Reply::Connected;
    }
    match value.get("subscribe") {
        None => Reply::Done,
        Some(result) => {
            let epoch = result["epoch"].as_str().unwrap_or("").to_owned();
            let position = Position { epoch, offset: result["offset"].as_u64().unwrap_or(0) };
            let is = |field: &str| result[field].as_bool().unwrap_or(false);
            Reply::Subscribed { position, recovered: is("recovered"), delta: is("delta") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribe_asks_for_what_it_is_told() {
        let plain = subscribe("c", [1, 2].into_iter(), &SubscribeOptions::default());
        assert_eq!(
            plain,
            "{\"id\":2,\"subscribe\":{\"channel\":\"c1\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"c2\"}}"
        );
        let from = Some(Position { epoch: "a\"b".into(), offset: 7 });
        let text = subscribe(
            "c",
            [1].into_iter(),
            &SubscribeOptions { recoverable: true, from, join_leave: true, delta: true },
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["subscribe"]["epoch"], "a\"b");
        assert_eq!(value["subscribe"]["offset"], 7);
        assert_eq!(value["subscribe"]["recoverable"], true);
        assert_eq!(value["subscribe"]["join_leave"], true);
        assert_eq!(value["subscribe"]["delta"], "fossil");
    }

    #[test]
    fn lines_and_replies_are_told_apart() {
        let text = b"{}\n{\"push\":{}}\n{\"id\":2,\"subscribe\":{\"epoch\":\"e\",\"offset\":3,\"recovered\":true}}\n";
        let all: Vec<_> = lines(text).collect();
        assert_eq!(all[..2], [Line::Ping, Line::Push(b"{\"push\":{}}")]);
        let Line::Reply(line) = all[2] else { panic!("{all:?}") };
        let position = Position { epoch: "e".into(), offset: 3 };
        assert_eq!(reply(line), Reply::Subscribed { position, recovered: true, delta: false });
        assert_eq!(reply(b"{\"id\":1,\"connect\":{}}"), Reply::Connected);
        assert_eq!(reply(b"{\"id\":1,\"publish\":{}}"), Reply::Done);
        assert!(matches!(reply(b"{\"id\":1,\"error\":{\"code\":103}}"), Reply::Failed(_)));
    }
}
