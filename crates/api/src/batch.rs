//! `batch`: several commands in one request, one after the other or side by side.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    commands: Vec<Command<'a>>,
    #[serde(deserialize_with = "or_default")]
    parallel: bool,
}

/// An object with one key: the method, and what is asked of it. What else was written is kept to be refused.
struct Command<'a>(Vec<(Method, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Command<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Methods;
        impl<'de> Visitor<'de> for Methods {
            type Value = Command<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one method")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Command<'de>, A::Error> {
                let mut methods = Vec::new();
                while let Some((name, body)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    methods.extend(Method::parse(&name.0).map(|method| (method, body)));
                }
                Ok(Command(methods))
            }
        }
        deserializer.deserialize_map(Methods)
    }
}

impl<'a> Command<'a> {
    /// The call that it is, if it is one.
    fn read(self) -> Result<(Method, Call<'a>), Failure> {
        let Self(mut methods) = self;
        let times = |(method, _): &(Method, _)| methods.iter().filter(|(other, _)| other == method).count();
        if let Some((method, _)) = methods.iter().find(|method| times(method) > 1) {
            return Err(Failure::bad_request(format!("{0} stands twice in a command: send it once", method.name())));
        }
        // Several client libraries write null for what is not given.
        methods.retain(|(_, body)| body.get() != "null");
        let found = match methods.as_slice() {
            [] => None,
            [(method, body)] => Call::read(*method, body.get().as_bytes()).map(|call| (*method, call)),
            several => {
                let names: Vec<_> = several.iter().map(|(method, _)| method.name()).collect();
                let why = format!("a command has the methods {}: send one command for each", names.join(", "));
                return Err(Failure::bad_request(why));
            }
        };
        let Some((method, call)) = found else {
            let known: Vec<_> = Method::ALL.iter().filter(|m| **m != Method::Batch).map(|m| m.name()).collect();
            let why = format!("a command is an object with one of the keys {}", known.join(", "));
            return Err(Failure::bad_request(why));
        };
        let call = call.map_err(|error| Failure::bad_request(format!("no {} request: {error}", method.name())))?;
        Ok((method, call))
    }
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
async fn bounded(hub: &Hub, command: Command<'_>, access: &Access, bytes: &AtomicUsize) -> Result<Vec<u8>, Failure> {
    if bytes.load(Relaxed) > BATCH_REPLY_BYTES_MAX {
        return Err(Failure::limit_exceeded(format!(
            "not carried out: the replies before it have more than {BATCH_REPLY_BYTES_MAX} bytes, send it in another batch"
        )));
    }
    let reply = one(hub, command, access).await?;
    bytes.fetch_add(reply.len(), Relaxed);
    Ok(reply)
}

async fn one(hub: &Hub, command: Command<'_>, access: &Access) -> Result<Vec<u8>, Failure> {
    let (method, call) = command.read()?;
    access.check(method, &call)?;
    let mut out = format!("{{\"{}\":", method.name()).into_bytes();
    call.run(hub, &mut out).await?;
    out.push(b'}');
    Ok(out)
}
