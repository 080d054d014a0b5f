//! Verifies tokens with the configured keys and with those of key sets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::Algorithm;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use crate::claims::{Claims, ConnectionClaims, SubscriptionClaims};
use crate::jwks::{Miss, Source};
use crate::key::Key;
use crate::options::TokenOptions;
use crate::token::Token;

/// A fetch of keys that decides about a token: see [`Verifier::fetched`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    source: usize,
    /// Fetches that had ended when it was asked for.
    after: u64,
}

/// Why a token does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It was good until its `exp`, or is not before its `nbf`: a newer one may count.
    #[error("token expired")]
    Expired,
    /// Signature, claims or form are wrong, or no key is configured.
    #[error("invalid token")]
    Invalid,
    /// Its key is being fetched: verify it again when that has ended.
    #[error("the token's key is being fetched")]
    Fetching(Fetch),
    /// Its key cannot be fetched at the moment; the client may try again.
    #[error("the token's key cannot be fetched")]
    Unavailable,
}

/// What is accepted for one kind of token.
struct Realm {
    keys: Vec<Key>,
    /// Places in [`Verifier::sources`].
    sources: Vec<usize>,
    audience: Vec<String>,
    issuer: Vec<String>,
    leeway_seconds: i64,
    user_id_claim: Option<String>,
}

