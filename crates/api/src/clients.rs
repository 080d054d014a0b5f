//! `disconnect`, `unsubscribe` and `refresh`: orders for sessions, on whatever node they are.

use serde::Deserialize;
use tidegate_core::{Action, Hub, Order};
use tidegate_types::ChannelName;
use tidegate_types::codes::Disconnect;
use tidegate_types::limits::CLOSE_REASON_BYTES_MAX;

use crate::answer::Failure;
use crate::read::or_default;

/// Whom an order names.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Request {
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    client: String,
    #[serde(deserialize_with = "or_default")]
    session: String,
    /// `disconnect`.
    disconnect: Option<Code>,
    #[serde(deserialize_with = "or_default")]
    whitelist: Vec<String>,
    /// `unsubscribe`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
    /// `refresh`.
    #[serde(deserialize_with = "or_default")]
    expired: bool,
    #[serde(deserialize_with = "or_default")]
    expire_at: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Code {
    code: u32,
    #[serde(deserialize_with = "or_default")]
    reason: String,
}

/// Closes sessions.
pub(crate) async fn disconnect(hub: &Hub, mut request: Request) -> Result<(), Failure> {
    let default = Disconnect::FORCE_NO_RECONNECT;
    let (code, reason) = match request.disconnect.take() {
        None => (default.code, default.reason.to_owned()),
        Some(given) => close_code(given)?,
    };
    let whitelist = std::mem::take(&mut request.whitelist);
    let Request { user, client, session, .. } = request;
    order(hub, user, client, session, Action::Disconnect { code, reason, whitelist }).await
}

/// Ends their subscription to a channel.
pub(crate) async fn unsubscribe(hub: &Hub, mut request: Request) -> Result<(), Failure> {
    let channel = std::mem::take(&mut request.channel);
    ChannelName::parse(&channel).map_err(|e| Failure::bad_request(e.to_string()))?;
    let Request { user, client, session, .. } = request;
    order(hub, user, client, session, Action::Unsubscribe { channel }).await
}

/// Sets when their token expires.
pub(crate) async fn refresh(hub: &Hub, request: Request) -> Result<(), Failure> {
    let expire_at = match (request.expired, request.expire_at) {
        (true, _) => Some(0),
        (false, 0) => None,
        (false, at) => Some(at),
    };
    let Request { user, client, session, .. } = request;
    order(hub, user, client, session, Action::Refresh { expire_at }).await
}

/// Has every node carry out an action for the sessions that are named.
pub(crate) async fn order(
    hub: &Hub,
    user: String,
    client: String,
    session: String,
    action: Action,
) -> Result<(), Failure> {
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
