//! `block_user`, `unblock_user`, `revoke_token` and `invalidate_user_tokens`: what counts no more, on every node.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::{Hub, Rule};
use tidegate_types::limits::RULE_SECONDS_MAX;

use crate::answer::Failure;
use crate::read::or_default;

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct BlockUser {
    /// The user.
    #[serde(deserialize_with = "or_default")]
    user: String,
    /// When that ends, in seconds since 1970; 0 = in 365 days.
    #[serde(deserialize_with = "or_default")]
    expire_at: i64,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct UnblockUser {
    /// The user.
    #[serde(deserialize_with = "or_default")]
    user: String,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct RevokeToken {
    /// The token's `jti`.
    #[serde(deserialize_with = "or_default")]
    uid: String,
    /// When that ends, in seconds since 1970; 0 = in 365 days.
    #[serde(deserialize_with = "or_default")]
    expire_at: i64,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct InvalidateUserTokens {
    /// The user.
    #[serde(deserialize_with = "or_default")]
    user: String,
    /// The first `iat` that counts, in seconds since 1970; 0 = now.
    #[serde(deserialize_with = "or_default")]
    issued_before: i64,
    /// When that ends, in seconds since 1970; 0 = in 365 days.
    #[serde(deserialize_with = "or_default")]
    expire_at: i64,
}

/// Longest name of a user or token.
const NAME_BYTES_MAX: usize = 1_024;

/// Nobody may be this user.
pub(crate) async fn block_user(hub: &Hub, request: BlockUser) -> Result<(), Failure> {
    let until = until(hub, request.expire_at)?;
    revoke(hub, Rule::Block { user: named("user", request.user)?, until }).await
}

/// Somebody may again.
pub(crate) async fn unblock_user(hub: &Hub, request: UnblockUser) -> Result<(), Failure> {
    revoke(hub, Rule::Unblock { user: named("user", request.user)? }).await
}

/// One token.
pub(crate) async fn revoke_token(hub: &Hub, request: RevokeToken) -> Result<(), Failure> {
    let until = until(hub, request.expire_at)?;
    revoke(hub, Rule::Token { id: named("uid", request.uid)?, until }).await
}

/// Those of a user that were made before a time.
pub(crate) async fn invalidate_user_tokens(hub: &Hub, request: InvalidateUserTokens) -> Result<(), Failure> {
    let until = until(hub, request.expire_at)?;
    let issued_before = match request.issued_before {
        0 => hub.clock().wall_ms() / 1000,
        given => given,
    };
    revoke(hub, Rule::Before { user: named("user", request.user)?, issued_before, until }).await
}

async fn revoke(hub: &Hub, rule: Rule) -> Result<(), Failure> {
    let rules = hub.rules().ok_or(Failure::not_available(
        "nothing can be revoked here: set rules.enabled = true and make its log, on Kafka a topic",
    ))?;
    Ok(rules.decide(rule).await?)
}

fn named(field: &str, name: String) -> Result<String, Failure> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name),
        0 => Err(Failure::bad_request(format!("{field} is missing"))),
        bytes => Err(Failure::bad_request(format!("{field} has {bytes} bytes, at most {NAME_BYTES_MAX} are allowed"))),
    }
}

/// When a rule ends.
fn until(hub: &Hub, expire_at: i64) -> Result<i64, Failure> {
    let now = hub.clock().wall_ms() / 1000;
    let last = now + RULE_SECONDS_MAX;
    match expire_at {
        0 => Ok(last),
        at if at <= now => Err(Failure::bad_request("expire_at has passed")),
        at if at > last => Err(Failure::bad_request("expire_at is more than 365 days from now")),
        at => Ok(at),
    }
}