/// See the module docs. Key sets are empty until [`Verifier::start`].
pub struct Verifier {
    connection: Realm,
    /// `None` = as for connections.
    subscription: Option<Realm>,
    sources: Vec<Arc<Source>>,
    /// What keeps the sources fresh; ends with the verifier.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.connection.keys.len())
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Verifier {
    /// A verifier for these settings.
    pub fn new(options: &TokenOptions) -> Self {
        let mut sources = Vec::new();
        let connection = Realm::new(options, &mut sources);
        let subscription = options.subscription.as_ref().map(|options| Realm::new(options, &mut sources));
        Self { connection, subscription, sources, tasks: Mutex::default() }
    }

    /// Begins to fetch key sets on `runtime`, and keeps them fresh while the verifier lives. What cannot be fetched is
    /// tried again; nothing waits for it.
    pub fn start(&self, runtime: &tokio::runtime::Handle) {
        let spawned = self.sources.iter().map(|source| runtime.spawn(source.clone().run()));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(spawned);
    }

    /// Waits for the end of a fetch, good or bad.
    pub fn fetched(&self, fetch: Fetch) -> impl Future<Output = ()> + Send + use<> {
        let source = self.sources.get(fetch.source).cloned();
        async move {
            if let Some(source) = source {
                source.ended_after(fetch.after).await;
            }
        }
    }

    /// Verifies a connection token at `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`TokenError`]; a subscription token is invalid here.
    pub fn connection(&self, token: &str, now: i64) -> Result<ConnectionClaims, TokenError> {
        let (claims, user) = self.verify(&self.connection, token, now)?;
        claims.connection(user).ok_or(TokenError::Invalid)
    }

    /// Verifies a subscription token at `now` (seconds since 1970). Whether channel, user and client fit is the
    /// caller's question.
    ///
    /// # Errors
    /// [`TokenError`]; a connection token is invalid here.
    pub fn subscription(&self, token: &str, now: i64) -> Result<SubscriptionClaims, TokenError> {
        let realm = self.subscription.as_ref().unwrap_or(&self.connection);
        let (claims, user) = self.verify(realm, token, now)?;
        claims.subscription(user).ok_or(TokenError::Invalid)
    }

    fn verify(&self, realm: &Realm, token: &str, now: i64) -> Result<(Claims, String), TokenError> {
        let token = Token::parse(token).ok_or(TokenError::Invalid)?;
        // Not verified yet: until then only `iss` is looked at, to choose the keys.
        let claims: Claims = serde_json::from_slice(&token.claims).map_err(|_| TokenError::Invalid)?;
        self.check_signature(realm, &token, claims.iss.as_deref(), now)?;
        realm.check(&claims, now)?;
        let user = realm.user(&claims, &token.claims).ok_or(TokenError::Invalid)?;
        Ok((claims, user))
    }

    fn check_signature(&self, realm: &Realm, token: &Token<'_>, iss: Option<&str>, now: i64) -> Result<(), TokenError> {
        let Token { algorithm, message, signature, .. } = *token;
        if realm.keys.iter().any(|key| key.verifies(algorithm, message, signature, now)) {
            return Ok(());
        }
        // No set has secrets: such a token is worth no fetch.
        let secret = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        let (at, source) = self.source(realm, iss).filter(|_| !secret).ok_or(TokenError::Invalid)?;
        source.verify(token, now).map_err(|miss| match miss {
            Miss::Invalid => TokenError::Invalid,
            Miss::Unavailable => TokenError::Unavailable,
            Miss::Fetching { after } => TokenError::Fetching(Fetch { source: at, after }),
        })
    }

    /// The key set of an issuer, else the one for all.
    fn source(&self, realm: &Realm, iss: Option<&str>) -> Option<(usize, &Source)> {
        let mut sources = realm.sources.iter().map(|at| (*at, &*self.sources[*at]));
        let own = sources.clone().find(|(_, s)| s.issuer().is_some_and(|issuer| Some(issuer) == iss));
        own.or_else(|| sources.find(|(_, s)| s.issuer().is_none()))
    }
}

impl Realm {
    /// Sources that are there already are shared.
    fn new(options: &TokenOptions, sources: &mut Vec<Arc<Source>>) -> Self {
        let only = &options.algorithms;
        let current = options.hmac_secret.iter().map(|secret| Key::hmac(secret, only));
        let previous = options.previous_hmac_secret.iter();
        let previous = previous.map(|secret| Key::hmac(secret, only).until(options.previous_hmac_valid_until));
        let public = options.public_keys.iter().map(|key| key.key(only));
        let place = |options: &crate::jwks::JwksOptions| {
            sources.iter().position(|s| s.is_of(options, only)).unwrap_or_else(|| {
                sources.push(Arc::new(Source::new(options.clone(), only.clone())));
                sources.len() - 1
            })
        };
        Self {
            keys: current.chain(previous).chain(public).collect(),
            sources: options.jwks.iter().map(place).collect(),
            audience: options.audience.clone(),
            issuer: options.issuer.clone(),
            leeway_seconds: i64::try_from(options.leeway.as_secs()).unwrap_or(i64::MAX),
            user_id_claim: options.user_id_claim.clone(),
        }
    }

    /// Judges what is common to all verified tokens.
    fn check(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let issuer_fits = self.issuer.is_empty() || claims.iss.as_ref().is_some_and(|iss| self.issuer.contains(iss));
        if !issuer_fits || !claims.is_for(&self.audience) {
            return Err(TokenError::Invalid);
        }
        let has_begun = claims.begins().is_none_or(|nbf| nbf.saturating_sub(self.leeway_seconds) <= now);
        let has_ended = claims.ends().is_some_and(|exp| exp.saturating_add(self.leeway_seconds) <= now);
        // What is invalid is final for clients. Too early is a matter of clocks: they are to come with another token.
        if has_begun && !has_ended { Ok(()) } else { Err(TokenError::Expired) }
    }

    /// The user that a token names; empty = none, `None` = what names it is no text.
    fn user(&self, claims: &Claims, json: &[u8]) -> Option<String> {
        let Some(claim) = &self.user_id_claim else { return Some(claims.sub.clone().unwrap_or_default()) };
        let all: HashMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
        match all.get(claim) {
            Some(value) => serde_json::from_str::<Option<String>>(value.get()).ok().map(Option::unwrap_or_default),
            None => Some(String::new()),
        }
    }
}
