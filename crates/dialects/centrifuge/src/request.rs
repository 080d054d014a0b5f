//! What clients send, as both encodings spell it: the fields by their names are JSON, by their numbers Protobuf.
//!
//! Fields that are not here are ignored: of a connect those are `headers`, `flag`, `profile` and `dict`. In JSON `null`
//! means absent and numbers are whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// One command: the first request that is there counts, in the order of [`crate::command::of`].
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Command {
    #[prost(uint32, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) connect: Option<Connect>,
    #[prost(message, optional, tag = "5")]
    pub(crate) subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "6")]
    pub(crate) unsubscribe: Option<OfChannel>,
    #[prost(message, optional, tag = "7")]
    pub(crate) publish: Option<Publish>,
    #[prost(message, optional, tag = "8")]
    pub(crate) presence: Option<OfChannel>,
    #[prost(message, optional, tag = "9")]
    pub(crate) presence_stats: Option<OfChannel>,
    #[prost(message, optional, tag = "10")]
    pub(crate) history: Option<History>,
    #[prost(message, optional, tag = "11")]
    pub(crate) ping: Option<Empty>,
    #[prost(message, optional, tag = "12")]
    pub(crate) send: Option<Send>,
    #[prost(message, optional, tag = "13")]
    pub(crate) rpc: Option<Rpc>,
    #[prost(message, optional, tag = "14")]
    pub(crate) refresh: Option<Refresh>,
    #[prost(message, optional, tag = "15")]
    pub(crate) sub_refresh: Option<SubRefresh>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Connect {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) token: String,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "payload")]
    pub(crate) data: Bytes,
    /// By channel.
    #[prost(btree_map = "string, message", tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) subs: BTreeMap<String, Subscribe>,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[prost(string, tag = "5")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Subscribe {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) token: String,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) recover: bool,
    #[prost(string, tag = "6")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) epoch: String,
    #[prost(uint64, tag = "7")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) offset: u64,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) positioned: bool,
    #[prost(bool, tag = "10")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) recoverable: bool,
    #[prost(bool, tag = "11")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) join_leave: bool,
    #[prost(string, tag = "12")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) delta: String,
    #[prost(message, optional, tag = "13")]
    #[serde(rename = "tf")]
    pub(crate) tags_filter: Option<Empty>,
    #[prost(int64, tag = "14")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) flag: i64,
    /// 0 = a stream.
    #[prost(int32, tag = "15")]
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(crate) kind: i32,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct OfChannel {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Publish {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "payload")]
    pub(crate) data: Bytes,
    /// An extension of the protocol, far from its own numbers.
    #[prost(bool, tag = "1000")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) exclude_self: bool,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[prost(int32, tag = "7")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) limit: i32,
    #[prost(message, optional, tag = "8")]
    pub(crate) since: Option<StreamPosition>,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) reverse: bool,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct StreamPosition {
    #[prost(uint64, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) offset: u64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) epoch: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Send {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "payload")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Rpc {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "payload")]
    pub(crate) data: Bytes,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) method: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct Refresh {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) token: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct SubRefresh {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) token: String,
}

/// An object whose content does not matter.
#[derive(Clone, Copy, PartialEq, Message, Deserialize)]
pub(crate) struct Empty {}

/// `null` is the zero value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A copy of any value as it is spelled, `null` too, without the newlines between its tokens (inside strings there are
/// none).
fn payload<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get().as_bytes();
    Ok(match memchr::memchr2(b'\n', b'\r', raw) {
        None => Bytes::copy_from_slice(raw),
        Some(_) => raw.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect(),
    })
}
