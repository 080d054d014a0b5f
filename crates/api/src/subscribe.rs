//! `subscribe`: a subscription that the backend makes for sessions, on whatever node they are.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_auth::WrittenOverrides;
use tidegate_core::{Action, Hub, HubError, OrderedSubscription};
use tidegate_types::ChannelName;

use crate::answer::Failure;
use crate::clients;
use crate::read::{Since, object, or_default, raw, shown};

/// Whom to subscribe, to what and how.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request<'a> {
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    client: String,
    #[serde(deserialize_with = "or_default")]
    session: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    #[serde(borrow, deserialize_with = "raw")]
    /// Shown to others: any JSON value.
    #[schemars(with = "serde_json::Value")]
    info: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    b64info: String,
    #[serde(borrow, deserialize_with = "raw")]
    /// For the subscriber: any JSON value.
    #[schemars(with = "serde_json::Value")]
    data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    b64data: String,
    /// What the session has of the channel already.
    #[serde(deserialize_with = "object")]
    recover_since: Option<Since>,
    #[serde(deserialize_with = "or_default")]
    /// When the subscription ends, in seconds since 1970; 0 = never.
    expire_at: i64,
    #[serde(rename = "override", deserialize_with = "object")]
    /// What differs from the channel's settings.
    overrides: Option<WrittenOverrides>,
}

/// Orders the subscription.
pub(crate) async fn run(hub: &Hub, request: Request<'_>) -> Result<(), Failure> {
    let name = ChannelName::parse(&request.channel).map_err(|e| Failure::bad_request(e.to_string()))?;
    if hub.namespace(&name).is_none() {
        return Err(HubError::UnknownChannel(name).into());
    }
    let subscription = OrderedSubscription {
        channel: request.channel,
        info: shown("info", request.info, &request.b64info)?,
        data: shown("data", request.data, &request.b64data)?,
        since: request.recover_since.map(|since| (since.offset, since.epoch)),
        expire_at: (request.expire_at != 0).then_some(request.expire_at),
        overrides: request.overrides.unwrap_or_default().into(),
    };
    let action = Action::Subscribe(Box::new(subscription));
    let named = clients::Named { user: request.user, client: request.client, session: request.session };
    clients::order(hub, named, action).await
}
