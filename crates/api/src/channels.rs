//! `channels`: which channels have subscribers, on whatever node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_core::Hub;

use crate::answer::Failure;
use crate::read::or_default;

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request {
    /// `*` is any run of characters; empty = every channel.
    #[serde(deserialize_with = "or_default")]
    pattern: String,
}

/// Asks all nodes.
pub(crate) async fn run(hub: &Hub, request: Request) -> Result<BTreeMap<String, u64>, Failure> {
    let control = hub.control().ok_or(Failure::not_available("needs the control log: control.enabled is false"))?;
    Ok(control.channels(&request.pattern).await?)
}

#[derive(Serialize)]
struct Channels<'a> {
    channels: BTreeMap<&'a str, Channel>,
}

#[derive(Serialize)]
struct Channel {
    num_clients: u64,
}

/// `{"channels":{"news":{"num_clients":3}}}`.
pub(crate) fn write(found: &BTreeMap<String, u64>, out: &mut Vec<u8>) {
    let channels = found.iter().map(|(name, count)| (name.as_str(), Channel { num_clients: *count })).collect();
    serde_json::to_writer(out, &Channels { channels }).expect("texts and numbers serialise into memory");
}
