//! Neutral replies and pushes to bytes.

use std::io::Write as _;
use std::sync::Arc;

use tidegate_protocol::{ConnectResult, Data, HistoryResult, Push, Reply, SubscribeResult};
use tidegate_types::codes::ErrorCode;
use tidegate_types::{ClientId, ClientInfo, Meta, Payload, PayloadKind, Publication, StreamPosition};

use super::write::{self, Object};

pub(super) fn reply(id: u32, reply: &Reply, out: &mut Vec<u8>) {
    let mut message = Object::begin(out);
    message.number("id", id.into());
    match reply {
        Reply::Error(code) => error(*code, message.object("error")),
        Reply::Connect(result) => connect(result, message.object("connect")),
        Reply::Subscribe(result) => subscribe(result, message.object("subscribe")),
        Reply::Unsubscribe => message.object("unsubscribe").end(),
        Reply::Publish => message.object("publish").end(),
        Reply::History(result) => history(result, message.object("history")),
        Reply::Presence(members) => presence(members, message.object("presence")),
        Reply::PresenceStats { clients, users } => {
            let mut result = message.object("presence_stats");
            // Never left out: client libraries hand them on as they are.
            write::number((*clients).into(), result.key("num_clients"));
            write::number((*users).into(), result.key("num_users"));
            result.end();
        }
        Reply::Refresh { client, ttl_seconds } => {
            let mut result = message.object("refresh");
            client_id(*client, &mut result);
            expiry(*ttl_seconds, &mut result);
            result.end();
        }
        Reply::SubRefresh { ttl_seconds } => {
            let mut result = message.object("sub_refresh");
            expiry(*ttl_seconds, &mut result);
            result.end();
        }
    }
    message.end();
    if let Reply::Connect(result) = reply {
        padding(result, out);
    }
}

/// Spaces behind a message are nothing to a reader.
pub(super) fn padding(result: &ConnectResult, out: &mut Vec<u8>) {
    out.resize(out.len() + result.padding, b' ');
}

pub(super) fn push(push: &Push<'_>, out: &mut Vec<u8>) {
    let mut message = Object::begin(out);
    push_body(push, message.key("push"));
    message.end();
}

/// A push as one-way clients get it.
pub(super) fn push_body(push: &Push<'_>, out: &mut Vec<u8>) {
    let mut body = Object::begin(out);
    match push {
        Push::Connected(result) => connect(result, body.object("connect")),
        Push::Subscribed { channel, result } => {
            body.string("channel", channel);
            subscribed(result, body.object("subscribe"));
        }
        Push::Disconnected { code, reason } => {
            let mut disconnect = body.object("disconnect");
            disconnect.number("code", (*code).into());
            disconnect.string("reason", reason);
            disconnect.end();
        }
        Push::Refreshed { ttl_seconds } => {
            let mut refresh = body.object("refresh");
            expiry(*ttl_seconds, &mut refresh);
            refresh.end();
        }
        Push::Joined { channel, info } => {
            body.string("channel", channel);
            came_or_went("join", info, &mut body);
        }
        Push::Left { channel, info } => {
            body.string("channel", channel);
            came_or_went("leave", info, &mut body);
        }
        Push::Unsubscribed { channel, code } => {
            body.string("channel", channel);
            let mut unsubscribe = body.object("unsubscribe");
            unsubscribe.number("code", code.code.into());
            unsubscribe.string("reason", code.reason);
            unsubscribe.end();
        }
    }
    body.end();
}

pub(super) fn publication_push(channel: &str, publication: &Publication, data: Data<'_>, out: &mut Vec<u8>) {
    // One growth of the buffer at most for a publication without tags and info.
    out.reserve(channel.len() + publication.payload.json().len() + 80);
    out.extend_from_slice(b"{\"push\":");
    publication_body(channel, publication, data, out);
    out.push(b'}');
}

/// The push of a publication as one-way clients get it.
pub(super) fn publication_body(channel: &str, publication: &Publication, data: Data<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channel\":");
    write::string(channel, out);
    out.extend_from_slice(b",\"pub\":");
    self::publication(publication, data, out);
    out.push(b'}');
}

