//! How fields of requests are read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidegate_core::payload::classify;
use tidegate_types::Tags;

use crate::answer::Failure;

/// A request in a body. A list would be read as an object's fields in their order.
pub(crate) fn request<'de, T: Deserialize<'de>>(body: &'de [u8]) -> serde_json::Result<T> {
    match body.trim_ascii_start().first() {
        Some(b'[') => Err(serde_json::Error::custom("expected an object, found a list")),
        _ => serde_json::from_slice(body),
    }
}

/// The same for an object within a request, where `null` is none.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Object(PhantomData))
}

/// `null` is the zero value: several client libraries write it for what is not given.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A position that somebody stands at.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Since {
    #[serde(deserialize_with = "or_default")]
    pub(crate) offset: u64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) epoch: String,
}

/// Any value as it is spelled, `null` too: that is a payload like others.
pub(crate) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// `{"key":"value"}` in the order given.
#[derive(Default)]
pub(crate) struct TagMap(pub(crate) Tags);

impl<'de> Deserialize<'de> for TagMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = TagMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TagMap, A::Error> {
                let mut tags = Tags::new();
                while let Some(pair) = map.next_entry()? {
                    tags.push(pair);
                }
                Ok(TagMap(tags))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The payload of `data` (any JSON value, as it is spelled) or of `b64data` (any bytes), which goes first.
pub(crate) fn payload(data: Option<&RawValue>, b64data: &str) -> Result<Bytes, Failure> {
    if !b64data.is_empty() {
        return base64("b64data", b64data);
    }
    // A copy: the request's buffer may be far larger than the payload, which stays in memory for long.
    Ok(data.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default())
}

/// The JSON that clients get of a field `name` (any JSON value, where `null` is none) or of `b64name` (any bytes).
pub(crate) fn shown(name: &str, json: Option<&RawValue>, b64: &str) -> Result<String, Failure> {
    match json.map(RawValue::get).filter(|json| *json != "null") {
        Some(json) => Ok(json.to_owned()),
        None if b64.is_empty() => Ok(String::new()),
        None => {
            let bytes = base64(&format!("b64{name}"), b64)?;
            Ok(String::from_utf8_lossy(classify(bytes).json()).into_owned())
        }
    }
}

fn base64(name: &str, text: &str) -> Result<Bytes, Failure> {
    let decoded = STANDARD.decode(text);
    decoded.map(Bytes::from).map_err(|e| Failure::bad_request(format!("{name} is no base64: {e}")))
}
