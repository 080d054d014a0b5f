//! The loop: sockets, inbox, a slice of fan-out, timers, again.

use std::sync::atomic::Ordering::Relaxed;

use rustix::event::epoll;
use rustix::event::{EventfdFlags, Timespec};
use tidegate_types::codes::Disconnect;
use tidegate_types::limits::ACCEPTS_PER_TURN_MAX;

use crate::connection::{Connection, Phase};
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket;
use crate::wheel::Wheel;

pub(crate) const LISTENER: u64 = u64::MAX;
pub(crate) const WAKE: u64 = u64::MAX - 1;
const EVENTS_PER_TURN: usize = 256;
/// A drain begins as if it had gone on for so long: with few connections it is over at once.
const DRAIN_AHEAD_MS: u64 = 250;

/// An eventfd that wakes a loop.
pub(crate) fn eventfd() -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

impl Shard {
    /// Runs until the shard is drained or stopped.
    pub(crate) fn run(mut self) {
        self.go_round();
        if self.is_draining() {
            // What the time did not suffice for is told as well, if its socket takes it.
            self.connections.indices().into_iter().for_each(|index| self.close(index, Disconnect::SHUTDOWN));
        }
        self.control.close();
    }

    /// Turn after turn.
    fn go_round(&mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            self.now_us = self.hub.clock().monotonic_us();
            events.clear();
            let timeout = self.timeout();
            if let Err(error) = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(shard = self.id, %error, "cannot wait for sockets, the shard ends");
                return;
            }
            self.inbox.woke();
            self.now_us = self.hub.clock().monotonic_us();
            self.heard = events.len();
            for event in &events {
                self.on_event(event.data.u64(), event.flags);
            }
            self.turn();
            if self.is_done() {
                return;
            }
        }
    }

    /// How long to wait for sockets: not at all while there is work.
    fn timeout(&self) -> Timespec {
        let busy = !self.dirty.is_empty()
            || !self.readable.is_empty()
            || !self.put_off.is_empty()
            || !self.catching_up.is_empty()
            || !self.handshakes.is_empty();
        let ms = if busy || !self.inbox.try_sleep() { 0 } else { Wheel::until_next(self.now_ms()) };
        Timespec { tv_sec: 0, tv_nsec: i64::try_from(ms).unwrap_or(0) * 1_000_000 }
    }

    fn on_event(&mut self, data: u64, flags: epoll::EventFlags) {
        use epoll::EventFlags;
        match data {
            LISTENER => self.accept(),
            WAKE => {}
            _ => {
                let place = Place::from_u64(data);
                if !self.connections.is_at(place) {
                    return;
                }
                if flags.contains(EventFlags::OUT) {
                    self.writable(place.index);
                }
                let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                if flags.intersects(EventFlags::IN | ended) && self.connections.is_at(place) {
                    if let Some(connection) = self.connections.get_mut(place.index) {
                        connection.hung_up |= flags.intersects(ended);
                    }
                    self.read(place);
                }
            }
        }
    }

    /// Everything between two looks at the sockets.
    fn turn(&mut self) {
        let (given, more) = self.control.take_given(ACCEPTS_PER_TURN_MAX);
        if more {
            self.inbox.nudge();
        }
        for socket in given {
            self.adopt(socket);
        }
        self.drain_inbox();
        for _ in 0..self.readable.len() {
            if let Some(place) = self.readable.pop_front() {
                self.read(place);
            }
        }
        self.go_on_put_off();
        self.shake_hands();
        if !self.is_fan_out_small() {
            self.send_later();
        }
        self.sweep();
        self.send_later();
        self.catch_up();
        self.end_doomed();
        self.ring();
        if self.is_draining() {
            self.drain_some();
        }
    }

    fn drain_inbox(&mut self) {
        let inbox = self.inbox.clone();
        let mut drained = std::mem::take(&mut self.drained);
        inbox.drain(&mut drained);
        self.deliver(&mut drained.deliveries);
        for event in drained.events.drain(..) {
            self.on_shard_event(event);
        }
        self.clients = None;
        for ticket in drained.unheard.drain(..) {
            // It waits for an answer that nobody will give. When it comes back there may be more room.
            let place = Place { index: ticket.connection, generation: ticket.generation };
            self.end(place, Some(Disconnect::TOO_MANY_REQUESTS));
        }
        if let Some(place) = self.batch_of {
            self.flush_replies(place.index);
        }
        // After the events, so that a subscription that began before the overflow is behind as well.
        if drained.overflowed {
            self.on_overflow();
        }
        self.drained = drained;
    }

    /// Closes connections at the configured pace, so that they do not all come back to the other nodes at once.
    fn drain_some(&mut self) {
        let now = self.now_ms();
        let since = *self.drain_from_ms.get_or_insert(now);
        if let Some(listener) = self.listener.take() {
            socket::unwatch(&self.epoll, &*listener);
        }
        let mut left = self.drain_due(now - since).saturating_sub(self.drained_count);
        for index in self.connections.indices() {
            // What is being answered ends when it is.
            let ends = |c: &&Connection| c.phase != Phase::Closing && c.request.is_none();
            let Some(connection) = self.connections.get(index).filter(ends) else { continue };
            let is_client = connection.phase == Phase::Open;
            if is_client && left == 0 {
                continue;
            }
            self.close(index, Disconnect::SHUTDOWN);
            if is_client {
                self.drained_count += 1;
                left -= 1;
            }
        }
    }

    /// How many clients this shard has closed by then: the node's pace, divided so that all shards together keep it.
    fn drain_due(&self, elapsed_ms: u64) -> u64 {
        let (shards, pace) = (self.peers.len() as u64, u64::from(self.options.drain_per_second.max(1)));
        let of_node = elapsed_ms.saturating_add(DRAIN_AHEAD_MS).saturating_mul(pace) / 1000;
        (of_node + shards - 1 - u64::from(self.id)) / shards
    }

    fn is_done(&self) -> bool {
        self.control.stop.load(Relaxed) || (self.is_draining() && self.connections.len() == 0)
    }
}
