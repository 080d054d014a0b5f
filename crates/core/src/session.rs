//! What one connection may do: a state machine without socket, clock or log.
//!
//! It takes a command and the time, and answers with a result, or a [`Refusal`] that is either an error reply or the
//! end of the connection. Who subscribes where is the shard's business; the session only judges. It is small, because
//! a node holds as many as it has connections. Source: sections 5 and 6 of the Centrifuge protocol reference.

use bytes::Bytes;
use tidegate_auth::{
    Capabilities, ConnectionClaims, Fetch, Overrides, Permission, ServerSubscription, TokenError, Verifier,
};
use tidegate_protocol::{Connect, ConnectResult, Since, Subscribe};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::{ChannelName, ClientId, ClientInfo};

use crate::config::{ClientOptions, NamespaceOptions};
use crate::namespace::Namespaces;
use crate::revocations::{Bearer, Revocations, Revoked, Rule};

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
    pub revocations: Option<&'a Revocations>,
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

#[derive(Debug)]
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

fn connection_claims(policy: &Policy<'_>, token: &str) -> Result<ConnectionClaims, Refusal> {
    let claims = policy.verifier.connection(token, policy.now_ms / 1000);
    let claims = claims.map_err(|error| refused(error, Disconnect::INVALID_TOKEN.into()))?;
    let bearer = Bearer { user: &claims.user, token: &claims.id, issued_at: claims.issued_at };
    match not_revoked(policy, bearer)? {
        Ok(()) => Ok(claims),
        Err(Revoked::User) => Err(Disconnect::PERMISSION_DENIED.into()),
        Err(Revoked::Token) => Err(Disconnect::INVALID_TOKEN.into()),
    }
}

