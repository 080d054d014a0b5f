//! What travels beside a payload, as the store keeps it: JSON, empty when there is nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_store::Identity;
use tidegate_types::{ClientInfo, Meta, Tags, Version};

#[derive(Serialize, Deserialize, Default)]
struct Stored {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Tags,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delta: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclude: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Info {
    user: String,
    client: String,
    /// JSON texts.
    conn_info: String,
    chan_info: String,
}

fn text(json: &Bytes) -> String {
    String::from_utf8_lossy(json).into_owned()
}

/// The stored form of what is delivered beside the payload, and how.
pub(crate) fn encode(meta: Option<&Meta>) -> Bytes {
    let is_stored = |m: &&Meta| !m.tags.is_empty() || m.info.is_some() || m.delta || m.exclude.is_some();
    let Some(meta) = meta.filter(is_stored) else { return Bytes::new() };
    let info = meta.info.as_ref().map(|i| Info {
        user: i.user.clone(),
        client: i.client.clone(),
        conn_info: text(&i.conn_info),
        chan_info: text(&i.chan_info),
    });
    let stored = Stored { tags: meta.tags.clone(), info, delta: meta.delta, exclude: meta.exclude.clone() };
    serde_json::to_vec(&stored).expect("texts serialise").into()
}

/// Everything that was beside the payload.
pub(crate) fn decode(stored: &Bytes, identity: Option<&Identity>) -> Option<Box<Meta>> {
    let Stored { tags, info, delta, exclude } = match stored.is_empty() {
        true => Stored::default(),
        // What this crate wrote and a checksum covers; an other form would be of a later version.
        false => serde_json::from_slice(stored).unwrap_or_default(),
    };
    let info = info.map(|i| ClientInfo {
        user: i.user,
        client: i.client,
        conn_info: i.conn_info.into(),
        chan_info: i.chan_info.into(),
    });
    let key = identity.map(|i| &i.idempotency_key).filter(|key| !key.is_empty());
    let version = identity.filter(|i| i.version > 0);
    let version = version.map(|i| Version { epoch: i.version_epoch.clone(), number: i.version });
    Meta { tags, info, idempotency_key: key.cloned(), version, delta, exclude }.boxed()
}

/// What the store compares records by.
pub(crate) fn identity(meta: Meta) -> Option<Box<Identity>> {
    let Meta { idempotency_key, version, .. } = meta;
    if idempotency_key.is_none() && version.is_none() {
        return None;
    }
    let (version_epoch, version) = version.map_or_else(Default::default, |v| (v.epoch, v.number));
    Some(Box::new(Identity { idempotency_key: idempotency_key.unwrap_or_default(), version_epoch, version }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_reads_as_it_was_written_and_nothing_costs_nothing() {
        assert!(encode(None).is_empty());
        let info = ClientInfo {
            user: "u".into(),
            client: "c".into(),
            conn_info: Bytes::from_static(b"{\"a\":1}"),
            chan_info: Bytes::new(),
        };
        let version = Some(Version { epoch: "e".into(), number: 3 });
        let tags = vec![("k".into(), "v".into())];
        let meta = Meta {
            tags,
            info: Some(info),
            idempotency_key: Some("i".into()),
            version,
            delta: true,
            exclude: Some("c".into()),
        };
        let identity = identity(meta.clone());
        assert_eq!(decode(&encode(Some(&meta)), identity.as_deref()), meta.boxed());
        assert_eq!(decode(&Bytes::new(), None), None);
    }
}
