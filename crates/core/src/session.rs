//! What one connection may do: a state machine without socket, clock or log.
//!
//! It takes a command and the time, and answers with a result, or a [`Refusal`] that is either an error reply or the
//! end of the connection. Who subscribes where is the shard's business; the session only judges. It is small, because
//! a node holds as many as it has connections. Source: sections 5 and 6 of the Centrifuge protocol reference.

use bytes::Bytes;
use tidegate_auth::{Capabilities, ConnectionClaims, Fetch, Permission, TokenError, Verifier};
use tidegate_protocol::{Connect, ConnectResult, Since};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::{ChannelName, ClientId, ClientInfo};

use crate::config::{ClientOptions, NamespaceOptions};
use crate::namespace::Namespaces;
use crate::rules::{Bearer, Revoked, Rule, Rules, Token};

mod grants;

/// Why a command is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// An error reply; the connection goes on.
    Error(ErrorCode),
    /// The connection ends.
    Close(Disconnect),
    /// Nothing is decided: the command is to be tried again after a fetch of keys.
    Later(Fetch),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Refusal {
    fn from(code: Disconnect) -> Self {
        Self::Close(code)
    }
}

/// What a session judges by.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Settings of clients.
    pub options: &'a ClientOptions,
    /// Keys of tokens.
    pub verifier: &'a Verifier,
    /// Settings of channels.
    pub namespaces: &'a Namespaces,
    /// What counts no more; `None` = nothing is ever revoked.
    pub rules: Option<&'a Rules>,
    /// Version text for the connect result.
    pub version: &'static str,
    /// Wall clock, ms since 1970.
    pub now_ms: i64,
}

/// What a subscription may have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// The client gets positions.
    pub positioned: bool,
    /// The client can recover later.
    pub recoverable: bool,
    /// Recover now, from here.
    pub since: Option<Since>,
    /// When the subscription must be refreshed, ms since 1970; `None` = never.
    pub expire_at_ms: Option<i64>,
    /// Seconds until then.
    pub ttl_seconds: Option<u32>,
    /// JSON shown to others as the subscriber's; empty = none.
    pub info: Bytes,
    /// Data for the subscriber; empty = none.
    pub data: Bytes,
    /// It shows in presence.
    pub present: bool,
    /// It is told of joins and leaves.
    pub join_leave: bool,
    /// It gets publications as deltas where that is shorter.
    pub delta: bool,
    /// The token that it stands on, where tokens can be revoked.
    pub token: Option<Box<Token>>,
}

/// A subscription that the server makes for a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSide {
    /// The channel.
    pub channel: ChannelName,
    /// What it may have.
    pub grant: Grant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    /// No connect yet.
    #[default]
    New,
    /// Connected.
    Open,
    /// A connect was refused with an error reply; nothing else will be heard.
    Refused,
}

#[derive(Debug, Default)]
struct Identity {
    user: String,
    info: Bytes,
    capabilities: Capabilities,
    /// The token's `jti`; empty = nameless.
    token: Box<str>,
    issued_at: Option<i64>,
}

impl Identity {
    /// What is worth keeping of a token; `None` = nothing.
    fn of(claims: ConnectionClaims) -> Option<Self> {
        let ConnectionClaims { user, info, capabilities, id, issued_at, .. } = claims;
        let empty = user.is_empty() && info.is_empty() && capabilities.is_empty() && id.is_empty();
        (!empty).then(|| Self { user, info: json(info), capabilities, token: id.into(), issued_at })
    }
}

/// The session of one connection.
#[derive(Debug, Default)]
pub struct Session {
    id: Option<ClientId>,
    /// `None` = anonymous without info, which costs nothing.
    identity: Option<Box<Identity>>,
    /// ms since 1970; 0 = never.
    expire_at_ms: i64,
    phase: Phase,
    awaits_pong: bool,
}

/// Longest time that a token is said to live.
const TTL_SECONDS_MAX: i64 = 365 * 24 * 3600;

fn ttl_seconds(expire_at: Option<i64>, now_ms: i64) -> Option<u32> {
    expire_at.map(|at| u32::try_from((at - now_ms / 1000).clamp(1, TTL_SECONDS_MAX)).unwrap_or(1))
}

