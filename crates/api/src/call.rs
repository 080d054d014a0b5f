//! One call of any method but `batch`: read from JSON, carried out, answered with the JSON of its result.

use smallvec::{SmallVec, smallvec};
use tidegate_core::Hub;

use crate::answer::{Failure, position};
use crate::method::Method;
use crate::{broadcast, channels, clients, history, info, presence, publish, revoke, subscribe};

/// A call that is read and not carried out yet.
pub(crate) enum Call<'a> {
    Publish(publish::Request<'a>),
    Broadcast(broadcast::Request<'a>),
    History(history::Request),
    HistoryRemove(history::Removal),
    Presence(presence::Request),
    PresenceStats(presence::Request),
    Disconnect(clients::Disconnect),
    Subscribe(Box<subscribe::Request<'a>>),
    Unsubscribe(clients::Unsubscribe),
    Refresh(clients::Refresh<'a>),
    BlockUser(revoke::BlockUser),
    UnblockUser(revoke::UnblockUser),
    RevokeToken(revoke::RevokeToken),
    InvalidateUserTokens(revoke::InvalidateUserTokens),
    Channels(channels::Request),
    Info,
}

impl<'a> Call<'a> {
    /// The call of `method` with this body; `None` for a method that is no single call.
    pub(crate) fn read(method: Method, body: &'a [u8]) -> Option<serde_json::Result<Self>> {
        use crate::read::request as read;
        Some(match method {
            Method::Publish => read(body).map(Self::Publish),
            Method::Broadcast => read(body).map(Self::Broadcast),
            Method::History => read(body).map(Self::History),
            Method::HistoryRemove => read(body).map(Self::HistoryRemove),
            Method::Presence => read(body).map(Self::Presence),
            Method::PresenceStats => read(body).map(Self::PresenceStats),
            Method::Disconnect => read(body).map(Self::Disconnect),
            Method::Subscribe => read(body).map(Box::new).map(Self::Subscribe),
            Method::Unsubscribe => read(body).map(Self::Unsubscribe),
            Method::Refresh => read(body).map(Self::Refresh),
            Method::BlockUser => read(body).map(Self::BlockUser),
            Method::UnblockUser => read(body).map(Self::UnblockUser),
            Method::RevokeToken => read(body).map(Self::RevokeToken),
            Method::InvalidateUserTokens => read(body).map(Self::InvalidateUserTokens),
            Method::Channels => read(body).map(Self::Channels),
            Method::Info => info::read(body).map(|()| Self::Info),
            Method::Batch => return None,
        })
    }

    /// The channels that it is about.
    pub(crate) fn channels(&self) -> SmallVec<[&str; 1]> {
        match self {
            Self::Publish(request) => smallvec![&*request.channel.0],
            Self::Broadcast(request) => request.channels.iter().map(|channel| &*channel.0).collect(),
            Self::History(request) => smallvec![&*request.channel],
            Self::HistoryRemove(request) => smallvec![&*request.channel],
            Self::Presence(request) | Self::PresenceStats(request) => smallvec![&*request.channel],
            Self::Subscribe(request) => smallvec![&*request.channel],
            Self::Unsubscribe(request) => smallvec![&*request.channel],
            Self::Disconnect(_)
            | Self::Refresh(_)
            | Self::BlockUser(_)
            | Self::UnblockUser(_)
            | Self::RevokeToken(_)
            | Self::InvalidateUserTokens(_)
            | Self::Channels(_)
            | Self::Info => SmallVec::new(),
        }
    }

    /// Carries it out; appends the JSON of its result to `out`.
    pub(crate) async fn run(self, hub: &Hub, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Self::Publish(request) => position(&publish::run(hub, request)?.await?, out),
            Self::Broadcast(request) => out.extend_from_slice(&broadcast::run(hub, request).await?),
            Self::History(request) => history::write(&history::run(hub, request).await?, out),
            Self::Presence(request) => presence::write(&presence::members(hub, request).await?, out),
            Self::PresenceStats(request) => presence::write_stats(presence::stats(hub, request).await?, out),
            Self::Channels(request) => channels::write(&channels::run(hub, request).await?, out),
            Self::Info => info::write(&hub.nodes(), out),
            other => {
                other.command(hub).await?;
                out.extend_from_slice(b"{}");
            }
        }
        Ok(())
    }

    /// Carries out what has no result.
    async fn command(self, hub: &Hub) -> Result<(), Failure> {
        match self {
            Self::HistoryRemove(request) => history::remove(hub, request).await,
            Self::Disconnect(request) => clients::disconnect(hub, request).await,
            Self::Subscribe(request) => subscribe::run(hub, *request).await,
            Self::Unsubscribe(request) => clients::unsubscribe(hub, request).await,
            Self::Refresh(request) => clients::refresh(hub, request).await,
            Self::BlockUser(request) => revoke::block_user(hub, request).await,
            Self::UnblockUser(request) => revoke::unblock_user(hub, request).await,
            Self::RevokeToken(request) => revoke::revoke_token(hub, request).await,
            Self::InvalidateUserTokens(request) => revoke::invalidate_user_tokens(hub, request).await,
            Self::Publish(_)
            | Self::Broadcast(_)
            | Self::History(_)
            | Self::Presence(_)
            | Self::PresenceStats(_)
            | Self::Channels(_)
            | Self::Info => Ok(()),
        }
    }
}
