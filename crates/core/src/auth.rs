//! Connection and subscription tokens (JWT, HS256).
//!
//! Pure: the time is an argument. A key verifies its own algorithm only, so neither `alg: none` nor a token signed by
//! another kind of key passes. Source: section 11 of the Centrifuge protocol reference, RFC 7519.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::TokenOptions;

/// Why a token does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It was good until its `exp`.
    #[error("token expired")]
    Expired,
    /// Signature, claims or form are wrong, or no key is configured.
    #[error("invalid token")]
    Invalid,
}

/// What a connection token says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionClaims {
    /// The user; empty = anonymous.
    pub user: String,
    /// JSON shown to others; empty = none.
    pub info: Bytes,
    /// When the connection must be refreshed, seconds since 1970; `None` = never.
    pub expire_at: Option<i64>,
}

/// What a subscription token says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionClaims {
    /// The user that it was made for.
    pub user: String,
    /// The channel that it was made for.
    pub channel: String,
    /// The session that it was made for; empty = any.
    pub client: String,
    /// JSON shown to others; empty = none.
    pub info: Bytes,
    /// Data for the subscriber; empty = none.
    pub data: Bytes,
    /// When the subscription must be refreshed, seconds since 1970; `None` = never.
    pub expire_at: Option<i64>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
    expire_at: Option<i64>,
    channel: Option<String>,
    client: Option<String>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

/// Verifies tokens with the configured keys.
pub struct Verifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
    leeway_seconds: i64,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for these settings.
    pub fn new(options: &TokenOptions) -> Self {
        let secrets = options.hmac_secret.iter().chain(&options.previous_hmac_secret);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        // Times are judged here, by the caller's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = options.audience.is_some();
        if let Some(audience) = &options.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &options.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Self {
            keys: secrets.map(|s| DecodingKey::from_secret(s)).collect(),
            validation,
            leeway_seconds: i64::try_from(options.leeway.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// Verifies a connection token at `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`TokenError`]; a subscription token is invalid here.
    pub fn connection(&self, token: &str, now: i64) -> Result<ConnectionClaims, TokenError> {
        let claims = self.claims(token, now)?;
        if claims.channel.is_some() {
            return Err(TokenError::Invalid);
        }
        Ok(ConnectionClaims {
            expire_at: claims.expiry(),
            info: json_or_base64(claims.info, claims.b64info)?,
            user: claims.sub.unwrap_or_default(),
        })
    }

    /// Verifies a subscription token at `now` (seconds since 1970). Whether channel, user and client fit is the
    /// caller's question.
    ///
    /// # Errors
    /// [`TokenError`]; a connection token is invalid here.
    pub fn subscription(&self, token: &str, now: i64) -> Result<SubscriptionClaims, TokenError> {
        let claims = self.claims(token, now)?;
        let expire_at = claims.expiry();
        Ok(SubscriptionClaims {
            channel: claims.channel.filter(|c| !c.is_empty()).ok_or(TokenError::Invalid)?,
            expire_at,
            info: json_or_base64(claims.info, claims.b64info)?,
            data: json_or_base64(claims.data, claims.b64data)?,
            client: claims.client.unwrap_or_default(),
            user: claims.sub.unwrap_or_default(),
        })
    }

    fn claims(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        let verified =
            self.keys.iter().find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok());
        let claims = verified.ok_or(TokenError::Invalid)?.claims;
        if claims.nbf.is_some_and(|nbf| nbf.saturating_sub(self.leeway_seconds) > now) {
            return Err(TokenError::Invalid);
        }
        if claims.exp.is_some_and(|exp| exp.saturating_add(self.leeway_seconds) <= now) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

impl Claims {
    /// `expire_at` overrides `exp`; 0 is never.
    fn expiry(&self) -> Option<i64> {
        self.expire_at.or(self.exp).filter(|at| *at > 0)
    }
}

fn json_or_base64(json: Option<Box<RawValue>>, b64: Option<String>) -> Result<Bytes, TokenError> {
    match (json, b64) {
        (Some(json), _) => Ok(crate::payload::classify(Bytes::copy_from_slice(json.get().as_bytes())).json().clone()),
        (None, Some(b64)) => {
            let raw = STANDARD.decode(b64).map_err(|_| TokenError::Invalid)?;
            Ok(crate::payload::classify(raw.into()).json().clone())
        }
        (None, None) => Ok(Bytes::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    fn sign(secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn verifier(change: impl FnOnce(&mut TokenOptions)) -> Verifier {
        let mut options = TokenOptions {
            hmac_secret: Some(b"new".to_vec()),
            previous_hmac_secret: Some(b"old".to_vec()),
            ..Default::default()
        };
        change(&mut options);
        Verifier::new(&options)
    }

    #[test]
    fn both_secrets_of_a_rotation_verify_and_no_other() {
        let v = verifier(|_| {});
        for secret in ["new", "old"] {
            let claims = v.connection(&sign(secret, &json!({"sub": "u1", "exp": 100, "info": {"a": 1}})), 99).unwrap();
            assert_eq!(
                (claims.user.as_str(), claims.expire_at, &claims.info[..]),
                ("u1", Some(100), &b"{\"a\":1}"[..])
            );
        }
        assert_eq!(v.connection(&sign("other", &json!({"sub": "u1"})), 0), Err(TokenError::Invalid));
    }

    #[test]
    fn alg_none_and_garbage_are_invalid() {
        let v = verifier(|_| {});
        // {"alg":"none"} . {"sub":"u1"} . no signature
        assert_eq!(v.connection("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.", 0), Err(TokenError::Invalid));
        for garbage in ["", "a.b.c", "...", "x"] {
            assert_eq!(v.connection(garbage, 0), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn times_are_judged_by_the_callers_clock() {
        let v = verifier(|o| o.leeway = std::time::Duration::from_secs(5));
        let token = sign("new", &json!({"exp": 100, "nbf": 50}));
        assert_eq!(v.connection(&token, 44), Err(TokenError::Invalid));
        assert!(v.connection(&token, 45).is_ok());
        assert!(v.connection(&token, 104).is_ok());
        assert_eq!(v.connection(&token, 105), Err(TokenError::Expired));
        let forever = sign("new", &json!({"exp": 100, "expire_at": 0}));
        assert_eq!(v.connection(&forever, 99).unwrap().expire_at, None);
    }

    #[test]
    fn the_two_kinds_of_token_do_not_pass_for_each_other() {
        let v = verifier(|_| {});
        let subscription = sign("new", &json!({"sub": "u1", "channel": "c"}));
        assert_eq!(v.connection(&subscription, 0), Err(TokenError::Invalid));
        assert_eq!(v.subscription(&subscription, 0).unwrap().channel, "c");
        assert_eq!(v.subscription(&sign("new", &json!({"sub": "u1"})), 0), Err(TokenError::Invalid));
    }

    #[test]
    fn audience_and_issuer_are_required_once_configured() {
        let v = verifier(|o| (o.audience, o.issuer) = (Some("app".into()), Some("me".into())));
        assert!(v.connection(&sign("new", &json!({"aud": "app", "iss": "me"})), 0).is_ok());
        for wrong in [json!({}), json!({"aud": "app"}), json!({"aud": "x", "iss": "me"})] {
            assert_eq!(v.connection(&sign("new", &wrong), 0), Err(TokenError::Invalid));
        }
    }
}
