//! What travels beside a payload, as record headers. Records of other producers simply have none of them.
//!
//! | header | value |
//! |---|---|
//! | `tidegate-tag-NAME` | the tag's value, UTF-8; one header per tag |
//! | `tidegate-idempotency-key` | UTF-8, at most 255 bytes |
//! | `tidegate-version` | a decimal number |
//! | `tidegate-version-epoch` | UTF-8 |
//! | `tidegate-delta` | `1` when the record may reach subscribers as the difference to the one before |
//! | `tidegate-exclude` | public id of the session that does not get the record |
//! | `tidegate-info` | JSON `{"user","client","conn_info","chan_info"}` of the client that published |
//!
//! Other headers are left alone. One of these that cannot be read makes the record unreadable.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_types::limits::{IDEMPOTENCY_KEY_BYTES_MAX, TAGS_MAX};
use tidegate_types::{ClientInfo, Meta, Version};

const TAG: &str = "tidegate-tag-";
const IDEMPOTENCY_KEY: &str = "tidegate-idempotency-key";
const VERSION: &str = "tidegate-version";
const VERSION_EPOCH: &str = "tidegate-version-epoch";
const DELTA: &str = "tidegate-delta";
const EXCLUDE: &str = "tidegate-exclude";
const INFO: &str = "tidegate-info";

#[derive(Serialize, Deserialize)]
struct Info {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

/// The headers for a record; `None` when there is nothing to say.
pub(crate) fn encode(meta: &Meta) -> Option<OwnedHeaders> {
    let mut list: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in &meta.tags {
        // A name with a zero byte cannot be a header's.
        if !name.contains('\0') {
            list.push((format!("{TAG}{name}"), value.clone().into_bytes()));
        }
    }
    if let Some(key) = &meta.idempotency_key {
        list.push((IDEMPOTENCY_KEY.to_owned(), key.clone().into_bytes()));
    }
    if let Some(version) = &meta.version {
        list.push((VERSION.to_owned(), version.number.to_string().into_bytes()));
        if !version.epoch.is_empty() {
            list.push((VERSION_EPOCH.to_owned(), version.epoch.clone().into_bytes()));
        }
    }
    if meta.delta {
        list.push((DELTA.to_owned(), b"1".to_vec()));
    }
    if let Some(client) = &meta.exclude {
        list.push((EXCLUDE.to_owned(), client.clone().into_bytes()));
    }
    if let Some(info) = meta.info.as_ref().and_then(encode_info) {
        list.push((INFO.to_owned(), info));
    }
    if list.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(list.len());
    Some(list.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) })))
}

fn encode_info(info: &ClientInfo) -> Option<Vec<u8>> {
    let raw =
        |bytes: &Bytes| std::str::from_utf8(bytes).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let info = Info {
        user: info.user.clone(),
        client: info.client.clone(),
        conn_info: raw(&info.conn_info),
        chan_info: raw(&info.chan_info),
    };
    serde_json::to_vec(&info).ok()
}

/// What the headers of a record say; `Err` when one of ours cannot be read.
pub(crate) fn decode(message: &BorrowedMessage<'_>) -> Result<Option<Box<Meta>>, ()> {
    let mut meta = Meta::default();
    for (name, value) in tidegate_kafka_topic_id::headers(message) {
        take(&mut meta, name, value.unwrap_or_default())?;
    }
    // A version's epoch without a version says nothing.
    if meta.version.as_ref().is_some_and(|version| version.number == 0) {
        meta.version = None;
    }
    Ok(meta.boxed())
}

fn take(meta: &mut Meta, name: &[u8], value: &[u8]) -> Result<(), ()> {
    if !name.starts_with(b"tidegate-") {
        return Ok(());
    }
    let name = std::str::from_utf8(name).map_err(drop)?;
    let text = || std::str::from_utf8(value).map(str::to_owned).map_err(drop);
    if let Some(tag) = name.strip_prefix(TAG) {
        if meta.tags.len() == TAGS_MAX {
            return Err(());
        }
        meta.tags.push((tag.to_owned(), text()?));
        return Ok(());
    }
    match name {
        IDEMPOTENCY_KEY if value.is_empty() || value.len() > IDEMPOTENCY_KEY_BYTES_MAX => return Err(()),
        IDEMPOTENCY_KEY => meta.idempotency_key = Some(text()?),
        VERSION => meta.version.get_or_insert_default().number = text()?.parse().map_err(drop)?,
        VERSION_EPOCH => meta.version.get_or_insert_with(Version::default).epoch = text()?,
        EXCLUDE => meta.exclude = Some(text()?),
        DELTA => meta.delta = value == b"1",
        INFO => meta.info = Some(decode_info(value)?),
        _ => {}
    }
    Ok(())
}

fn decode_info(value: &[u8]) -> Result<ClientInfo, ()> {
    let info: Info = serde_json::from_slice(value).map_err(drop)?;
    let bytes =
        |raw: Option<Box<RawValue>>| raw.map_or_else(Bytes::new, |raw| String::from(Box::<str>::from(raw)).into());
    Ok(ClientInfo {
        user: info.user,
        client: info.client,
        conn_info: bytes(info.conn_info),
        chan_info: bytes(info.chan_info),
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    fn meta() -> Meta {
        Meta {
            tags: vec![("kind".into(), "progress".into()), ("n".into(), "ü".into())],
            info: Some(ClientInfo {
                user: "ann".into(),
                client: "c1".into(),
                conn_info: Bytes::from_static(b"{\"a\":1}"),
                chan_info: Bytes::new(),
            }),
            idempotency_key: Some("once".into()),
            version: Some(Version { epoch: "e".into(), number: 7 }),
            delta: true,
            exclude: Some("c1".into()),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let headers = encode(&meta()).unwrap();
        let mut back = Meta::default();
        for header in headers.iter() {
            take(&mut back, header.key.as_bytes(), header.value.unwrap()).unwrap();
        }
        assert_eq!(back, meta());
        assert!(encode(&Meta::default()).is_none());
    }

    #[test]
    fn foreign_headers_are_left_alone_and_broken_ones_refused() {
        let mut meta = Meta::default();
        assert_eq!(take(&mut meta, b"traceparent", b"\xff"), Ok(()));
        assert_eq!(take(&mut meta, b"\xff", b""), Ok(()));
        assert_eq!(take(&mut meta, b"tidegate-version", b"seven"), Err(()));
        assert_eq!(take(&mut meta, b"tidegate-info", b"{"), Err(()));
        assert_eq!(take(&mut meta, b"tidegate-tag-\xff", b""), Err(()));
        assert_eq!(take(&mut meta, b"tidegate-idempotency-key", &[b'x'; 256]), Err(()));
        assert!(meta.is_empty());
    }
}
