//! Bytes to neutral commands.

use std::ops::ControlFlow;

use prost::Message as _;
use prost::encoding::decode_varint;
use tidegate_protocol::{Command, Connect, DecodeError, History, Method, Positions, Since};
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

use super::wire;
use crate::subscribe::{self, Wish};

pub(super) fn message(mut message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
    if message.is_empty() {
        return Err(DecodeError("no command in the message".to_owned()));
    }
    let mut count = 0;
    while !message.is_empty() {
        if count == COMMANDS_PER_FRAME_MAX {
            return Err(DecodeError(format!("more than {COMMANDS_PER_FRAME_MAX} commands in one message")));
        }
        count += 1;
        let wrong = |why: String| DecodeError(format!("command {count}: {why}"));
        let length = decode_varint(&mut message).map_err(|e| wrong(format!("its length: {e}")))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((one, rest)) = message.split_at_checked(length) else {
            return Err(wrong(format!("its length is {length} and {} bytes follow", message.len())));
        };
        message = rest;
        let decoded = wire::Command::decode(one).map_err(|e| wrong(e.to_string()))?;
        if each(command(decoded)?).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn command(wire: wire::Command) -> Result<Command, DecodeError> {
    if wire.id == 0 && wire.send.is_none() {
        return Ok(Command { id: 0, method: Method::Pong });
    }
    Ok(Command { id: wire.id, method: method(wire)? })
}

fn method(wire: wire::Command) -> Result<Method, DecodeError> {
    Ok(if let Some(r) = wire.connect {
        Method::Connect(Box::new(connect(r)?))
    } else if let Some(r) = wire.subscribe {
        subscribe::method(wish(r))?
    } else if let Some(r) = wire.unsubscribe {
        Method::Unsubscribe { channel: r.channel }
    } else if let Some(r) = wire.publish {
        Method::Publish { channel: r.channel, data: r.data, exclude_self: r.exclude_self }
    } else if let Some(r) = wire.presence {
        Method::Presence { channel: r.channel }
    } else if let Some(r) = wire.presence_stats {
        Method::PresenceStats { channel: r.channel }
    } else if let Some(r) = wire.history {
        let since = r.since.map(|s| Since { offset: s.offset, epoch: s.epoch });
        Method::History(Box::new(History { channel: r.channel, limit: r.limit, since, reverse: r.reverse }))
    } else if let Some(r) = wire.rpc {
        Method::Rpc { method: r.method, data: r.data }
    } else if let Some(r) = wire.send {
        Method::Send { data: r.data }
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

fn connect(wire: wire::Connect) -> Result<Connect, DecodeError> {
    let wishes = wire.subs.into_iter().map(|(channel, r)| Wish { channel, ..wish(r) });
    Ok(Connect {
        token: wire.token,
        data: wire.data,
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
