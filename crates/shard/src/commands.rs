//! Commands of clients. The session judges, the hub knows; this joins the two.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tidegate_core::{HubError, PublishOptions, Refusal, Session, ShardEvent, Ticket};
use tidegate_protocol::{Command, History, Method, Reply};
use tidegate_types::ChannelName;
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::limits::PENDING_PER_CONNECTION_MAX;

use crate::connection::Connection;
use crate::shard::Shard;
use crate::slab::Place;

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl Shard {
    /// Carries one command out. Replies gather in the batch, which the caller flushes.
    pub(crate) fn command(&mut self, place: Place, command: Command) {
        let Some(command) = self.behind_held(place, command) else { return };
        let id = command.id;
        let connects = matches!(command.method, Method::Connect(_));
        let result = match command.method {
            Method::Connect(request) => {
                let result = self.connect(place, id, &request);
                self.or_hold(place, result, || Command { id, method: Method::Connect(request) })
            }
            method => match self.connections.get(place.index).map(|c| c.session.check_open()) {
                Some(Ok(())) => self.open_command(place, id, method),
                Some(Err(refusal)) => Err(refusal),
                None => return,
            },
        };
        if let Err(refusal) = result {
            self.refuse_command(place, id, connects, refusal);
        }
    }

    /// Says that a command is not carried out, or ends the connection.
    pub(crate) fn refuse_command(&mut self, place: Place, id: u32, connects: bool, refusal: Refusal) {
        let code = match refusal {
            Refusal::Close(why) => {
                self.flush_replies(place.index);
                return self.end(place, Some(why));
            }
            Refusal::Error(code) => code,
            Refusal::Later(_) => ErrorCode::INTERNAL,
        };
        let one_way = |c: &Connection| self.options.wires[usize::from(c.wire)].is_one_way();
        if connects && self.connections.get(place.index).is_some_and(one_way) {
            return self.refuse_one_way(place, code);
        }
        self.reply(place.index, id, &Reply::Error(code));
    }

    fn open_command(&mut self, place: Place, id: u32, method: Method) -> Result<(), Refusal> {
        // Everything but a pong and a send is answered under its id.
        if id == 0 && !matches!(method, Method::Pong | Method::Send { .. }) {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        match method {
            Method::Connect(_) => Err(Disconnect::BAD_REQUEST.into()),
            Method::Subscribe(request) => {
                let result = self.subscribe(place, id, &request);
                self.or_hold(place, result, || Command { id, method: Method::Subscribe(request) })
            }
            Method::Unsubscribe { channel } => {
                self.unsubscribe(place, &channel)?;
                self.reply(place.index, id, &Reply::Unsubscribe);
                Ok(())
            }
            Method::Publish { channel, data, exclude_self } => self.publish(place, id, &channel, data, exclude_self),
            Method::History(query) => self.history(place, id, *query),
            Method::Refresh { token } => {
                let result = self.refresh(place, id, &token);
                self.or_hold(place, result, || Command { id, method: Method::Refresh { token } })
            }
            Method::SubRefresh { channel, token } => {
                let result = self.sub_refresh(place, id, &channel, &token);
                self.or_hold(place, result, || Command { id, method: Method::SubRefresh { channel, token } })
            }
            Method::Pong => {
                self.session(place)?.ponged()?;
                self.set_next_ping(place.index);
                Ok(())
            }
            Method::Send { .. } => Err(Disconnect::NOT_AVAILABLE.into()),
            Method::Presence { channel } => self.presence(place, id, &channel, false),
            Method::PresenceStats { channel } => self.presence(place, id, &channel, true),
            Method::Rpc { .. } | Method::Ping | Method::Unsupported => Err(ErrorCode::NOT_AVAILABLE.into()),
        }
    }

    pub(crate) fn session(&mut self, place: Place) -> Result<&mut Session, Refusal> {
        let connection = self.connections.get_mut(place.index).ok_or(Refusal::Close(Disconnect::CONNECTION_CLOSED))?;
        Ok(&mut connection.session)
    }

    fn refresh(&mut self, place: Place, id: u32, token: &str) -> Result<(), Refusal> {
        let now_ms = self.wall_ms();
        let policy = Self::policy(&self.options, &self.verifier, &self.hub, self.version, now_ms);
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        let before = connection.session.token().to_owned();
        let (client, ttl_seconds) = connection.session.refresh(&policy, token)?;
        self.tokens.remove(&before, place.index);
        self.tokens.add(connection.session.token(), place.index);
        self.reply(place.index, id, &Reply::Refresh { client, ttl_seconds });
        self.set_alarm(place.index);
        Ok(())
    }

    fn sub_refresh(&mut self, place: Place, id: u32, channel: &str, token: &str) -> Result<(), Refusal> {
        if channel.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let now_ms = self.wall_ms();
        let name = ChannelName::parse(channel).map_err(|_| ErrorCode::BAD_REQUEST)?;
        let slot = self.by_name.get(&name).copied();
        let policy = Self::policy(&self.options, &self.verifier, &self.hub, self.version, now_ms);
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        if slot.and_then(|slot| connection.subscription(slot)).is_none() {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let grant = connection.session.sub_refresh(&policy, channel, token)?;
        if let Some(subscription) = slot.and_then(|slot| connection.subscription(slot)) {
            subscription.expire_at = crate::subscriptions::expire_at_seconds(&grant);
            subscription.info = crate::subscriptions::info_of(&grant);
            let before = std::mem::replace(&mut subscription.token, grant.token);
            let now = subscription.token.as_ref();
            before.iter().for_each(|token| self.tokens.remove(&token.id, place.index));
            now.into_iter().for_each(|token| self.tokens.add(&token.id, place.index));
        }
        self.reply(place.index, id, &Reply::SubRefresh { ttl_seconds: grant.ttl_seconds });
        self.set_alarm(place.index);
        Ok(())
    }

    fn publish(
        &mut self,
        place: Place,
        id: u32,
        channel: &str,
        data: bytes::Bytes,
        exclude_self: bool,
    ) -> Result<(), Refusal> {
        let (name, subscribed) = self.known_channel(place, channel)?;
        let settings = self.hub.namespaces().for_client(&name)?.clone();
        let session = self.session(place)?;
        session.may_publish(&settings.options, &name, subscribed)?;
        let mut info = session.info();
        if let Some(slot) = self.by_name.get(&name).copied()
            && let Some(subscription) = self.connections.get_mut(place.index).and_then(|c| c.subscription(slot))
        {
            info.chan_info = subscription.info.as_deref().cloned().unwrap_or_default();
        }
        let exclude = exclude_self.then(|| info.client.clone());
        let options = PublishOptions { info: Some(info), exclude, ..Default::default() };
        let hub = self.hub.clone();
        self.answer_later(
            place,
            id,
            Box::pin(async move {
                match hub.publish(&name, data, options).await {
                    Ok(_) => Reply::Publish,
                    Err(error) => failed(&error),
                }
            }),
        )
    }

    /// A client gets so many publications and bytes at most; backends, which ask the hub themselves, whatever the
    /// namespace keeps.
    fn history(&mut self, place: Place, id: u32, mut query: History) -> Result<(), Refusal> {
        let (name, subscribed) = self.known_channel(place, &query.channel)?;
        let settings = self.hub.namespaces().for_client(&name)?.clone();
        self.session(place)?.may_read_history(&settings.options, &name, subscribed)?;
        let most = i32::try_from(self.options.client.history_publications_max).unwrap_or(i32::MAX);
        if query.limit < 0 || query.limit > most {
            query.limit = most;
        }
        let bytes_max = self.options.client.recovery_bytes_max;
        let hub = self.hub.clone();
        self.answer_later(
            place,
            id,
            Box::pin(async move {
                match hub.history_within(&query, bytes_max).await {
                    Ok(result) => Reply::History(Box::new(result)),
                    Err(error) => failed(&error),
                }
            }),
        )
    }

    fn presence(&mut self, place: Place, id: u32, channel: &str, stats: bool) -> Result<(), Refusal> {
        let (name, subscribed) = self.known_channel(place, channel)?;
        let settings = self.hub.namespaces().for_client(&name)?.clone();
        self.session(place)?.may_see_presence(&settings.options, &name, subscribed)?;
        let control = self.hub.control().ok_or(ErrorCode::NOT_AVAILABLE)?.clone();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.answer_later(
            place,
            id,
            Box::pin(async move {
                let reply = match stats {
                    true => control
                        .presence_stats(&name)
                        .await
                        .map(|(clients, users)| Reply::PresenceStats { clients: count(clients), users: count(users) }),
                    false => control.presence(&name).await.map(Reply::Presence),
                };
                reply.unwrap_or_else(|error| failed(&error))
            }),
        )
    }

    /// A channel's name, checked, and whether the client is subscribed to it.
    fn known_channel(&mut self, place: Place, channel: &str) -> Result<(ChannelName, bool), Refusal> {
        if channel.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let name = ChannelName::parse(channel).map_err(|_| ErrorCode::BAD_REQUEST)?;
        let slot = self.by_name.get(&name).copied();
        let connection = self.connections.get_mut(place.index);
        let subscribed = slot.zip(connection).is_some_and(|(slot, c)| c.subscription(slot).is_some());
        Ok((name, subscribed))
    }

    /// Answers at once where the future is ready (which is what a log in memory is), and otherwise when it is.
    fn answer_later(&mut self, place: Place, id: u32, mut answer: Answer) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        if usize::from(connection.pending) >= PENDING_PER_CONNECTION_MAX {
            return Err(ErrorCode::TOO_MANY_REQUESTS.into());
        }
        let runtime = self.hub.runtime().clone();
        let polled = {
            let _entered = runtime.enter();
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        if let Poll::Ready(reply) = polled {
            self.reply_if_room(place.index, id, &reply);
            return Ok(());
        }
        connection.pending += 1;
        let (hub, shard) = (self.hub.clone(), self.id);
        let ticket = Ticket { connection: place.index, generation: place.generation, command: id };
        runtime.spawn(async move {
            let reply = answer.await;
            hub.tell(shard, ShardEvent::Answered { ticket, reply });
        });
        Ok(())
    }
}

fn failed(error: &HubError) -> Reply {
    tracing::debug!(%error, "a command of a client failed");
    Reply::Error(error.code())
}
