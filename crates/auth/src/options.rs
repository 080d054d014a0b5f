//! The checked settings of tokens. How they are spelled in a file is the server's business.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use crate::jwks::JwksOptions;
use crate::key::PublicKey;

/// How tokens are verified. Secrets never show in `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TokenOptions {
    /// HMAC secret; `None` = tokens of the HS algorithms are refused.
    pub hmac_secret: Option<Vec<u8>>,
    /// The secret before the last rotation, still accepted.
    pub previous_hmac_secret: Option<Vec<u8>>,
    /// Until when, seconds since 1970; `None` = for as long as it is configured.
    pub previous_hmac_valid_until: Option<i64>,
    /// Public keys of who makes tokens.
    pub public_keys: Vec<PublicKey>,
    /// The only algorithms that count; empty = all that fit a key's type.
    pub algorithms: Vec<Algorithm>,
    /// Key sets that are fetched.
    pub jwks: Vec<JwksOptions>,
    /// `aud` must be or contain one of these; empty = any.
    pub audience: Vec<String>,
    /// `iss` must be one of these; empty = any.
    pub issuer: Vec<String>,
    /// Clock difference that is borne.
    pub leeway: Duration,
    /// The claim that names the user; `None` = `sub`.
    pub user_id_claim: Option<String>,
    /// Settings for subscription tokens; `None` = the same ones.
    pub subscription: Option<Box<TokenOptions>>,
}

impl TokenOptions {
    /// Whether there is anything that could verify a token.
    pub fn has_keys(&self) -> bool {
        self.hmac_secret.is_some() || !self.public_keys.is_empty() || !self.jwks.is_empty()
    }
}

impl fmt::Debug for TokenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |s: &Option<Vec<u8>>| s.as_ref().map(|_| "***");
        f.debug_struct("TokenOptions")
            .field("hmac_secret", &shown(&self.hmac_secret))
            .field("previous_hmac_secret", &shown(&self.previous_hmac_secret))
            .field("previous_hmac_valid_until", &self.previous_hmac_valid_until)
            .field("public_keys", &self.public_keys.len())
            .field("algorithms", &self.algorithms)
            .field("jwks", &self.jwks)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("leeway", &self.leeway)
            .field("user_id_claim", &self.user_id_claim)
            .field("subscription", &self.subscription)
            .finish()
    }
}
