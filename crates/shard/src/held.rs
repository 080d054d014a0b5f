//! Commands that wait: for a key without which their token cannot be verified, or for the answer to the connect.
//!
//! The command waits, everything behind it waits too, so that a client's commands keep their order, and the socket is
//! not read: what is held is at most one read, and a few requests that came by another way. After the fetch, or when that takes too long, they go on.

use std::collections::VecDeque;

use tidegate_core::{Fetch, Refusal, ShardEvent, Ticket};
use tidegate_protocol::{Command, Method};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::limits::{COMMAND_WAIT_MAX, HELD_COMMANDS_MAX};

use crate::connection::{Connection, Held, Phase};
use crate::shard::Shard;
use crate::slab::Place;

impl Shard {
    /// Puts a command behind those that wait. `None` = it waits.
    pub(crate) fn behind_held(&mut self, place: Place, command: Command) -> Option<Command> {
        let Some(held) = self.connections.get_mut(place.index).and_then(|c| c.held.as_mut()) else {
            return Some(command);
        };
        if held.commands.len() < HELD_COMMANDS_MAX {
            held.commands.push_back(command);
        } else {
            self.end(place, Some(Disconnect::TOO_MANY_REQUESTS));
        }
        None
    }

    /// Holds the command that could not be decided; any other result stays.
    pub(crate) fn or_hold(
        &mut self,
        place: Place,
        result: Result<(), Refusal>,
        command: impl FnOnce() -> Command,
    ) -> Result<(), Refusal> {
        let Err(Refusal::Later(fetch)) = result else { return result };
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        connection.held = Some(Box::new(Held { commands: [command()].into(), ..Held::default() }));
        self.await_fetch(place, fetch);
        Ok(())
    }

    fn await_fetch(&self, place: Place, fetch: Fetch) {
        let ticket = Ticket { connection: place.index, generation: place.generation, command: 0 };
        let (hub, shard) = (self.hub.clone(), self.id);
        let fetched = self.verifier.fetched(fetch);
        self.hub.runtime().spawn(async move {
            let in_time = tokio::time::timeout(COMMAND_WAIT_MAX, fetched).await.is_ok();
            hub.tell(shard, ShardEvent::Fetched { ticket, in_time });
        });
    }

    /// Whether commands are held: then their connection is read later.
    pub(crate) fn is_holding(&mut self, place: Place) -> bool {
        let held = self.connections.get_mut(place.index).and_then(|c| c.held.as_mut());
        held.map(|held| held.unread = true).is_some()
    }

    /// Carries out what was held.
    pub(crate) fn go_on_holding(&mut self, place: Place, in_time: bool) {
        if !self.connections.is_at(place) {
            return;
        }
        let Some(held) = self.connections.get_mut(place.index).and_then(|c| c.held.take()) else { return };
        let Held { mut commands, unread, .. } = *held;
        if !in_time && let Some(first) = commands.pop_front() {
            let connects = matches!(first.method, Method::Connect(_));
            self.refuse_command(place, first.id, connects, Refusal::Error(ErrorCode::INTERNAL));
            if connects {
                commands.clear();
            }
        }
        self.carry_out_held(place, commands, unread);
    }

    /// Carries out commands that waited, until one has to wait again.
    pub(crate) fn carry_out_held(&mut self, place: Place, mut commands: VecDeque<Command>, unread: bool) {
        while let Some(command) = commands.pop_front() {
            self.command(place, command);
            let goes_on = |c: &Connection| c.phase == Phase::Open && (c.held.is_some() || c.session.is_open());
            // Behind a connect that failed nothing counts.
            if !self.connections.is_at(place) || !self.connections.get(place.index).is_some_and(goes_on) {
                break;
            }
        }
        if self.connections.is_at(place) {
            self.flush_replies(place.index);
            if unread && !self.is_holding(place) {
                self.readable.push_back(place);
            }
        }
    }
}
