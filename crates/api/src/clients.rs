//! `disconnect`, `unsubscribe` and `refresh`: orders for sessions, on whatever node they are.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Action, Hub, Order};
use tidegate_types::ChannelName;
use tidegate_types::codes;
use tidegate_types::limits::CLOSE_REASON_BYTES_MAX;

use crate::answer::Failure;
use crate::read::{object, or_default, raw, shown};

/// Sessions: at least one of these is given, and all that are given have to fit.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Named {
    /// Sessions of this user.
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    /// The session with this id.
    #[serde(deserialize_with = "or_default")]
    pub(crate) client: String,
    /// The session with this secret, which clients of some transports have.
    #[serde(deserialize_with = "or_default")]
    pub(crate) session: String,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Disconnect {
    #[serde(flatten)]
    named: Named,
    /// What they are told; without it 3503, after which they do not come back.
    #[serde(deserialize_with = "object")]
    disconnect: Option<Code>,
    /// Ids of sessions that stay.
    #[serde(deserialize_with = "or_default")]
    whitelist: Vec<String>,
}

/// A code between 3000 and 4999. Clients come back after 3000 to 3499 and 4000 to 4499.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
struct Code {
    code: u32,
    #[serde(deserialize_with = "or_default")]
    reason: String,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Unsubscribe {
    #[serde(flatten)]
    named: Named,
    /// The channel.
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Refresh<'a> {
    /// Sessions of this user.
    #[serde(deserialize_with = "or_default")]
    user: String,
    /// The session with this id.
    #[serde(deserialize_with = "or_default")]
    client: String,
    /// The session with this secret, which clients of some transports have.
    #[serde(deserialize_with = "or_default")]
    session: String,
    /// They end now.
    #[serde(deserialize_with = "or_default")]
    expired: bool,
    /// When their token expires, in seconds since 1970; 0 = never.
    #[serde(deserialize_with = "or_default")]
    expire_at: i64,
    /// How they show to others from now on, until their next token: any JSON value. Without it, as before.
    #[serde(borrow, deserialize_with = "raw")]
    #[schemars(with = "serde_json::Value")]
    info: Option<&'a RawValue>,
}

/// Closes sessions.
pub(crate) async fn disconnect(hub: &Hub, request: Disconnect) -> Result<(), Failure> {
    let default = codes::Disconnect::FORCE_NO_RECONNECT;
    let (code, reason) = match request.disconnect {
        None => (default.code, default.reason.to_owned()),
        Some(given) => close_code(given)?,
    };
    order(hub, request.named, Action::Disconnect { code, reason, whitelist: request.whitelist }).await
}

/// Ends their subscription to a channel.
pub(crate) async fn unsubscribe(hub: &Hub, request: Unsubscribe) -> Result<(), Failure> {
    ChannelName::parse(&request.channel).map_err(|e| Failure::bad_request(e.to_string()))?;
    order(hub, request.named, Action::Unsubscribe { channel: request.channel }).await
}

/// Sets when their token expires, and how they show.
pub(crate) async fn refresh(hub: &Hub, request: Refresh<'_>) -> Result<(), Failure> {
    let expire_at = match (request.expired, request.expire_at) {
        (true, _) => Some(0),
        (false, 0) => None,
        (false, at) => Some(at),
    };
    let Refresh { user, client, session, info, .. } = request;
    let info = shown("info", info, "")?;
    order(hub, Named { user, client, session }, Action::Refresh { expire_at, info }).await
}

/// Has every node carry out an action for the sessions that are named.
pub(crate) async fn order(hub: &Hub, named: Named, action: Action) -> Result<(), Failure> {
    let Named { user, client, session } = named;
    if user.is_empty() && client.is_empty() && session.is_empty() {
        return Err(Failure::bad_request("name a user, a client or a session"));
    }
    let control = hub.control().ok_or(Failure::not_available("needs the control log: control.enabled is false"))?;
    Ok(control.order(Order { user, client, session, action }).await?)
}

/// Codes that a close frame may carry and that applications may choose (RFC 6455 section 7.4.2).
const CODES: std::ops::RangeInclusive<u32> = 3000..=4999;

fn close_code(given: Code) -> Result<(u16, String), Failure> {
    let Code { code, reason } = given;
    let fits = u16::try_from(code).ok().filter(|_| CODES.contains(&code));
    let code = fits.ok_or_else(|| Failure::bad_request("disconnect.code must be between 3000 and 4999"))?;
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        return Err(Failure::bad_request(format!("disconnect.reason is longer than {CLOSE_REASON_BYTES_MAX} bytes")));
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(&reason).is_ok() {
        return Err(Failure::bad_request("disconnect.reason must not be JSON: client libraries would read it"));
    }
    Ok((code, reason))
}
