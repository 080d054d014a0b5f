//! The part of the Centrifuge client protocol that a watcher needs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Position;

#[derive(Serialize)]
struct Command<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<Connect<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribe: Option<Subscribe<'a>>,
}

#[derive(Serialize)]
struct Connect<'a> {
    token: &'a str,
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Subscribe<'a> {
    channel: &'a str,
    token: &'a str,
    recover: bool,
    offset: u64,
    epoch: &'a str,
    positioned: bool,
    recoverable: bool,
}

/// Id of the connect command.
pub(super) const CONNECT: u32 = 1;
/// Id of the subscribe command.
pub(super) const SUBSCRIBE: u32 = 2;

/// Connect and subscribe in one message.
pub(super) fn greeting(
    token: &str,
    channel: &str,
    channel_token: &str,
    since: Option<&Position>,
) -> serde_json::Result<String> {
    let connect = Connect { token, name: "tidegate", version: env!("CARGO_PKG_VERSION") };
    let subscribe = Subscribe {
        channel,
        token: channel_token,
        recover: since.is_some(),
        offset: since.map_or(0, |p| p.offset),
        epoch: since.map_or("", |p| &p.epoch),
        positioned: true,
        recoverable: true,
    };
    let first = Command { id: CONNECT, connect: Some(connect), subscribe: None };
    let second = Command { id: SUBSCRIBE, connect: None, subscribe: Some(subscribe) };
    Ok(format!("{}\n{}", serde_json::to_string(&first)?, serde_json::to_string(&second)?))
}

/// One message of the server; everything absent = a ping.
#[derive(Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(default)]
    pub(super) id: u32,
    #[serde(default)]
    pub(super) error: Option<Error>,
    #[serde(default)]
    pub(super) connect: Option<Connected>,
    #[serde(default, borrow)]
    pub(super) subscribe: Option<Subscribed<'a>>,
    #[serde(default, borrow)]
    pub(super) push: Option<Push<'a>>,
}

#[derive(Deserialize, Debug)]
pub(super) struct Error {
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) temporary: bool,
}

#[derive(Deserialize)]
pub(super) struct Connected {
    /// Seconds between pings; 0 = none.
    #[serde(default)]
    pub(super) ping: u64,
    #[serde(default)]
    pub(super) pong: bool,
}

#[derive(Deserialize)]
pub(super) struct Subscribed<'a> {
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) epoch: String,
    #[serde(default)]
    pub(super) positioned: bool,
    #[serde(default)]
    pub(super) recovered: bool,
    #[serde(default)]
    pub(super) was_recovering: bool,
    #[serde(default, borrow)]
    pub(super) publications: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Push<'a> {
    #[serde(default, borrow, rename = "pub")]
    pub(super) publication: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) unsubscribe: Option<Unsubscribe>,
}

#[derive(Deserialize)]
pub(super) struct Unsubscribe {
    pub(super) code: u32,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Deserialize)]
pub(super) struct Publication<'a> {
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
    #[serde(default)]
    pub(super) offset: u64,
}
