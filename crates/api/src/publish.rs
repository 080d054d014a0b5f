//! `publish`: one publication to one channel. The call that is made most: the request is borrowed from the body.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Hub, HubError, PublishOptions};
use tidegate_types::{ChannelName, StreamPosition, Version};

use crate::answer::Failure;
use crate::read::{TagMap, Text, or_default, payload, raw};

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    /// The channel.
    #[schemars(with = "String")]
    pub(crate) channel: Text<'a>,
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

/// Publishes and returns where the publication stands. The request is read before the first wait.
pub(crate) fn run<'h>(
    hub: &'h Hub,
    request: Request<'_>,
) -> Result<impl Future<Output = Result<StreamPosition, HubError>> + Send + use<'h>, Failure> {
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
    let channel = ChannelName::parse(&request.channel.0).map_err(|e| Failure::bad_request(e.to_string()))?;
    Ok(hub.publish(&channel, payload, options))
}

/// What a request may ask for beside its payload.
pub(crate) struct Wishes {
    pub(crate) skip_history: bool,
    pub(crate) tags: TagMap,
    pub(crate) idempotency_key: String,
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
    pub(crate) delta: bool,
    pub(crate) exclude_client: String,
}

pub(crate) fn options(wishes: Wishes) -> Result<PublishOptions, Failure> {
    let Wishes { skip_history, tags, idempotency_key, version, version_epoch, delta, exclude_client } = wishes;
    if skip_history {
        return Err(Failure::not_available(
            "skip_history is not available: every publication goes through the log, use a namespace without history",
        ));
    }
    Ok(PublishOptions {
        tags: tags.0,
        info: None,
        idempotency_key: (!idempotency_key.is_empty()).then_some(idempotency_key),
        version: (version != 0).then_some(Version { epoch: version_epoch, number: version }),
        delta,
        exclude: (!exclude_client.is_empty()).then_some(exclude_client),
    })
}
