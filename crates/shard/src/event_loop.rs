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
/// What a shard gives up on when it drains: connections that are still there then are dropped.
const DRAIN_MAX_MS: u64 = 30_000;

/// An eventfd that wakes a loop.
pub(crate) fn eventfd() -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

impl Shard {
    /// Runs until the shard is drained or stopped.
    pub(crate) fn run(mut self) {
        self.go_round();
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
        let elapsed = (now - since).min(DRAIN_MAX_MS);
        let indices = self.connections.indices();
        if elapsed >= DRAIN_MAX_MS {
            indices.into_iter().for_each(|index| self.drop_connection(index));
            return;
        }
        let pace = u64::from(self.options.drain_per_second.max(1));
        let due = (elapsed + 250) * pace / 1000;
        let mut left = due.saturating_sub(self.drained_count);
        for index in indices {
            if left == 0 {
                break;
            }
            // What is being answered ends when it is.
            let ends = |c: &Connection| c.phase != Phase::Closing && c.request.is_none();
            if self.connections.get(index).is_some_and(ends) {
                self.close(index, tidegate_types::codes::Disconnect::SHUTDOWN);
                self.drained_count += 1;
                left -= 1;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.control.stop.load(Relaxed) || (self.is_draining() && self.connections.len() == 0)
    }
}
