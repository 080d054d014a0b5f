//! A token taken apart: header, claims, signature. Nothing here is verified yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// See the module docs.
pub(crate) struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    /// Names a key of a set.
    pub(crate) kid: Option<String>,
    /// What was signed.
    pub(crate) message: &'t str,
    /// JSON.
    pub(crate) claims: Vec<u8>,
    /// Still in base64.
    pub(crate) signature: &'t str,
}

impl<'t> Token<'t> {
    /// Takes a compact JWS apart. `None` for anything else, for algorithms that are not known here (`none` is not), and
    /// for headers that must be understood and are not (`crit`).
    pub(crate) fn parse(token: &'t str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.crit.is_some() || signature.is_empty() {
            return None;
        }
        let algorithm = crate::key::algorithm(&header.alg)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        Some(Self { algorithm, kid: header.kid, message, claims, signature })
    }
}