fn publication(publication: &Publication, data: Data<'_>, out: &mut Vec<u8>) {
    let payload = &publication.payload;
    out.extend_from_slice(b"{\"data\":");
    match data {
        Data::Whole if payload.kind() == PayloadKind::Json => text(payload.json(), out),
        Data::Plain | Data::Whole => out.extend_from_slice(payload.json()),
        Data::Delta(delta) => {
            text(delta, out);
            out.extend_from_slice(b",\"delta\":true");
        }
    }
    let meta = publication.meta.as_deref();
    if let Some(info) = meta.and_then(|m| m.info.as_ref()) {
        out.extend_from_slice(b",\"info\":");
        client_info(info, out);
    }
    if publication.offset.0 != 0 {
        out.extend_from_slice(b",\"offset\":");
        write::number(publication.offset.0, out);
    }
    let binary = payload.kind() == PayloadKind::Binary;
    if binary || meta.is_some_and(|m| !m.tags.is_empty()) {
        out.extend_from_slice(b",\"tags\":");
        tags(meta, binary, out);
    }
    out.push(b'}');
}

/// Bytes that are UTF-8, as a string.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    write::string(&String::from_utf8_lossy(bytes), out);
}

fn tags(meta: Option<&Meta>, binary: bool, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let (base64_key, base64_value) = Payload::BASE64_TAG;
    for (key, value) in meta.into_iter().flat_map(|m| &m.tags) {
        if !(binary && key == base64_key) {
            write::string(value, object.key_escaped(key));
        }
    }
    if binary {
        write::string(base64_value, object.key_escaped(base64_key));
    }
    object.end();
}

fn client_info(info: &ClientInfo, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.string("user", &info.user);
    object.string("client", &info.client);
    object.raw("conn_info", &info.conn_info);
    object.raw("chan_info", &info.chan_info);
    object.end();
}

fn came_or_went(which: &str, info: &ClientInfo, body: &mut Object<'_>) {
    let mut event = body.object(which);
    client_info(info, event.key("info"));
    event.end();
}

fn presence(members: &[Arc<ClientInfo>], mut object: Object<'_>) {
    // Never left out: some client libraries look into it unasked.
    let mut clients = object.object("presence");
    for info in members {
        client_info(info, clients.key_escaped(&info.client));
    }
    clients.end();
    object.end();
}

fn error(code: ErrorCode, mut object: Object<'_>) {
    object.number("code", code.code.into());
    object.string("message", code.message);
    object.truth("temporary", code.temporary);
    object.end();
}

fn connect(result: &ConnectResult, mut object: Object<'_>) {
    client_id(result.client, &mut object);
    object.string("version", result.version);
    expiry(result.ttl_seconds, &mut object);
    object.raw("data", &result.data);
    if !result.subscriptions.is_empty() {
        let mut subscriptions = object.object("subs");
        for (channel, result) in &result.subscriptions {
            subscribe(result, Object::begin(subscriptions.key_escaped(channel)));
        }
        subscriptions.end();
    }
    object.number("ping", result.ping_seconds.into());
    object.truth("pong", result.pong);
    if let Some(uplink) = &result.uplink {
        object.string("session", &uplink.session);
        object.string("node", &uplink.node);
    }
    object.end();
}

fn subscribe(result: &SubscribeResult, mut object: Object<'_>) {
    expiry(result.ttl_seconds, &mut object);
    object.truth("recoverable", result.recoverable);
    if let Some(position) = &result.position {
        self::position(position, &mut object);
    }
    if !result.publications.is_empty() {
        let data = if result.delta { Data::Whole } else { Data::Plain };
        publications(&result.publications, data, object.key("publications"));
    }
    object.truth("recovered", result.recovered);
    object.truth("positioned", result.positioned);
    object.raw("data", &result.data);
    object.truth("was_recovering", result.was_recovering);
    object.truth("delta", result.delta);
    object.end();
}

fn subscribed(result: &SubscribeResult, mut object: Object<'_>) {
    object.truth("recoverable", result.recoverable);
    if let Some(position) = &result.position {
        self::position(position, &mut object);
    }
    object.truth("positioned", result.positioned);
    object.raw("data", &result.data);
    object.end();
}

fn history(result: &HistoryResult, mut object: Object<'_>) {
    // Never left out: some client libraries read its length unasked.
    publications(&result.publications, Data::Plain, object.key("publications"));
    position(&result.top, &mut object);
    object.end();
}

fn publications(list: &[Arc<Publication>], data: Data<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        publication(item, data, out);
    }
    out.push(b']');
}

fn position(position: &StreamPosition, object: &mut Object<'_>) {
    object.string("epoch", position.epoch.as_str());
    object.number("offset", position.offset.0);
}

fn expiry(ttl_seconds: Option<u32>, object: &mut Object<'_>) {
    object.truth("expires", ttl_seconds.is_some());
    object.number("ttl", ttl_seconds.unwrap_or(0).into());
}

fn client_id(id: ClientId, object: &mut Object<'_>) {
    write!(object.key("client"), "\"{id}\"").expect("writing to a Vec cannot fail");
}