/// Refuses a token by which a session or subscription would end as soon as it has begun: SDKs would come back with the same
/// one at once, for ever, and after this they ask for another.
fn not_over(policy: &Policy<'_>, expire_at: Option<i64>) -> Result<(), Refusal> {
    let grace = i64::try_from(policy.options.expired_close_delay.as_secs()).unwrap_or(i64::MAX);
    match expire_at.is_some_and(|at| at.saturating_add(grace) <= policy.now_ms / 1000) {
        true => Err(ErrorCode::TOKEN_EXPIRED.into()),
        false => Ok(()),
    }
}

fn connection_claims(policy: &Policy<'_>, token: &str) -> Result<ConnectionClaims, Refusal> {
    let claims = policy.verifier.connection(token, policy.now_ms / 1000);
    let claims = claims.map_err(|error| refused(error, Disconnect::INVALID_TOKEN.into()))?;
    not_over(policy, claims.expire_at)?;
    let bearer = Bearer { user: &claims.user, token: &claims.id, issued_at: claims.issued_at };
    match not_revoked(policy, bearer)? {
        Ok(()) => Ok(claims),
        Err(Revoked::User) => Err(Disconnect::PERMISSION_DENIED.into()),
        Err(Revoked::Token) => Err(Disconnect::INVALID_TOKEN.into()),
    }
}

/// Whether a token is revoked. While this node does not know that yet, clients are told to try again.
fn not_revoked(policy: &Policy<'_>, bearer: Bearer<'_>) -> Result<Result<(), Revoked>, Refusal> {
    match policy.rules {
        None => Ok(Ok(())),
        Some(rules) => rules.check(bearer).ok_or(ErrorCode::INTERNAL.into()),
    }
}

/// How a session ends that stands on what is revoked.
fn ended_because(revoked: Revoked) -> Disconnect {
    match revoked {
        Revoked::User => Disconnect::PERMISSION_DENIED,
        Revoked::Token => Disconnect::STATE_INVALIDATED,
    }
}

/// What a token that does not count leads to; `invalid` = when it never will.
fn refused(error: TokenError, invalid: Refusal) -> Refusal {
    match error {
        TokenError::Expired => ErrorCode::TOKEN_EXPIRED.into(),
        TokenError::Invalid => invalid,
        TokenError::Unavailable => ErrorCode::INTERNAL.into(),
        TokenError::Fetching(fetch) => Refusal::Later(fetch),
    }
}

/// A payload of a token as JSON clients get it; empty stays empty.
fn json(raw: Bytes) -> Bytes {
    if raw.is_empty() { raw } else { crate::payload::classify(raw).json().clone() }
}

impl Session {
    /// Whether it is connected.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Who this is, by the word of a proxy that is trusted. A connection token says it better.
    pub fn vouch_for(&mut self, user: &str) {
        if self.phase == Phase::New {
            let claims = ConnectionClaims { user: user.to_owned(), ..ConnectionClaims::default() };
            self.identity = Identity::of(claims).map(Box::new);
        }
    }

    /// The user; empty = anonymous.
    pub fn user(&self) -> &str {
        self.identity.as_ref().map_or("", |i| &i.user)
    }

    /// The `jti` of its token; empty = nameless.
    pub fn token(&self) -> &str {
        self.identity.as_ref().map_or("", |i| &i.token)
    }

    /// Everything but connect needs an open session.
    ///
    /// # Errors
    /// 3501 otherwise.
    pub fn check_open(&self) -> Result<(), Refusal> {
        if self.is_open() { Ok(()) } else { Err(Disconnect::BAD_REQUEST.into()) }
    }

