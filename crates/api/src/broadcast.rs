//! `broadcast`: the same publication to many channels, each with an answer of its own.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::Hub;
use tidegate_types::{ChannelName, StreamPosition};

use crate::answer::{Failure, position, separate};
use crate::publish::{Wishes, options};
use crate::read::{TagMap, Text, or_default, payload, raw};

/// Publications of one request that wait for the log at the same time.
pub(crate) const IN_FLIGHT_MAX: usize = 64;

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request<'a> {
    /// As many as the bound of a body holds.
    #[serde(borrow)]
    /// The channels.
    #[schemars(with = "Vec<String>")]
    pub(crate) channels: Vec<Text<'a>>,
    #[serde(borrow, deserialize_with = "raw")]
    /// The payload: any JSON value.
    #[schemars(with = "serde_json::Value")]
    data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    /// The payload as bytes in base64, in the place of `data`.
    b64data: String,
    #[serde(deserialize_with = "or_default")]
    /// Refused: every publication goes through the log.
    skip_history: bool,
    #[serde(deserialize_with = "or_default")]
    /// Delivered beside the payload.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    tags: TagMap,
    #[serde(deserialize_with = "or_default")]
    /// A publication with a key that occurred before does not count, and is answered as the first one.
    idempotency_key: String,
    #[serde(deserialize_with = "or_default")]
    /// A publication whose version is not above that of the last one in the channel does not count; 0 = no version.
    version: u64,
    #[serde(deserialize_with = "or_default")]
    /// Versions of another epoch are not compared.
    version_epoch: String,
    #[serde(deserialize_with = "or_default")]
    /// Subscribers who take deltas may get it as the difference to the publication before.
    delta: bool,
    #[serde(deserialize_with = "or_default")]
    /// The session with this id does not get it.
    exclude_client: String,
}

/// `{"responses":[...]}`, one for each channel in the order of the request.
pub(crate) async fn run(hub: &Hub, request: Request<'_>) -> Result<Vec<u8>, Failure> {
    if request.channels.is_empty() {
        return Err(Failure::bad_request("channels is empty"));
    }
    let payload = payload(request.data, &request.b64data)?;
    let options = options(Wishes {
        skip_history: request.skip_history,
        tags: request.tags,
        idempotency_key: request.idempotency_key,
        version: request.version,
        version_epoch: request.version_epoch,
        delta: request.delta,
        exclude_client: request.exclude_client,
    })?;
    let mut out = b"{\"responses\":[".to_vec();
    let mut waiting = FuturesOrdered::new();
    for channel in &request.channels {
        if waiting.len() == IN_FLIGHT_MAX
            && let Some(result) = waiting.next().await
        {
            write(result, &mut out);
        }
        let (payload, options) = (payload.clone(), options.clone());
        waiting.push_back(async move {
            let channel = ChannelName::parse(&channel.0).map_err(|e| Failure::bad_request(e.to_string()))?;
            Ok(hub.publish(&channel, payload, options).await?)
        });
    }
    while let Some(result) = waiting.next().await {
        write(result, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn write(result: Result<StreamPosition, Failure>, out: &mut Vec<u8>) {
    separate(out);
    match result {
        Ok(at) => {
            out.extend_from_slice(b"{\"result\":");
            position(&at, out);
            out.push(b'}');
        }
        Err(failure) => failure.write_wrapped(out),
    }
}
