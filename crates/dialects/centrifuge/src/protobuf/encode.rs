//! Neutral replies and pushes to bytes. What is sent per publication is in [`super::push`].

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tidegate_protocol::{ConnectResult, HistoryResult, Push, Reply, SubscribeResult};
use tidegate_types::codes::ErrorCode;
use tidegate_types::{ClientInfo, Meta, Publication};

use super::wire;
use crate::request::Empty;

pub(super) fn reply(id: u32, reply: &Reply, out: &mut Vec<u8>) {
    let mut message = wire::Reply { id, ..Default::default() };
    match reply {
        Reply::Error(code) => message.error = Some(error(*code)),
        Reply::Connect(result) => message.connect = Some(connect(result)),
        Reply::Subscribe(result) => message.subscribe = Some(subscribe(result)),
        Reply::Unsubscribe => message.unsubscribe = Some(Empty {}),
        Reply::Publish => message.publish = Some(Empty {}),
        Reply::History(result) => message.history = Some(history(result)),
        Reply::Presence(members) => {
            let presence = members.iter().map(|info| (info.client.clone(), client_info(info))).collect();
            message.presence = Some(wire::PresenceResult { presence });
        }
        Reply::PresenceStats { clients, users } => {
            message.presence_stats = Some(wire::PresenceStatsResult { num_clients: *clients, num_users: *users });
        }
        Reply::Refresh { client, ttl_seconds } => {
            let (expires, ttl) = expiry(*ttl_seconds);
            message.refresh =
                Some(wire::RefreshResult { client: client.to_string(), version: String::new(), expires, ttl });
        }
        Reply::SubRefresh { ttl_seconds } => {
            let (expires, ttl) = expiry(*ttl_seconds);
            message.sub_refresh = Some(wire::SubRefreshResult { expires, ttl });
        }
    }
    append(&message, out);
}

pub(super) fn push(push: &Push<'_>, out: &mut Vec<u8>) {
    let push = match push {
        Push::Connected(result) => wire::Push { connect: Some(connect(result)), ..Default::default() },
        Push::Subscribed { channel, result } => {
            wire::Push { channel: (*channel).to_owned(), subscribe: Some(subscribed(result)), ..Default::default() }
        }
        Push::Unsubscribed { channel, code } => wire::Push {
            channel: (*channel).to_owned(),
            unsubscribe: Some(wire::Unsubscribe { code: code.code, reason: code.reason.to_owned() }),
            ..Default::default()
        },
        Push::Joined { channel, info } => wire::Push {
            channel: (*channel).to_owned(),
            join: Some(wire::CameOrWent { info: Some(client_info(info)) }),
            ..Default::default()
        },
        Push::Left { channel, info } => wire::Push {
            channel: (*channel).to_owned(),
            leave: Some(wire::CameOrWent { info: Some(client_info(info)) }),
            ..Default::default()
        },
        Push::Disconnected { code, reason } => wire::Push {
            disconnect: Some(wire::Disconnect { code: (*code).into(), reason: (*reason).to_owned() }),
            ..Default::default()
        },
        Push::Refreshed { ttl_seconds } => {
            let (expires, ttl) = expiry(*ttl_seconds);
            wire::Push { refresh: Some(wire::Refreshed { expires, ttl }), ..Default::default() }
        }
    };
    append(&wire::Reply { push: Some(push), ..Default::default() }, out);
}

fn append(message: &wire::Reply, out: &mut Vec<u8>) {
    message.encode_length_delimited(out).expect("a Vec has room");
}

fn error(code: ErrorCode) -> wire::Error {
    wire::Error { code: code.code, message: code.message.to_owned(), temporary: code.temporary }
}

fn connect(result: &ConnectResult) -> wire::ConnectResult {
    let (expires, ttl) = expiry(result.ttl_seconds);
    wire::ConnectResult {
        client: result.client.to_string(),
        version: result.version.to_owned(),
        expires,
        ttl,
        data: result.data.clone(),
        subs: result.subscriptions.iter().map(|(channel, result)| (channel.clone(), subscribe(result))).collect(),
        ping: result.ping_seconds,
        pong: result.pong,
        session: result.uplink.as_ref().map(|u| u.session.clone()).unwrap_or_default(),
        node: result.uplink.as_ref().map(|u| u.node.clone()).unwrap_or_default(),
        padding: vec![0; result.padding].into(),
    }
}

fn subscribe(result: &SubscribeResult) -> wire::SubscribeResult {
    let (expires, ttl) = expiry(result.ttl_seconds);
    let position = result.position.as_ref();
    wire::SubscribeResult {
        expires,
        ttl,
        recoverable: result.recoverable,
        epoch: position.map(|p| p.epoch.as_str().to_owned()).unwrap_or_default(),
        publications: publications(&result.publications),
        recovered: result.recovered,
        offset: position.map_or(0, |p| p.offset.0),
        positioned: result.positioned,
        data: result.data.clone(),
        was_recovering: result.was_recovering,
        delta: result.delta,
    }
}

fn subscribed(result: &SubscribeResult) -> wire::Subscribed {
    let position = result.position.as_ref();
    wire::Subscribed {
        recoverable: result.recoverable,
        epoch: position.map(|p| p.epoch.as_str().to_owned()).unwrap_or_default(),
        offset: position.map_or(0, |p| p.offset.0),
        positioned: result.positioned,
        data: result.data.clone(),
    }
}

fn history(result: &HistoryResult) -> wire::HistoryResult {
    wire::HistoryResult {
        publications: publications(&result.publications),
        epoch: result.top.epoch.as_str().to_owned(),
        offset: result.top.offset.0,
    }
}

fn publications(list: &[Arc<Publication>]) -> Vec<wire::Publication> {
    list.iter().map(|p| publication(p)).collect()
}

/// A publication; payload and tags are not copied more often than they have to be.
pub(super) fn publication(publication: &Publication) -> wire::Publication {
    let meta = publication.meta.as_deref();
    wire::Publication {
        data: publication.payload.raw().clone(),
        info: meta.and_then(|m| m.info.as_ref()).map(client_info),
        offset: publication.offset.0,
        tags: meta.map(tags).unwrap_or_default(),
        delta: false,
    }
}

/// A publication whose payload is given as the difference to the one before.
pub(super) fn delta(publication: &Publication, delta: &[u8]) -> wire::Publication {
    wire::Publication { data: Bytes::copy_from_slice(delta), delta: true, ..self::publication(publication) }
}

fn client_info(info: &ClientInfo) -> wire::ClientInfo {
    wire::ClientInfo {
        user: info.user.clone(),
        client: info.client.clone(),
        conn_info: info.conn_info.clone(),
        chan_info: info.chan_info.clone(),
    }
}

fn tags(meta: &Meta) -> std::collections::HashMap<String, String> {
    meta.tags.iter().cloned().collect()
}

fn expiry(ttl_seconds: Option<u32>) -> (bool, u32) {
    (ttl_seconds.is_some(), ttl_seconds.unwrap_or(0))
}
