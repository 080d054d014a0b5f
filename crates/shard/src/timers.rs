//! Deadlines: handshake, connect, ping and pong, expired tokens, sockets that take nothing.
//!
//! Each connection has one deadline that belongs to its phase, and one alarm in the wheel at the earliest thing that
//! can happen. When it rings, everything is looked at and the next alarm is set.

use bytes::Bytes;
use tidegate_types::codes::{Disconnect, Unsubscribe};
use tidegate_types::limits::{COMMAND_WAIT_MAX, SLOW_AFTER};

use crate::connection::{Blocked, Phase};
use crate::shard::Shard;
use crate::slab::Place;

/// A ping without a payload (RFC 6455 section 5.5.2).
const PING_FRAME: &[u8] = &[0x89, 0];

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long a blocked socket may take nothing.
fn patience(blocked: &Blocked, stall_max_ms: u64) -> u64 {
    if blocked.strict { millis(SLOW_AFTER).min(stall_max_ms) } else { stall_max_ms }
}

impl Shard {
    /// The phase of a connection must have ended, or the next ping is due, in so many milliseconds.
    pub(crate) fn set_deadline(&mut self, index: u32, in_ms: u64) {
        let at = self.now_ms().saturating_add(in_ms);
        if let Some(connection) = self.connections.get_mut(index) {
            connection.deadline_ms = at;
            self.set_alarm(index);
        }
    }

    /// The first ping comes at a random point of the second half of an interval, so that pings spread.
    pub(crate) fn set_first_ping(&mut self, index: u32) {
        let half = millis(self.options.client.ping_interval) / 2;
        let spread = self.random() % half.max(1);
        self.set_deadline(index, half + spread);
    }

    pub(crate) fn set_next_ping(&mut self, index: u32) {
        self.set_deadline(index, millis(self.options.client.ping_interval));
    }

    /// Sees to it that the connection is looked at when the earliest thing can happen to it.
    pub(crate) fn set_alarm(&mut self, index: u32) {
        let place = self.connections.place(index);
        let now_ms = self.now_ms();
        let client = &self.options.client;
        let Some(connection) = self.connections.get_mut(index) else { return };
        let mut at = connection.deadline_ms;
        if let Some(blocked) = &connection.blocked {
            at = at.min(blocked.since_ms + patience(blocked, millis(client.write_stall_max)));
        }
        let grace = i64::try_from(client.expired_close_delay.as_millis()).unwrap_or(i64::MAX);
        let subscriptions = connection.subscriptions.iter().filter(|s| s.expire_at > 0);
        let ends = subscriptions.map(|s| i64::from(s.expire_at) * 1000 + grace);
        if let Some(end) = ends.chain(connection.session.close_at_ms(client)).min() {
            let left = end.saturating_sub(self.hub.clock().wall_ms()).max(0);
            at = at.min(now_ms.saturating_add(left.unsigned_abs()));
        }
        let tick = self.wheel.tick_at(at);
        if connection.alarm == 0 || tick < connection.alarm {
            connection.alarm = tick;
            self.wheel.set(tick, place);
        }
    }

    /// Looks at the connections whose alarm is due.
    pub(crate) fn ring(&mut self) {
        let mut due = Vec::new();
        self.wheel.advance(self.now_ms(), &mut due);
        for (tick, place) in due {
            if !self.connections.is_at(place) {
                continue;
            }
            let Some(connection) = self.connections.get_mut(place.index) else { continue };
            if connection.alarm == tick {
                connection.alarm = 0;
                self.look_at(place);
                self.set_alarm(place.index);
            }
        }
        self.resume_accepting();
        self.end_doomed();
    }

    fn look_at(&mut self, place: Place) {
        let now_ms = self.now_ms();
        let Some(connection) = self.connections.get(place.index) else { return };
        let late = connection.deadline_ms <= now_ms;
        match connection.phase {
            Phase::Head if late => {
                self.metrics.closed_stale.add(1);
                self.drop_connection(place.index);
            }
            Phase::Requests | Phase::Closing | Phase::Refused if late => self.drop_connection(place.index),
            Phase::Head | Phase::Requests | Phase::Closing | Phase::Refused => {}
            // It has said its connect, which waits for something else; that has an end of its own.
            Phase::Open if !connection.session.is_open() && connection.held.is_some() => {
                if late {
                    self.set_deadline(place.index, millis(COMMAND_WAIT_MAX));
                }
            }
            Phase::Open if !connection.session.is_open() && late => self.close(place.index, Disconnect::STALE),
            Phase::Open => self.look_at_open(place, late),
        }
    }

    fn look_at_open(&mut self, place: Place, late: bool) {
        let (now_ms, wall_ms) = (self.now_ms(), self.wall_ms());
        let stall_max = millis(self.options.client.write_stall_max);
        let Some(connection) = self.connections.get(place.index) else { return };
        if let Some(blocked) = connection.blocked.as_ref().filter(|b| b.since_ms + patience(b, stall_max) <= now_ms) {
            if blocked.strict {
                return self.close(place.index, Disconnect::SLOW);
            }
            self.metrics.closed_slow.add(1);
            return self.drop_connection(place.index);
        }
        if connection.session.close_at_ms(&self.options.client).is_some_and(|at| at <= wall_ms) {
            return self.close(place.index, Disconnect::EXPIRED);
        }
        self.end_expired_subscriptions(place, wall_ms);
        if late {
            self.ping_or_close(place);
        }
    }

    fn end_expired_subscriptions(&mut self, place: Place, wall_ms: i64) {
        let grace = i64::try_from(self.options.client.expired_close_delay.as_millis()).unwrap_or(i64::MAX);
        let Some(connection) = self.connections.get(place.index) else { return };
        let over = |at: u32| at > 0 && (i64::from(at) * 1000).saturating_add(grace) <= wall_ms;
        let expired: Vec<u32> = connection.subscriptions.iter().filter(|s| over(s.expire_at)).map(|s| s.slot).collect();
        for slot in expired {
            self.end_subscription(place, slot, Unsubscribe::EXPIRED);
        }
    }

    /// A ping is due, or the pong to the last one is overdue.
    fn ping_or_close(&mut self, place: Place) {
        let pong_timeout = millis(self.options.client.pong_timeout);
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        if !connection.session.is_open() {
            return;
        }
        if connection.connecting().is_some() {
            return self.set_next_ping(place.index);
        }
        if connection.session.awaits_pong() {
            if connection.blocked.is_some() || connection.held.is_some() {
                // The ping may wait behind data: progress of the socket is its life, and its stall ends it. Or its pong
                // lies unread, because a command waits for a key, which it does not do for long.
                return self.set_deadline(place.index, pong_timeout);
            }
            return self.close(place.index, Disconnect::NO_PONG);
        }
        let wire = usize::from(connection.wire);
        let by_frame = connection.pings_by_frame;
        let answered = pong_timeout > 0 && (by_frame || !self.options.wires[wire].is_one_way());
        if answered {
            connection.session.pinged();
        }
        let ping = if by_frame { Bytes::from_static(PING_FRAME) } else { self.pings[wire].clone() };
        self.send_control(place.index, ping);
        match answered {
            true => self.set_deadline(place.index, pong_timeout),
            false => self.set_next_ping(place.index),
        }
    }

    /// A pong came as a frame. One that nobody asked for means nothing (RFC 6455 section 5.5.3).
    pub(crate) fn ponged_by_frame(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        if connection.pings_by_frame && connection.session.awaits_pong() && connection.session.ponged().is_ok() {
            self.set_next_ping(place.index);
        }
    }
}
