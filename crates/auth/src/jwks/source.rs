//! One key set as it is kept: what it verifies now, and when it is fetched again.
//!
//! A token is invalid only when a set that came after the token was first seen lacks its key. Until then it
//! waits for the fetch, and while the endpoint is away, or was asked too recently, it is told to come again.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fetch::{self, FetchError};
use super::set::{self, KEYS_MAX, KID_BYTES_MAX, KeySet};
use super::{Endpoint, JwksOptions};
use crate::key::Key;
use crate::token::Token;

/// Keys that one token is tried on, those with its name first: whoever sends tokens without a name shall not choose how
/// much work they are.
const TRIES_MAX: usize = 4;
/// Tokens remembered that wait for one fetch; more are told to come again.
const WAITING_MAX: usize = 1_024;
/// Pause after a failed fetch; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Why a set does not verify a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    /// And will not.
    Invalid,
    /// And may later.
    Unavailable,
    /// And may when the fetch under way has ended, the first after so many.
    Fetching { after: u64 },
}

/// What happened and happens with fetches.
#[derive(Debug, Default)]
struct Flight {
    /// One is under way or about to be.
    under_way: bool,
    /// None is begun for an unknown key before this.
    again_at: Option<Instant>,
    /// Tokens that wait for the fetch, by their hashes.
    waiting: HashSet<u64>,
    /// Those that waited for the last fetch, where it was good. Not their key ids: a token first seen later may be of a
    /// key that the set has by now.
    waited: HashSet<u64>,
    failures: u32,
}

/// See the module docs.
pub(crate) struct Source {
    options: JwksOptions,
    only: Vec<Algorithm>,
    /// Of tokens: seeded, so that nobody can make one that counts as another.
    hashes: RandomState,
    keys: ArcSwap<Vec<Key>>,
    /// Held for a few moves, never while fetching.
    flight: Mutex<Flight>,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    /// A fetch before its time is wanted.
    wanted: Notify,
}

impl Source {
    pub(crate) fn new(options: JwksOptions, only: Vec<Algorithm>) -> Self {
        // The first fetch begins with the task: whoever comes before waits for it.
        let flight = Flight { under_way: true, ..Flight::default() };
        Self {
            options,
            only,
            hashes: RandomState::new(),
            keys: ArcSwap::default(),
            flight: Mutex::new(flight),
            ended: watch::Sender::new(0),
            wanted: Notify::new(),
        }
    }

    pub(crate) fn is_of(&self, options: &JwksOptions, only: &[Algorithm]) -> bool {
        self.options == *options && self.only == only
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.options.issuer.as_deref()
    }

    /// Verifies a token's signature.
    pub(crate) fn verify(&self, token: &Token<'_>, now: i64) -> Result<(), Miss> {
        let keys = self.keys.load();
        let kid = token.kid.as_deref();
        let has_its_name = |key: &&Key| kid.is_some() && key.kid.as_deref() == kid;
        // A key without a name may be anybody's; a token without one may be of any key.
        let may_be_its = |key: &&Key| kid.is_none() || key.kid.is_none();
        let candidates = keys.iter().filter(has_its_name).chain(keys.iter().filter(may_be_its));
        let mut tried = candidates.filter(|key| key.is_for(token.algorithm)).take(TRIES_MAX);
        if tried.any(|key| key.verifies(token.algorithm, token.message, token.signature, now)) {
            return Ok(());
        }
        let is_named = keys.iter().any(|key| has_its_name(&key));
        Err(if is_named { Miss::Invalid } else { self.miss(token) })
    }

    fn miss(&self, token: &Token<'_>) -> Miss {
        if token.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Miss::Invalid;
        }
        let hash = self.hashes.hash_one((token.message, token.signature));
        let mut flight = self.lock();
        if !flight.under_way && flight.again_at.is_some_and(|at| Instant::now() < at) {
            return if flight.waited.contains(&hash) { Miss::Invalid } else { Miss::Unavailable };
        }
        if flight.waiting.len() < WAITING_MAX {
            flight.waiting.insert(hash);
        }
        if !std::mem::replace(&mut flight.under_way, true) {
            self.wanted.notify_one();
        }
        // Read under the lock: a fetch ends under it, too.
        Miss::Fetching { after: *self.ended.borrow() }
    }

    /// Waits until more than so many fetches have ended.
    pub(crate) async fn ended_after(&self, after: u64) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended > after).await;
    }

    /// Fetches now, when the set is old, and when an unknown key asks for it; for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.lock().under_way = true;
            let fetched = fetch::get(&self.options).await;
            let pause = self.end(fetched.and_then(|json| Ok(set::parse(&json, &self.only)?)));
            self.wait(Instant::now() + pause).await;
        }
    }

    async fn wait(&self, until: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                // A call may be left from a wish that was fulfilled meanwhile.
                () = self.wanted.notified() => if self.lock().under_way { return },
            }
        }
    }

    /// Takes the result of a fetch, and says when the next is due.
    fn end(&self, result: Result<KeySet, FetchError>) -> Duration {
        let mut flight = self.lock();
        flight.under_way = false;
        let waiting = std::mem::take(&mut flight.waiting);
        let pause = match result {
            Ok(set) => {
                if flight.failures > 0 {
                    tracing::info!(endpoint = %self.options.endpoint, "the key set can be fetched again");
                }
                flight.failures = 0;
                flight.waited = waiting;
                flight.again_at = Some(Instant::now() + self.options.keeping.refresh_interval);
                warn_of(&self.options.endpoint, &set);
                self.keys.store(Arc::new(set.keys));
                self.options.keeping.ttl
            }
            Err(error) => {
                let pause = BACKOFF_MAX.min(BACKOFF_MIN * 2u32.saturating_pow(flight.failures.min(8)));
                flight.failures = flight.failures.saturating_add(1);
                flight.waited.clear();
                flight.again_at = Some(Instant::now() + pause);
                warn_of_failure(&self.options.endpoint, &error, self.keys.load().is_empty());
                pause
            }
        };
        self.ended.send_modify(|ended| *ended += 1);
        pause
    }

    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_of(endpoint: &Endpoint, set: &KeySet) {
    if set.keys.is_empty() {
        tracing::warn!(%endpoint, "the key set has no key that could verify a token: none of its tokens counts");
    }
    if set.is_cut {
        tracing::warn!(%endpoint, "the key set has too many keys: the first {KEYS_MAX} count");
    }
}

fn warn_of_failure(endpoint: &Endpoint, error: &FetchError, none: bool) {
    let meanwhile = if none { "its tokens are told to come again" } else { "the keys fetched before stay in force" };
    tracing::warn!(%endpoint, "cannot fetch the key set, {meanwhile}: {error}");
}
