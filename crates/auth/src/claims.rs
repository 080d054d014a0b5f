//! What tokens say.
//!
//! Payloads come out as the token has them (JSON, or the bytes of a `b64` claim); what becomes of bytes that are no
//! JSON is decided where they are shown. A claim of the wrong type makes the token invalid.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::capability::{Capabilities, RawCapability};

/// What a connection token says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionClaims {
    /// The user; empty = anonymous.
    pub user: String,
    /// Shown to others; empty = none.
    pub info: Bytes,
    /// When the connection must be refreshed, seconds since 1970; `None` = never.
    pub expire_at: Option<i64>,
    /// When the token was made, seconds since 1970.
    pub issued_at: Option<i64>,
    /// Names the token; empty = nameless.
    pub id: String,
    /// A JSON object for the server alone; empty = none.
    pub meta: Bytes,
    /// What the client is subscribed to without asking.
    pub subscriptions: Vec<ServerSubscription>,
    /// What the client may do, beside what its channels allow to all.
    pub capabilities: Capabilities,
}

/// A subscription that the server makes for a client.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerSubscription {
    /// The channel.
    pub channel: String,
    /// Shown to others; empty = none.
    pub info: Bytes,
    /// Data for the subscriber; empty = none.
    pub data: Bytes,
    /// What differs from the channel's settings.
    pub overrides: Overrides,
}

/// What a token changes of a channel's settings for one subscription; `None` = as the channel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// The subscriber shows in presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// It may be told of joins and leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_leave: Option<bool>,
    /// It is told of others' whether it asks or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_push_join_leave: Option<bool>,
    /// It is recoverable whether it asks or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_recovery: Option<bool>,
    /// It has positions whether it asks or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_positioning: Option<bool>,
}

/// What a subscription token says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionClaims {
    /// The user that it was made for.
    pub user: String,
    /// The channel that it was made for.
    pub channel: String,
    /// The session that it was made for; empty = any.
    pub client: String,
    /// Shown to others; empty = none.
    pub info: Bytes,
    /// Data for the subscriber; empty = none.
    pub data: Bytes,
    /// When the subscription must be refreshed, seconds since 1970; `None` = never.
    pub expire_at: Option<i64>,
    /// When the token was made, seconds since 1970.
    pub issued_at: Option<i64>,
    /// Names the token; empty = nameless.
    pub id: String,
    /// What differs from the channel's settings.
    pub overrides: Overrides,
}

/// Claims as they are written.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: Option<String>,
    exp: Option<Seconds>,
    nbf: Option<Seconds>,
    iat: Option<Seconds>,
    expire_at: Option<Seconds>,
    jti: Option<String>,
    aud: Option<Audience>,
    pub(crate) iss: Option<String>,
    pub(crate) channel: Option<String>,
    client: Option<String>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<WrittenOverrides>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, RawSubscription>>,
    meta: Option<Box<RawValue>>,
    caps: Option<Vec<RawCapability>>,
}

impl Claims {
    /// The token can be used from here on; `None` = always could.
    pub(crate) fn begins(&self) -> Option<i64> {
        self.nbf.map(|s| s.0)
    }

    /// The token can be used until here; `None` = for ever.
    pub(crate) fn ends(&self) -> Option<i64> {
        self.exp.map(|s| s.0)
    }

    /// Whether it is meant for one of these; nobody named means everybody.
    pub(crate) fn is_for(&self, audiences: &[String]) -> bool {
        let named = self.aud.as_ref().map_or(&[][..], |a| &a.0);
        audiences.is_empty() || named.iter().any(|name| audiences.contains(name))
    }

    /// `expire_at` overrides `exp`; 0 is never.
    fn expiry(&self) -> Option<i64> {
        self.expire_at.or(self.exp).map(|s| s.0).filter(|at| *at > 0)
    }

