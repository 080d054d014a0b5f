//! Connect: from the command to its answer, with the subscriptions that the server makes for the client.
//!
//! Each such subscription begins as others do, at a cursor that the hub reads, which may take a while. The answer waits
//! for all of them, because it says where they begin, and commands that come meanwhile wait behind it. With the answer
//! they go live together; what was published in between is read from the window.

use tidegate_core::{Action, Order, Refusal, ServerSide, ShardEvent, Start, Ticket};
use tidegate_protocol::{Connect, ConnectResult, Reply};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::limits::REPLY_BYTES_PER_TURN_MAX;

use crate::connection::{Asked, Connecting, Held, Waiting};
use crate::shard::Shard;
use crate::slab::Place;
use crate::subscriptions::begin_at;

/// Padding of the answer in a response that does not end. HAProxy, unless it is told otherwise, lets the kernel wait up to
/// 200 ms for more whenever it sends less than a full segment: with a segment of Ethernet behind it the answer goes at once.
const PADDING_BYTES: usize = 1_500;
/// About what a publication takes of an answer beside what is told of it.
const ENVELOPE_BYTES: usize = 64;
/// Before the other sessions of a user are told again that there is a newer one.
const CLAIM_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Positions that fit into the header with which a browser gives them back, with room to spare in what proxies take.
pub(crate) const POSITIONS_MAX: usize = 200;

