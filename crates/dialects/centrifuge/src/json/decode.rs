//! Bytes to neutral commands.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidegate_protocol::{Command, Connect, DecodeError, History, Method, Positions, Since};
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

use super::wire;
use crate::subscribe::{self, Wish};

pub(super) fn message(message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
    let mut commands = serde_json::Deserializer::from_slice(message).into_iter::<wire::Command<'_>>();
    let mut count = 0;
    loop {
        // A list would be read as an object's fields in their order.
        let next = message.get(commands.byte_offset()..).unwrap_or_default().trim_ascii_start().first();
        if next.is_some_and(|byte| *byte != b'{') {
            return Err(DecodeError(format!("command {}: not an object", count + 1)));
        }
        let Some(decoded) = commands.next() else { break };
        if count == COMMANDS_PER_FRAME_MAX {
            return Err(DecodeError(format!("more than {COMMANDS_PER_FRAME_MAX} commands in one message")));
        }
        count += 1;
        let decoded = decoded.map_err(|e| DecodeError(format!("command {count}: {e}")))?;
        if each(command(decoded)?).is_break() {
            return Ok(());
        }
    }
    if count == 0 {
        return Err(DecodeError("no command in the message".to_owned()));
    }
    Ok(())
}

fn command(wire: wire::Command<'_>) -> Result<Command, DecodeError> {
    if wire.id == 0 && wire.send.is_none() {
        return Ok(Command { id: 0, method: Method::Pong });
    }
    Ok(Command { id: wire.id, method: method(wire)? })
}

fn method(wire: wire::Command<'_>) -> Result<Method, DecodeError> {
    Ok(if let Some(r) = wire.connect {
        Method::Connect(Box::new(connect(r)?))
    } else if let Some(r) = wire.subscribe {
        subscribe::method(wish(r))?
    } else if let Some(r) = wire.unsubscribe {
        Method::Unsubscribe { channel: r.channel }
    } else if let Some(r) = wire.publish {
        Method::Publish { channel: r.channel, data: bytes(r.data), exclude_self: r.exclude_self }
    } else if let Some(r) = wire.presence {
        Method::Presence { channel: r.channel }
    } else if let Some(r) = wire.presence_stats {
        Method::PresenceStats { channel: r.channel }
    } else if let Some(r) = wire.history {
        let since = r.since.map(|s| Since { offset: s.offset, epoch: s.epoch });
        Method::History(Box::new(History { channel: r.channel, limit: r.limit, since, reverse: r.reverse }))
    } else if let Some(r) = wire.rpc {
        Method::Rpc { method: r.method, data: bytes(r.data) }
    } else if let Some(r) = wire.send {
        Method::Send { data: bytes(r.data) }
    } else if let Some(r) = wire.refresh {
        Method::Refresh { token: r.token }
    } else if let Some(r) = wire.sub_refresh {
        Method::SubRefresh { channel: r.channel, token: r.token }
    } else if wire.ping.is_some() {
        Method::Ping
    } else {
        return Err(DecodeError(format!("command with id {} asks for nothing known", wire.id)));
    })
}

pub(super) fn connect(wire: wire::Connect<'_>) -> Result<Connect, DecodeError> {
    let wishes = wire.subs.into_iter().map(|(channel, r)| Wish { channel, ..wish(r) });
    Ok(Connect {
        token: wire.token,
        data: bytes(wire.data),
        name: wire.name,
        version: wire.version,
        subscriptions: subscribe::of_connect(wishes)?,
        resume: Positions::default(),
    })
}

fn wish(wire: wire::Subscribe) -> Wish {
    Wish {
        channel: wire.channel,
        token: wire.token,
        since: wire.recover.then_some(Since { offset: wire.offset, epoch: wire.epoch }),
        positioned: wire.positioned,
        recoverable: wire.recoverable,
        join_leave: wire.join_leave,
        delta: wire.delta,
        flag: wire.flag,
        kind: wire.kind,
        filtered: wire.tags_filter.is_some(),
    }
}

/// A copy of a value as it was spelled, without the newlines between its tokens (inside strings there are none).
fn bytes(raw: Option<&RawValue>) -> Bytes {
    let Some(raw) = raw else { return Bytes::new() };
    let raw = raw.get().as_bytes();
    match memchr::memchr2(b'\n', b'\r', raw) {
        None => Bytes::copy_from_slice(raw),
        Some(_) => raw.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect(),
    }
}