    /// As a connection token; `None` = it is none.
    pub(crate) fn connection(self, user: String) -> Option<ConnectionClaims> {
        if self.channel.is_some() {
            return None;
        }
        let expire_at = self.expiry();
        let meta = bytes(self.meta, None)?;
        if !meta.is_empty() && meta[0] != b'{' {
            return None;
        }
        Some(ConnectionClaims {
            user,
            info: bytes(self.info, self.b64info)?,
            expire_at,
            issued_at: self.iat.map(|s| s.0),
            id: self.jti.unwrap_or_default(),
            meta,
            subscriptions: subscriptions(self.channels.unwrap_or_default(), self.subs.unwrap_or_default())?,
            capabilities: Capabilities::parse(self.caps.unwrap_or_default())?,
        })
    }

    /// As a subscription token; `None` = it is none.
    pub(crate) fn subscription(self, user: String) -> Option<SubscriptionClaims> {
        let expire_at = self.expiry();
        Some(SubscriptionClaims {
            user,
            channel: self.channel.filter(|c| !c.is_empty())?,
            client: self.client.unwrap_or_default(),
            info: bytes(self.info, self.b64info)?,
            data: bytes(self.data, self.b64data)?,
            expire_at,
            issued_at: self.iat.map(|s| s.0),
            id: self.jti.unwrap_or_default(),
            overrides: self.overrides.unwrap_or_default().into(),
        })
    }
}

#[derive(Deserialize)]
struct RawSubscription {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<WrittenOverrides>,
}

/// `channels` and `subs` together; what `subs` says of a channel goes before its bare name.
fn subscriptions(channels: Vec<String>, subs: BTreeMap<String, RawSubscription>) -> Option<Vec<ServerSubscription>> {
    let bare = channels.into_iter().map(|channel| (channel, ServerSubscription::default()));
    let mut all: BTreeMap<String, ServerSubscription> = bare.collect();
    for (channel, raw) in subs {
        let subscription = ServerSubscription {
            channel: String::new(),
            info: bytes(raw.info, raw.b64info)?,
            data: bytes(raw.data, raw.b64data)?,
            overrides: raw.overrides.unwrap_or_default().into(),
        };
        all.insert(channel, subscription);
    }
    let named = all.into_iter().map(|(channel, subscription)| ServerSubscription { channel, ..subscription });
    let named: Vec<_> = named.collect();
    named.iter().all(|s| !s.channel.is_empty()).then_some(named)
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Value {
    value: bool,
}

/// From an object alone: what is derived takes a list too.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What differs from the channel's settings, as tokens and backends write it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Override"))]
#[serde(default)]
pub struct WrittenOverrides {
    presence: Option<Value>,
    join_leave: Option<Value>,
    force_push_join_leave: Option<Value>,
    force_recovery: Option<Value>,
    force_positioning: Option<Value>,
}

impl From<WrittenOverrides> for Overrides {
    fn from(raw: WrittenOverrides) -> Self {
        let value = |v: Option<Value>| v.map(|v| v.value);
        Self {
            presence: value(raw.presence),
            join_leave: value(raw.join_leave),
            force_push_join_leave: value(raw.force_push_join_leave),
            force_recovery: value(raw.force_recovery),
            force_positioning: value(raw.force_positioning),
        }
    }
}

fn bytes(json: Option<Box<RawValue>>, base64: Option<String>) -> Option<Bytes> {
    match (json, base64) {
        (Some(json), _) => Some(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, Some(base64)) => STANDARD.decode(base64).ok().map(Bytes::from),
        (None, None) => Some(Bytes::new()),
    }
}

/// A time in seconds since 1970. Fractions, which RFC 7519 allows, are cut.
#[derive(Clone, Copy)]
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Seconds, E> {
                Ok(Seconds(n))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Seconds, E> {
                Ok(Seconds(i64::try_from(n).unwrap_or(i64::MAX)))
            }

            #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Seconds, E> {
                Ok(Seconds(n as i64))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// `aud`: a name or several.
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Names {
            One(String),
            Several(Vec<String>),
        }
        Ok(Self(match Names::deserialize(deserializer)? {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        }))
    }
}
