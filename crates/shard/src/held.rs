//! Commands that wait: for a key without which their token cannot be verified, for the answer to the connect, or for
//! others to have their turn, where those before them had large answers.
//!
//! The command waits, everything behind it waits too, so that a client's commands keep their order, and the socket is
//! not read: what is held is at most one read, and a few requests that came by another way. After the fetch, or when that takes too long, they go on.

use std::collections::VecDeque;

use tidegate_core::{Fetch, Refusal, ShardEvent, Ticket};
use tidegate_protocol::{Command, Method};
use tidegate_types::codes::{Disconnect, ErrorCode};
use tidegate_types::limits::{
    CATCH_UPS_PER_TURN_MAX, COMMAND_WAIT_MAX, HELD_COMMANDS_MAX, REPLY_BYTES_PER_TURN_MAX, UNREAD_REPLY_BYTES_MAX,
};

use crate::connection::{Connection, Held};
use crate::shard::Shard;
use crate::slab::Place;

impl Shard {
    /// Puts a command behind those that wait. `None` = it waits.
    pub(crate) fn behind_held(&mut self, place: Place, command: Command) -> Option<Command> {
        let Some(held) = self.connections.get_mut(place.index).and_then(|c| c.held.as_mut()) else {
            return Some(command);
        };
        if held.wrong {
            return None;
        }
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

    /// Has the rest of a message wait where there were large answers already, or else a message of a thousand commands
    /// would be one long turn; and where the socket has not taken those of the messages before. Whether it waits.
    pub(crate) fn put_off_rest(&mut self, place: Place, commands: &mut VecDeque<Command>, wrong: bool) -> bool {
        let Some(connection) = self.connections.get_mut(place.index).filter(|c| c.held.is_none()) else { return false };
        let waits = connection.blocked.as_ref().map_or(0, |blocked| blocked.reply_bytes);
        if commands.is_empty() || (self.replied_bytes < REPLY_BYTES_PER_TURN_MAX && waits < UNREAD_REPLY_BYTES_MAX) {
            return false;
        }
        let commands = std::mem::take(commands);
        connection.held = Some(Box::new(Held { commands, wrong, put_off: true, ..Held::default() }));
        self.put_off.push_back(place);
        true
    }

    /// Carries out what was put off, except where the socket still has to take the answers before it: the commands go on
    /// when it has, and are not the reason why a reader counts as slow.
    pub(crate) fn go_on_put_off(&mut self) {
        for _ in 0..self.put_off.len().min(CATCH_UPS_PER_TURN_MAX) {
            let Some(place) = self.put_off.pop_front() else { return };
            if !self.connections.is_at(place) {
                continue;
            }
            let Some(connection) =
                self.connections.get_mut(place.index).filter(|c| c.blocked.is_none() && c.takes_commands())
            else {
                continue;
            };
            let Some(held) = connection.held.take_if(|held| held.put_off) else { continue };
            self.replied_bytes = 0;
            let Held { commands, unread, wrong, .. } = *held;
            self.carry_out_held(place, commands, unread, wrong);
        }
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
        self.carry_out_held(place, commands, unread, false);
    }

    /// Carries out commands that waited, until one has to wait again.
    pub(crate) fn carry_out_held(&mut self, place: Place, mut commands: VecDeque<Command>, unread: bool, wrong: bool) {
        while !self.put_off_rest(place, &mut commands, wrong) {
            let Some(command) = commands.pop_front() else {
                self.end_if_wrong(place, wrong);
                break;
            };
            self.command(place, command);
            let goes_on = |c: &Connection| c.takes_commands() && (c.held.is_some() || c.session.is_open());
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
