//! `history`: kept publications of a channel.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::Hub;
use tidegate_protocol::{History, HistoryResult};
use tidegate_types::{ChannelName, ClientInfo, Payload, PayloadKind, Publication};

use crate::answer::{Failure, number, position_fields, string};
use crate::read::{Since, object, or_default};

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request {
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[serde(deserialize_with = "or_default")]
    /// How many at most: 0 = none, the position alone; below 0 = all that the namespace keeps.
    limit: i32,
    /// Only what comes after this position, or before it with `reverse`.
    #[serde(deserialize_with = "object")]
    since: Option<Since>,
    #[serde(deserialize_with = "or_default")]
    /// Newest first.
    reverse: bool,
}

/// `history_remove`.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Removal {
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
}

/// Takes the kept publications of a channel away.
pub(crate) async fn remove(hub: &Hub, request: Removal) -> Result<(), Failure> {
    let channel = ChannelName::parse(&request.channel).map_err(|e| Failure::bad_request(e.to_string()))?;
    Ok(hub.remove_history(&channel).await?)
}

/// Reads.
pub(crate) async fn run(hub: &Hub, request: Request) -> Result<HistoryResult, Failure> {
    let Request { channel, limit, since, reverse } = request;
    let since = since.map(|Since { offset, epoch }| tidegate_protocol::Since { offset, epoch });
    let query = History { channel, limit, since, reverse };
    Ok(hub.history(&query).await?)
}

/// `{"publications":[...],"offset":...,"epoch":...}`.
pub(crate) fn write(result: &HistoryResult, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"publications\":[");
    for (at, item) in result.publications.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        publication(item, out);
    }
    out.extend_from_slice(b"],");
    position_fields(&result.top, out);
    out.push(b'}');
}

fn publication(publication: &Publication, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"data\":");
    out.extend_from_slice(publication.payload.json());
    let meta = publication.meta.as_deref();
    if let Some(info) = meta.and_then(|m| m.info.as_ref()) {
        out.extend_from_slice(b",\"info\":");
        client_info(info, out);
    }
    out.extend_from_slice(b",\"offset\":");
    number(publication.offset.0, out);
    let tags = meta.map(|m| m.tags.as_slice()).unwrap_or_default();
    let binary = publication.payload.kind() == PayloadKind::Binary;
    if binary || !tags.is_empty() {
        out.extend_from_slice(b",\"tags\":{");
        let own = binary.then_some(Payload::BASE64_TAG);
        let given = tags.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let shown = given.filter(|(k, _)| own.is_none_or(|(key, _)| key != *k));
        for (at, (key, value)) in shown.chain(own).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            string(key, out);
            out.push(b':');
            string(value, out);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

pub(crate) fn client_info(info: &ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"user\":");
    string(&info.user, out);
    out.extend_from_slice(b",\"client\":");
    string(&info.client, out);
    for (key, json) in [("conn_info", &info.conn_info), ("chan_info", &info.chan_info)] {
        if !json.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(json);
        }
    }
    out.push(b'}');
}
