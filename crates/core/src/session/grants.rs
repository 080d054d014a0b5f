//! Which subscriptions a session may have, and what they get: asked for by the client, or made by the server.

use tidegate_auth::{Overrides, Permission, ServerSubscription};
use tidegate_protocol::{Connect, Since, Subscribe};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::{ChannelName, ClientInfo};

use crate::config::{ClientOptions, NamespaceOptions};
use crate::control::Control;
use crate::namespace::Namespace;
use crate::rules::{Bearer, Token};

use super::{Grant, Policy, Refusal, ServerSide, Session, json, not_over, not_revoked, refused, ttl_seconds};

/// A channel that a connect or its token names, and its namespace.
fn known<'a>(policy: &Policy<'a>, channel: &str) -> Result<(ChannelName, &'a Namespace), Refusal> {
    let name = ChannelName::parse(channel).map_err(|error| {
        tracing::debug!(%error, "a connect names a channel that cannot be");
        Disconnect::BAD_REQUEST
    })?;
    match policy.namespaces.resolve(&name) {
        Some(namespace) => Ok((name, namespace)),
        None => {
            tracing::debug!(%channel, "a connect names a channel of a namespace that is not configured");
            Err(Disconnect::BAD_REQUEST.into())
        }
    }
}

impl Session {
    /// What the server subscribes the client to: what its token names, its personal channel, and what it asks for in its
    /// connect and could subscribe to by itself. What it could not is left out.
    pub(super) fn server_side(
        &self,
        policy: &Policy<'_>,
        mut by_token: Vec<ServerSubscription>,
        request: &Connect,
    ) -> Result<Vec<ServerSide>, Refusal> {
        let personal = self.personal_channel(policy.options);
        let personal = personal.filter(|channel| by_token.iter().all(|s| s.channel != *channel));
        by_token.extend(personal.map(|channel| ServerSubscription { channel, ..Default::default() }));
        if by_token.len() > policy.options.channel_limit {
            return Err(Disconnect::CHANNEL_LIMIT.into());
        }
        let limit = policy.options.channel_limit;
        let mut all: Vec<ServerSide> = Vec::new();
        for subscription in &by_token {
            let (channel, namespace) = known(policy, &subscription.channel)?;
            let asked = request.subscriptions.iter().find(|wish| wish.channel == subscription.channel).cloned();
            let wish = request.resumed(&subscription.channel, asked.unwrap_or_default());
            let grant = self.server_grant(&namespace.options, &channel, subscription, &wish);
            all.push(ServerSide { channel, grant });
        }
        for wish in &request.subscriptions {
            let (channel, namespace) = known(policy, &wish.channel)?;
            if all.iter().any(|known| known.channel == channel) || !namespace.admits(&channel) {
                continue;
            }
            let wish = request.resumed(&wish.channel, wish.clone());
            match self.may_subscribe(policy, &namespace.options, &channel, &wish) {
                // At once: each is compared with those before.
                Ok(_) if all.len() >= limit => return Err(Disconnect::CHANNEL_LIMIT.into()),
                Ok(grant) => all.push(ServerSide { channel, grant }),
                Err(Refusal::Error(code)) if !code.temporary => {}
                Err(other) => return Err(other),
            }
        }
        Ok(all)
    }

    /// The channel that every session of this user has, where there is such a thing.
    fn personal_channel(&self, options: &ClientOptions) -> Option<String> {
        let personal = options.personal_channel.as_ref().filter(|_| !self.user().is_empty())?;
        let channel = match &personal.namespace {
            Some(namespace) => format!("{namespace}:#{}", self.user()),
            None => format!("#{}", self.user()),
        };
        if let Err(error) = ChannelName::parse(&channel) {
            tracing::warn!(%error, "a user has no personal channel, because of its name");
            return None;
        }
        Some(channel)
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
        self.shape(&mut grant, settings, channel, wish, subscription.overrides);
        grant
    }

    /// Judges a subscription. The caller has checked that the client has not got it already.
    ///
    /// # Errors
    /// 103 where nothing allows it or the token is wrong, 109 for an expired token, 100 when its key cannot be fetched,
    /// 3500 for a token that was made for another channel, user or client. 107 when it shows more in presence than
    /// nodes can tell each other.
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
            self.by_token(policy, channel.as_str(), &request.token, ErrorCode::PERMISSION_DENIED.into())?
        };
        self.shape(&mut grant, settings, channel, request, overrides);
        if grant.present {
            let info = ClientInfo { chan_info: grant.info.clone(), ..self.info() };
            Control::check_info(channel, &info).map_err(|error| {
                tracing::debug!(%error, "a subscription shows too much in presence");
                ErrorCode::BAD_REQUEST
            })?;
        }
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
        // Who may read what was missed may have it by a recovery as well.
        let may_read = self.may_read_history(settings, channel, true).is_ok();
        let may_recover = force_recovery || settings.allow_recovery || may_read;
        // Who names a position wants what follows it, also without asking for the next one.
        let wanted = request.recoverable || request.recover.is_some();
        grant.recoverable = keeps && (force_recovery || (wanted && may_recover));
        grant.positioned = grant.recoverable
            || force_positioning
            || (request.positioned && (settings.allow_positioning || may_recover));
        if grant.recoverable {
            let from_nowhere = settings.auto_cache_recover.then(Since::default);
            grant.since = request.recover.clone().or(from_nowhere);
        }
        grant.delta = request.delta && settings.allow_fossil_delta && grant.positioned;
        grant.present = overrides.presence.unwrap_or(settings.presence);
        let told = overrides.join_leave.unwrap_or(settings.join_leave);
        let forced = overrides.force_push_join_leave.unwrap_or(settings.force_push_join_leave);
        let may_see = || self.may_see_presence(settings, channel, true).is_ok();
        grant.join_leave = told && (forced || (request.join_leave && may_see()));
    }

    /// Judges the refresh of a subscription that the client has: the seconds until the next one, and when.
    ///
    /// # Errors
    /// As [`Session::may_subscribe`] with a token, but 3500 where the token is wrong. 107 without one.
    pub fn sub_refresh(&self, policy: &Policy<'_>, channel: &str, token: &str) -> Result<Grant, Refusal> {
        if token.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        self.by_token(policy, channel, token, Disconnect::INVALID_TOKEN.into()).map(|(grant, _)| grant)
    }

    /// `invalid` = what a token leads to that never will count.
    fn by_token(
        &self,
        policy: &Policy<'_>,
        channel: &str,
        token: &str,
        invalid: Refusal,
    ) -> Result<(Grant, Overrides), Refusal> {
        let claims = policy.verifier.subscription(token, policy.now_ms / 1000);
        let claims = claims.map_err(|error| refused(error, invalid))?;
        not_over(policy, claims.expire_at)?;
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
            token: policy.rules.map(|_| Box::new(Token { id: claims.id.into(), issued_at: claims.issued_at })),
            ..Grant::default()
        };
        Ok((grant, claims.overrides))
    }
}