impl Shard {
    /// Opens the session; it is answered here, or when its subscriptions can begin.
    pub(crate) fn connect(&mut self, place: Place, id: u32, request: &Connect) -> Result<(), Refusal> {
        let now_ms = self.wall_ms();
        let policy = Self::policy(&self.options, &self.verifier, &self.hub, self.version, now_ms);
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        if id == 0 {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let (mut result, subscriptions) = connection.session.connect(&policy, tidegate_core::random_id(), request)?;
        let wire = &self.options.wires[usize::from(connection.wire)];
        let too_many = wire.has_ids() && subscriptions.len() > POSITIONS_MAX;
        if !wire.is_duplex() {
            result.padding = PADDING_BYTES;
        }
        if !wire.is_duplex() || wire.is_one_way() {
            let ticket = Ticket { connection: place.index, generation: place.generation, command: 0 };
            let (key, mut uplink) = self.hub.open_uplink(self.id, ticket);
            connection.uplink = Some(Box::new(key));
            if wire.is_one_way() {
                uplink.node.clear();
                result.pong = false;
            }
            result.uplink = Some(uplink);
        }
        if connection.pings_by_frame {
            (result.ping_seconds, result.pong) = (0, false);
        }
        self.metrics.clients.add(1);
        self.users.add(connection.session.user(), place.index);
        self.tokens.add(connection.session.token(), place.index);
        let user = connection.session.user().to_owned();
        self.check_limits(&user)?;
        if too_many {
            return Err(Disconnect::CHANNEL_LIMIT.into());
        }
        self.claim(place);
        self.set_first_ping(place.index);
        if subscriptions.is_empty() {
            self.answer_connect(place, id, result);
            return Ok(());
        }
        self.connect_with(place, id, result, subscriptions)
    }

    fn connect_with(
        &mut self,
        place: Place,
        command: u32,
        result: ConnectResult,
        subscriptions: Vec<ServerSide>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        let connecting = Connecting { command, result, started: Vec::new(), told_bytes: 0, left: subscriptions.len() };
        connection.held = Some(Box::new(Held { connecting: Some(connecting), ..Held::default() }));
        for ServerSide { channel, grant } in subscriptions {
            let slot = self.slot_of(channel).map_err(|_| Disconnect::SERVER_ERROR)?;
            self.begin(place, Waiting::new(slot, grant, Asked::Connect));
            if !self.is_connecting(place) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the connect of a connection is not answered yet.
    pub(crate) fn is_connecting(&mut self, place: Place) -> bool {
        self.connections.is_at(place) && self.connections.get_mut(place.index).is_some_and(|c| c.connecting().is_some())
    }

    /// A subscription of the connect can begin, or cannot.
    pub(crate) fn started_at_connect(&mut self, place: Place, waiting: Waiting, result: Result<Start, ErrorCode>) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let has_ids = self.options.wires[usize::from(connection.wire)].has_ids();
        let Some(connecting) = connection.connecting() else { return };
        match result {
            Ok(start) => {
                connecting.left -= 1;
                let bytes = start.publications.iter().map(|p| p.told_bytes() + ENVELOPE_BYTES).sum::<usize>();
                // An answer is bounded, whatever was missed in all those channels.
                let replay = has_ids || connecting.told_bytes + bytes > REPLY_BYTES_PER_TURN_MAX;
                connecting.told_bytes += if replay { 0 } else { bytes };
                connecting.started.push(begin_at(waiting, start, replay));
                self.answer_if_complete(place);
            }
            Err(code) => {
                tracing::debug!(?code, "a subscription of a connect cannot begin");
                self.end(place, Some(Disconnect::SERVER_ERROR));
            }
        }
    }

    /// A subscription of the connect is not wanted any more.
    pub(crate) fn forget_at_connect(&mut self, place: Place, slot: u32, was_waiting: bool) {
        let Some(connecting) = self.connections.get_mut(place.index).and_then(|c| c.connecting()) else { return };
        if was_waiting {
            connecting.left -= 1;
        }
        connecting.started.retain(|(_, beginning)| beginning.slot != slot);
        self.answer_if_complete(place);
    }

    /// Connects that would begin where nobody knows any more what lies there end.
    pub(crate) fn invalidate_at_connect(&mut self, cell: tidegate_core::CellId) {
        for index in self.connections.indices() {
            let Some(connecting) = self.connections.get_mut(index).and_then(|c| c.connecting()) else { continue };
            let lies_there = |slot| self.channels.get(slot).is_some_and(|channel| channel.hub.cell() == cell);
            if connecting.started.iter().any(|(_, beginning)| lies_there(beginning.slot)) {
                self.close(index, Disconnect::INSUFFICIENT_STATE);
            }
        }
    }

    fn answer_if_complete(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        if connection.connecting().is_none_or(|c| c.left > 0) {
            return;
        }
        let Some(held) = connection.held.take() else { return };
        let Held { commands, unread, connecting: Some(connecting), .. } = *held else { return };
        let Connecting { command, mut result, started, .. } = connecting;
        for (told, beginning) in started {
            let Some(name) = self.channels.get(beginning.slot).map(|c| c.name.clone()) else { continue };
            result.subscriptions.push((name.as_str().to_owned(), told));
            // Before the answer, which may say where they stand. Nothing is sent before it.
            self.go_live(place, beginning);
        }
        self.answer_connect(place, command, result);
        self.carry_out_held(place, commands, unread, false);
    }

    fn answer_connect(&mut self, place: Place, command: u32, result: ConnectResult) {
        self.reply(place.index, command, &Reply::Connect(Box::new(result)));
    }

    /// Where a user may have one session only, tells the others that this one is newer.
    pub(crate) fn claim(&mut self, place: Place) {
        let single = self.options.client.personal_channel.as_ref().is_some_and(|p| p.single_connection);
        let Some(connection) = self.connections.get_mut(place.index).filter(|c| single && !c.session.user().is_empty())
        else {
            return;
        };
        let Some(control) = self.hub.control().cloned() else { return };
        connection.claiming = true;
        let client = connection.session.client_id().to_string();
        let user = connection.session.user().to_owned();
        let (hub, shard) = (self.hub.clone(), self.id);
        let ticket = Ticket { connection: place.index, generation: place.generation, command: 0 };
        self.hub.runtime().spawn(async move {
            let order = Order { user, action: Action::Single { client }, ..Order::default() };
            if let Err(error) = control.order(order).await {
                tracing::warn!(%error, "the other sessions of a user could not be told yet that there is a newer one");
                tokio::time::sleep(CLAIM_PAUSE).await;
                hub.tell(shard, ShardEvent::Unclaimed { ticket });
            }
        });
    }

    /// The others may not have heard of a session that is to be its user's only one.
    pub(crate) fn claim_again(&mut self, place: Place) {
        if self.connections.is_at(place) && self.connections.get(place.index).is_some_and(|c| c.claiming) {
            self.claim(place);
        }
    }
}
