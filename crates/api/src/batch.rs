//! `batch`: several commands in one request, one after the other or side by side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::Hub;
use tidegate_types::limits::{BATCH_COMMANDS_MAX, BATCH_REPLY_BYTES_MAX};

use crate::answer::{Failure, separate};
use crate::broadcast::IN_FLIGHT_MAX;
use crate::call::Call;
use crate::keys::Access;
use crate::method::Method;
use crate::read::{Text, or_default};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Request<'a> {
    /// Each an object with one key: the method.
    #[serde(borrow)]
    commands: Vec<BTreeMap<Text<'a>, &'a RawValue>>,
    #[serde(deserialize_with = "or_default")]
    parallel: bool,
}

/// `{"replies":[...]}`, one for each command in the order of the request.
pub(crate) async fn run(hub: &Hub, request: Request<'_>, access: &Access) -> Result<Vec<u8>, Failure> {
    if request.commands.len() > BATCH_COMMANDS_MAX {
        return Err(Failure::limit_exceeded(format!(
            "a batch has {} commands, at most {BATCH_COMMANDS_MAX} are allowed: none was carried out, send several batches",
            request.commands.len()
        )));
    }
    // Counted as they are made, which is before those of commands side by side can be written in order.
    let bytes = AtomicUsize::new(0);
    let in_flight = if request.parallel { IN_FLIGHT_MAX } else { 1 };
    let mut out = b"{\"replies\":[".to_vec();
    let mut waiting = FuturesOrdered::new();
    for command in request.commands {
        if waiting.len() == in_flight
            && let Some(reply) = waiting.next().await
        {
            write(reply, &mut out);
        }
        waiting.push_back(bounded(hub, command, access, &bytes));
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

/// One command, unless those before it have replied with too much already.
async fn bounded<'a>(
    hub: &Hub,
    command: BTreeMap<Text<'a>, &'a RawValue>,
    access: &Access,
    bytes: &AtomicUsize,
) -> Result<Vec<u8>, Failure> {
    if bytes.load(Relaxed) > BATCH_REPLY_BYTES_MAX {
        return Err(Failure::limit_exceeded(format!(
            "not carried out: the replies before it have more than {BATCH_REPLY_BYTES_MAX} bytes, send it in another batch"
        )));
    }
    let reply = one(hub, command, access).await?;
    bytes.fetch_add(reply.len(), Relaxed);
    Ok(reply)
}

async fn one<'a>(hub: &Hub, command: BTreeMap<Text<'a>, &'a RawValue>, access: &Access) -> Result<Vec<u8>, Failure> {
    let named = |(name, body): (&Text<'_>, &&'a RawValue)| {
        let (method, body): (_, &'a RawValue) = (Method::parse(&name.0)?, *body);
        let call = Call::read(method, body.get().as_bytes()).filter(|_| body.get() != "null")?;
        Some((method, call))
    };
    let Some((method, call)) = command.iter().find_map(named) else {
        let known: Vec<_> = Method::ALL.iter().filter(|m| **m != Method::Batch).map(|m| m.name()).collect();
        return Err(Failure::bad_request(format!("a command is an object with one of the keys {}", known.join(", "))));
    };
    let name = method.name();
    let call = call.map_err(|error| Failure::bad_request(format!("no {name} request: {error}")))?;
    access.check(method, &call)?;
    let mut out = format!("{{\"{name}\":").into_bytes();
    call.run(hub, &mut out).await?;
    out.push(b'}');
    Ok(out)
}