    /// Opens the session. `id` is what it will be called. Returns with it what the server subscribes it to.
    ///
    /// # Errors
    /// 3501 a second time, without credentials where they are needed, or with a channel that nobody configured; 3500 for
    /// a wrong token, 3505 for too many channels, error 109 for an expired token, and 100 when its key cannot be fetched:
    /// after an error the session hears nothing more.
    pub fn connect(
        &mut self,
        policy: &Policy<'_>,
        id: ClientId,
        request: &Connect,
    ) -> Result<(ConnectResult, Vec<ServerSide>), Refusal> {
        if self.phase != Phase::New {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let opened = self.open(policy, id, request);
        self.phase = match &opened {
            Ok(_) => Phase::Open,
            Err(Refusal::Error(_)) => Phase::Refused,
            Err(Refusal::Close(_) | Refusal::Later(_)) => Phase::New,
        };
        opened
    }

    fn open(
        &mut self,
        policy: &Policy<'_>,
        id: ClientId,
        request: &Connect,
    ) -> Result<(ConnectResult, Vec<ServerSide>), Refusal> {
        let mut ttl = None;
        let mut by_token = Vec::new();
        if request.token.is_empty() {
            if !policy.options.allow_anonymous && self.user().is_empty() {
                return Err(Disconnect::BAD_REQUEST.into());
            }
            let bearer = Bearer { user: self.user(), token: "", issued_at: None };
            if not_revoked(policy, bearer)? == Err(Revoked::User) {
                return Err(Disconnect::PERMISSION_DENIED.into());
            }
        } else {
            let mut claims = connection_claims(policy, &request.token)?;
            ttl = ttl_seconds(claims.expire_at, policy.now_ms);
            by_token = std::mem::take(&mut claims.subscriptions);
            self.expire_at_ms = claims.expire_at.map_or(0, |at| at.saturating_mul(1000));
            self.identity = Identity::of(claims).map(Box::new);
        }
        self.id = Some(id);
        let subscriptions = self.server_side(policy, by_token, request)?;
        let ping_seconds = u32::try_from(policy.options.ping_interval.as_secs()).unwrap_or(u32::MAX);
        let result = ConnectResult {
            client: id,
            version: policy.version,
            ttl_seconds: ttl,
            data: policy.options.connect_data.clone(),
            ping_seconds,
            pong: !policy.options.pong_timeout.is_zero(),
            uplink: None,
            subscriptions: Vec::new(),
            padding: 0,
        };
        Ok((result, subscriptions))
    }

    /// Takes a newer connection token: what it says goes from here on.
    ///
    /// # Errors
    /// 3501 without a token, 3500 for a wrong one or one of another user, 3005 for an expired one, error 100 when its key
    /// cannot be fetched.
    pub fn refresh(&mut self, policy: &Policy<'_>, token: &str) -> Result<(ClientId, Option<u32>), Refusal> {
        if token.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let claims = connection_claims(policy, token).map_err(|refusal| match refusal {
            // After an error SDKs would be gone for good; after this they come again with another token.
            Refusal::Error(ErrorCode::TOKEN_EXPIRED) => Disconnect::EXPIRED.into(),
            other => other,
        })?;
        if claims.user != self.user() {
            return Err(Disconnect::INVALID_TOKEN.into());
        }
        self.expire_at_ms = claims.expire_at.map_or(0, |at| at.saturating_mul(1000));
        let ttl = ttl_seconds(claims.expire_at, policy.now_ms);
        self.identity = Identity::of(claims).map(Box::new);
        Ok((self.client_id(), ttl))
    }

    /// A backend has set when the token expires, in seconds since 1970; `None` = never. Returns the seconds until then.
    pub fn set_expiry(&mut self, expire_at: Option<i64>, now_ms: i64) -> Option<u32> {
        self.expire_at_ms = expire_at.map_or(0, |at| at.saturating_mul(1000));
        ttl_seconds(expire_at, now_ms)
    }

    /// A backend has set how the client shows, as JSON: until its next token says otherwise.
    pub fn set_info(&mut self, info: Bytes) {
        self.identity.get_or_insert_default().info = info;
    }

    /// Whether what the session stands on is revoked by now, and how it ends then.
    pub fn ended_by_any(&self, rules: &Rules) -> Option<Disconnect> {
        let revoked = rules.check(self.bearer()?)?;
        revoked.err().map(ended_because)
    }

    /// What the session stands on, while it is open and somebody's.
    fn bearer(&self) -> Option<Bearer<'_>> {
        let identity = self.identity.as_ref().filter(|_| self.is_open())?;
        let Identity { user, token, issued_at, .. } = &**identity;
        Some(Bearer { user, token, issued_at: *issued_at })
    }

