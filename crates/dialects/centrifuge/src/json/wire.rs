//! Commands as they are spelled. Unknown fields are ignored, `null` means absent, numbers are whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// One command: the first request that is there counts, in the order of the fields.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Command<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) id: u32,
    #[serde(borrow)]
    pub(super) connect: Option<Connect<'a>>,
    pub(super) subscribe: Option<Subscribe>,
    pub(super) unsubscribe: Option<OfChannel>,
    #[serde(borrow)]
    pub(super) publish: Option<Publish<'a>>,
    pub(super) presence: Option<OfChannel>,
    pub(super) presence_stats: Option<OfChannel>,
    pub(super) history: Option<History>,
    #[serde(borrow)]
    pub(super) rpc: Option<Rpc<'a>>,
    #[serde(borrow)]
    pub(super) send: Option<Send<'a>>,
    pub(super) refresh: Option<Refresh>,
    pub(super) sub_refresh: Option<SubRefresh>,
    pub(super) ping: Option<Empty>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Connect<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
    #[serde(borrow, deserialize_with = "raw")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) version: String,
    /// By channel.
    #[serde(deserialize_with = "or_default")]
    pub(super) subs: BTreeMap<String, Subscribe>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Subscribe {
    #[serde(deserialize_with = "or_default")]
    pub(super) channel: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) recover: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) epoch: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) offset: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) positioned: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) recoverable: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) join_leave: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) delta: String,
    #[serde(rename = "tf")]
    pub(super) tags_filter: Option<Empty>,
    #[serde(deserialize_with = "or_default")]
    pub(super) flag: i64,
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: i32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OfChannel {
    #[serde(deserialize_with = "or_default")]
    pub(super) channel: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Publish<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) channel: String,
    #[serde(borrow, deserialize_with = "raw")]
    pub(super) data: Option<&'a RawValue>,
    /// An extension of the protocol.
    #[serde(deserialize_with = "or_default")]
    pub(super) exclude_self: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct History {
    #[serde(deserialize_with = "or_default")]
    pub(super) channel: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) limit: i32,
    pub(super) since: Option<Since>,
    #[serde(deserialize_with = "or_default")]
    pub(super) reverse: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Since {
    #[serde(deserialize_with = "or_default")]
    pub(super) offset: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) epoch: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Rpc<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) method: String,
    #[serde(borrow, deserialize_with = "raw")]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Send<'a> {
    #[serde(borrow, deserialize_with = "raw")]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Refresh {
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SubRefresh {
    #[serde(deserialize_with = "or_default")]
    pub(super) channel: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
}

/// An object whose content does not matter.
#[derive(Deserialize)]
pub(super) struct Empty {}

/// `null` is the zero value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Any value as it is spelled, `null` too: that is a payload like others.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