/// Whether a token is revoked. While this node does not know that yet, clients are told to try again.
fn not_revoked(policy: &Policy<'_>, bearer: Bearer<'_>) -> Result<Result<(), Revoked>, Refusal> {
    match policy.revocations {
        None => Ok(Ok(())),
        Some(revocations) => revocations.check(bearer).ok_or(ErrorCode::INTERNAL.into()),
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

/// A channel that a connect or its token names, and its settings.
fn known<'a>(policy: &Policy<'a>, channel: &str) -> Result<(ChannelName, &'a NamespaceOptions), Refusal> {
    let name = ChannelName::parse(channel).map_err(|error| {
        tracing::debug!(%error, "a connect names a channel that cannot be");
        Disconnect::BAD_REQUEST
    })?;
    match policy.namespaces.resolve(&name) {
        Some(namespace) => Ok((name, &namespace.options)),
        None => {
            tracing::debug!(%channel, "a connect names a channel of a namespace that is not configured");
            Err(Disconnect::BAD_REQUEST.into())
        }
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

    /// The user; empty = anonymous.
    pub fn user(&self) -> &str {
        self.identity.as_ref().map_or("", |i| &i.user)
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
            if !policy.options.allow_anonymous {
                return Err(Disconnect::BAD_REQUEST.into());
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

    /// What the server subscribes the client to: what its token names, its personal channel, and what it asks for in its
    /// connect and could subscribe to by itself. What it could not is left out.
    fn server_side(
        &self,
        policy: &Policy<'_>,
        mut by_token: Vec<ServerSubscription>,
        request: &Connect,
    ) -> Result<Vec<ServerSide>, Refusal> {
        let personal = self.personal_channel(policy.options);
        by_token.extend(personal.map(|channel| ServerSubscription { channel, ..Default::default() }));
        let mut all: Vec<ServerSide> = Vec::with_capacity(by_token.len());
        for subscription in &by_token {
            let (channel, settings) = known(policy, &subscription.channel)?;
            let asked = request.subscriptions.iter().find(|wish| wish.channel == subscription.channel).cloned();
            let wish = request.resumed(&subscription.channel, asked.unwrap_or_default());
            let grant = self.server_grant(settings, &channel, subscription, &wish);
            all.push(ServerSide { channel, grant });
        }
        for wish in &request.subscriptions {
            let (channel, settings) = known(policy, &wish.channel)?;
            if all.iter().any(|known| known.channel == channel) {
                continue;
            }
            match self.may_subscribe(policy, settings, &channel, &request.resumed(&wish.channel, wish.clone())) {
                Ok(grant) => all.push(ServerSide { channel, grant }),
                Err(Refusal::Error(code)) if !code.temporary => {}
                Err(other) => return Err(other),
            }
        }
        if all.len() > policy.options.channel_limit {
            return Err(Disconnect::CHANNEL_LIMIT.into());
        }
        Ok(all)
    }

    /// The channel that every session of this user has, where there is such a thing.
    fn personal_channel(&self, options: &ClientOptions) -> Option<String> {
        let personal = options.personal_channel.as_ref().filter(|_| !self.user().is_empty())?;
        Some(match &personal.namespace {
            Some(namespace) => format!("{namespace}:#{}", self.user()),
            None => format!("#{}", self.user()),
        })
    }

    /// What a subscription that the server makes may have; `wish` is what the client said of it.
    pub fn server_grant(
        &self,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        subscription: &ServerSubscription,
        wish: &Subscribe,
    ) -> Grant {
        let mut grant =
            Grant { info: json(subscription.info.clone()), data: json(subscription.data.clone()), ..Grant::default() };
        let wish = Subscribe { recoverable: wish.recoverable || wish.recover.is_some(), ..wish.clone() };
        self.shape(&mut grant, settings, channel, &wish, subscription.overrides);
        grant
    }

    /// Takes a newer connection token: what it says goes from here on.
    ///
    /// # Errors
    /// 3501 without a token, 3500 for a wrong one or one of another user, error 109 for an expired one, 100 when its key
    /// cannot be fetched.
    pub fn refresh(&mut self, policy: &Policy<'_>, token: &str) -> Result<(ClientId, Option<u32>), Refusal> {
        if token.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let claims = connection_claims(policy, token)?;
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

    /// How the session ends where something is revoked that it stands on. Who may come with a newer token is told to drop
    /// the old one.
    pub fn ended_by(&self, rule: &Rule) -> Option<Disconnect> {
        let identity = self.identity.as_ref().filter(|_| self.is_open())?;
        let revoked = match rule {
            Rule::Block { user, .. } => return (identity.user == *user).then_some(Disconnect::PERMISSION_DENIED),
            Rule::Token { id, .. } => *identity.token == **id,
            Rule::Before { user, issued_before, .. } => {
                identity.user == *user && identity.issued_at.is_none_or(|at| at < *issued_before)
            }
            Rule::Unblock { .. } => false,
        };
        revoked.then_some(Disconnect::STATE_INVALIDATED)
    }

    /// When the connection must be closed because its token was not refreshed, ms since 1970.
    pub fn close_at_ms(&self, options: &ClientOptions) -> Option<i64> {
        let grace = i64::try_from(options.expired_close_delay.as_millis()).unwrap_or(i64::MAX);
        (self.expire_at_ms > 0).then(|| self.expire_at_ms.saturating_add(grace))
    }

    /// Judges a subscription. The caller has checked that the client has not got it already.
    ///
    /// # Errors
    /// 103 where nothing allows it or the token is wrong, 109 for an expired token, 100 when its key cannot be fetched,
    /// 3500 for a token that was made for another channel, user or client.
    pub fn may_subscribe(
        &self,
        policy: &Policy<'_>,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        request: &Subscribe,
    ) -> Result<Grant, Refusal> {
        let (mut grant, overrides) = if request.token.is_empty() {
            self.allow(self.is_open_to(settings, channel) || self.can(Permission::Subscribe, channel))?;
            (Grant::default(), Overrides::default())
        } else {
            self.by_token(policy, channel.as_str(), &request.token)?
        };
        self.shape(&mut grant, settings, channel, request, overrides);
        Ok(grant)
    }

    /// Whether a channel is open to this client by its settings and its name.
    fn is_open_to(&self, settings: &NamespaceOptions, channel: &ChannelName) -> bool {
        if channel.is_private() {
            return false;
        }
        match channel.users().filter(|_| settings.allow_user_limited_channels) {
            Some(mut users) => !self.user().is_empty() && users.any(|user| user == self.user()),
            None => settings.allow_subscribe_for_client && self.passes(settings.allow_subscribe_for_anonymous),
        }
    }

    /// What a subscription gets of what was asked for, by the channel's settings and what overrides them.
    fn shape(
        &self,
        grant: &mut Grant,
        settings: &NamespaceOptions,
        channel: &ChannelName,
        request: &Subscribe,
        overrides: Overrides,
    ) {
        let force_recovery = overrides.force_recovery.unwrap_or(settings.force_recovery);
        let force_positioning = overrides.force_positioning.unwrap_or(settings.force_positioning);
        let keeps = settings.has_history();
        let may_recover = force_recovery || settings.allow_recovery;
        grant.recoverable = keeps && (force_recovery || (request.recoverable && may_recover));
        grant.positioned = grant.recoverable
            || force_positioning
            || (request.positioned && (settings.allow_positioning || may_recover));
        if grant.recoverable {
            grant.since = request.recover.clone();
        }
        grant.delta = request.delta && settings.allow_fossil_delta && grant.positioned;
        grant.present = overrides.presence.unwrap_or(settings.presence);
        let told = overrides.join_leave.unwrap_or(settings.join_leave);
        let forced = overrides.force_push_join_leave.unwrap_or(settings.force_push_join_leave);
        let may_see = || self.may_see_presence(settings, channel, true).is_ok();
        grant.join_leave = grant.present && told && (forced || (request.join_leave && may_see()));
    }

    /// Judges the refresh of a subscription that the client has: the seconds until the next one, and when.
    ///
    /// # Errors
    /// As [`Session::may_subscribe`] with a token.
    pub fn sub_refresh(&self, policy: &Policy<'_>, channel: &str, token: &str) -> Result<Grant, Refusal> {
        if token.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        self.by_token(policy, channel, token).map(|(grant, _)| grant)
    }

    fn by_token(&self, policy: &Policy<'_>, channel: &str, token: &str) -> Result<(Grant, Overrides), Refusal> {
        let claims = policy.verifier.subscription(token, policy.now_ms / 1000);
        let claims = claims.map_err(|error| refused(error, ErrorCode::PERMISSION_DENIED.into()))?;
        let client_fits = claims.client.is_empty() || claims.client == self.client_id().to_string();
        if claims.channel != channel || claims.user != self.user() || !client_fits {
            return Err(Disconnect::INVALID_TOKEN.into());
        }
        let bearer = Bearer { user: &claims.user, token: &claims.id, issued_at: claims.issued_at };
        if not_revoked(policy, bearer)?.is_err() {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let grant = Grant {
            expire_at_ms: claims.expire_at.map(|at| at.saturating_mul(1000)),
            ttl_seconds: ttl_seconds(claims.expire_at, policy.now_ms),
            info: json(claims.info),
            data: json(claims.data),
            ..Grant::default()
        };
        Ok((grant, claims.overrides))
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