    /// How the session ends where something is revoked that it stands on. Who may come with a newer token is told to drop
    /// the old one.
    pub fn ended_by(&self, rule: &Rule) -> Option<Disconnect> {
        self.bearer()?.revoked_by(rule).map(ended_because)
    }

    /// When the connection must be closed because its token was not refreshed, ms since 1970.
    pub fn close_at_ms(&self, options: &ClientOptions) -> Option<i64> {
        let grace = i64::try_from(options.expired_close_delay.as_millis()).unwrap_or(i64::MAX);
        (self.expire_at_ms > 0).then(|| self.expire_at_ms.saturating_add(grace))
    }

    /// Whether a capability of the token allows it.
    fn can(&self, permission: Permission, channel: &ChannelName) -> bool {
        self.identity.as_ref().is_some_and(|i| i.capabilities.allow(permission, channel.as_str()))
    }

    /// Judges a publish of the client.
    ///
    /// # Errors
    /// 103 where nothing allows it.
    pub fn may_publish(
        &self,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        subscribed: bool,
    ) -> Result<(), Refusal> {
        let allowed = settings.allow_publish_for_client || (settings.allow_publish_for_subscriber && subscribed);
        let open = allowed && self.passes(settings.allow_publish_for_anonymous);
        self.allow(open || self.can(Permission::Publish, channel))
    }

    /// Judges a history read of the client.
    ///
    /// # Errors
    /// 108 where there is no history, 103 where nothing allows it.
    pub fn may_read_history(
        &self,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        subscribed: bool,
    ) -> Result<(), Refusal> {
        if !settings.has_history() {
            return Err(ErrorCode::NOT_AVAILABLE.into());
        }
        let allowed = settings.allow_history_for_client || (settings.allow_history_for_subscriber && subscribed);
        let open = allowed && self.passes(settings.allow_history_for_anonymous);
        self.allow(open || self.can(Permission::History, channel))
    }

    /// Judges a look at who is present.
    ///
    /// # Errors
    /// 108 where there is no presence, 103 where nothing allows it.
    pub fn may_see_presence(
        &self,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        subscribed: bool,
    ) -> Result<(), Refusal> {
        if !settings.presence {
            return Err(ErrorCode::NOT_AVAILABLE.into());
        }
        let allowed = settings.allow_presence_for_client || (settings.allow_presence_for_subscriber && subscribed);
        let open = allowed && self.passes(settings.allow_presence_for_anonymous);
        self.allow(open || self.can(Permission::Presence, channel))
    }

    fn allow(&self, allowed: bool) -> Result<(), Refusal> {
        if allowed { Ok(()) } else { Err(ErrorCode::PERMISSION_DENIED.into()) }
    }

    /// Clients with a user pass; others only where anonymous ones may.
    fn passes(&self, anonymous: bool) -> bool {
        anonymous || !self.user().is_empty()
    }

    /// How this client shows in its publications.
    pub fn info(&self) -> ClientInfo {
        ClientInfo {
            user: self.user().to_owned(),
            client: self.client_id().to_string(),
            conn_info: self.identity.as_ref().map(|i| i.info.clone()).unwrap_or_default(),
            chan_info: Bytes::new(),
        }
    }

    /// Its public id; all zeros before connect.
    pub fn client_id(&self) -> ClientId {
        self.id.unwrap_or(ClientId(0))
    }

    /// A ping was sent.
    pub fn pinged(&mut self) {
        self.awaits_pong = true;
    }

    /// Whether the last ping was not answered yet.
    pub fn awaits_pong(&self) -> bool {
        self.awaits_pong
    }

    /// A pong came.
    ///
    /// # Errors
    /// 3501 when none was asked for.
    pub fn ponged(&mut self) -> Result<(), Refusal> {
        if !std::mem::take(&mut self.awaits_pong) || !self.is_open() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
