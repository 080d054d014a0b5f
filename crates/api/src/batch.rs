//! `batch`: several commands in one request, one after the other or side by side.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tidegate_core::Hub;

use crate::answer::{Failure, position, separate};
use crate::broadcast::IN_FLIGHT_MAX;
use crate::method::Method;
use crate::read::or_default;
use crate::{broadcast, clients, history, info, presence, publish, subscribe};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Request<'a> {
    /// As many as the bound of a body holds.
    #[serde(borrow)]
    commands: Vec<Command<'a>>,
    #[serde(deserialize_with = "or_default")]
    parallel: bool,
}

/// An object with one key.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Command<'a> {
    #[serde(borrow)]
    publish: Option<publish::Request<'a>>,
    #[serde(borrow)]
    broadcast: Option<broadcast::Request<'a>>,
    history: Option<history::Request>,
    info: Option<IgnoredAny>,
    presence: Option<presence::Request>,
    presence_stats: Option<presence::Request>,
    disconnect: Option<clients::Request>,
    #[serde(borrow)]
    subscribe: Option<subscribe::Request<'a>>,
    unsubscribe: Option<clients::Request>,
    refresh: Option<clients::Request>,
}

/// `{"replies":[...]}`, one for each command in the order of the request.
pub(crate) async fn run(hub: &Hub, request: Request<'_>) -> Result<Vec<u8>, Failure> {
    let in_flight = if request.parallel { IN_FLIGHT_MAX } else { 1 };
    let mut out = b"{\"replies\":[".to_vec();
    let mut waiting = FuturesOrdered::new();
    for command in request.commands {
        if waiting.len() == in_flight
            && let Some(reply) = waiting.next().await
        {
            write(reply, &mut out);
        }
        waiting.push_back(one(hub, command));
    }
    while let Some(reply) = waiting.next().await {
        write(reply, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn write(reply: Result<Vec<u8>, Failure>, out: &mut Vec<u8>) {
    separate(out);
    match reply {
        Ok(reply) => out.extend_from_slice(&reply),
        Err(failure) => failure.write_wrapped(out),
    }
}

async fn one(hub: &Hub, command: Command<'_>) -> Result<Vec<u8>, Failure> {
    if let Some(request) = command.publish {
        let at = publish::run(hub, request)?.await?;
        Ok(named("publish", |out| position(&at, out)))
    } else if let Some(request) = command.broadcast {
        let responses = broadcast::run(hub, request).await?;
        Ok(named("broadcast", |out| out.extend_from_slice(&responses)))
    } else if let Some(request) = command.history {
        let result = history::run(hub, request).await?;
        Ok(named("history", |out| history::write(&result, out)))
    } else if command.info.is_some() {
        Ok(named("info", |out| info::write(&hub.nodes(), out)))
    } else if let Some(request) = command.disconnect {
        clients::disconnect(hub, request).await?;
        Ok(named("disconnect", empty))
    } else if let Some(request) = command.subscribe {
        subscribe::run(hub, request).await?;
        Ok(named("subscribe", empty))
    } else if let Some(request) = command.unsubscribe {
        clients::unsubscribe(hub, request).await?;
        Ok(named("unsubscribe", empty))
    } else if let Some(request) = command.refresh {
        clients::refresh(hub, request).await?;
        Ok(named("refresh", empty))
    } else if let Some(request) = command.presence {
        let members = presence::members(hub, request).await?;
        Ok(named("presence", |out| presence::write(&members, out)))
    } else if let Some(request) = command.presence_stats {
        let stats = presence::stats(hub, request).await?;
        Ok(named("presence_stats", |out| presence::write_stats(stats, out)))
    } else {
        let known: Vec<_> = Method::ALL.iter().filter(|m| **m != Method::Batch).map(|m| m.name()).collect();
        Err(Failure::bad_request(format!("a command is an object with one of the keys {}", known.join(", "))))
    }
}

fn empty(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{}");
}

fn named(name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write(&mut out);
    out.push(b'}');
    out
}
