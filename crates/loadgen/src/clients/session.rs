//! One subscriber's conversation, without its socket: messages in, frames to send out.

use std::net::SocketAddrV4;

use tidegate_framing::websocket::{Event, Opcode, write_masked_frame};

use super::Shared;
use super::deltas::Bases;
use crate::clock::now_ns;
use crate::mark::Mark;
use crate::protobuf;
use crate::verify::Subscription;
use crate::wire::{self, Line, Position, Reply, SubscribeOptions};

/// Any key will do: nothing on loopback reads the mask as a secret.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// TCP or the WebSocket handshake.
    Opening,
    Connecting,
    Subscribing,
    Ready,
    Closed,
}

/// What a client shall do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) channels: Vec<u32>,
    pub(crate) subscribe: SubscribeOptions,
    /// Never read again once ready, with this much buffer in the kernel.
    pub(crate) stall_with_buffer: Option<usize>,
    /// Of the node to connect to, where it is not the target.
    pub(crate) address: Option<SocketAddrV4>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stage: Stage,
    pub(crate) plan: Plan,
    subscriptions: Vec<Subscription>,
    /// What deltas are applied to.
    bases: Bases,
    /// Subscribe replies still to come.
    replies_left: usize,
    /// From the last subscribe reply.
    pub(crate) position: Position,
    pub(crate) recovered: bool,
    /// New deliveries.
    pub(crate) received: u64,
    published: u64,
    pub(crate) started_ns: u64,
    pub(crate) failure: Option<String>,
    /// Frames to send.
    pub(crate) out: Vec<u8>,
}

impl Session {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut subscriptions: Vec<_> = plan.channels.iter().map(|&c| Subscription::new(c)).collect();
        subscriptions.sort_unstable_by_key(|s| s.channel);
        Self {
            stage: Stage::Opening,
            plan,
            subscriptions,
            bases: Bases::default(),
            replies_left: 0,
            position: Position::default(),
            recovered: false,
            received: 0,
            published: 0,
            started_ns: now_ns(),
            failure: None,
            out: Vec::new(),
        }
    }

    /// A session with the request that opens it.
    pub(crate) fn open(plan: Plan, shared: &Shared) -> Self {
        let mut session = Self::new(plan);
        let mut commands = Vec::new();
        if !shared.speech.is_duplex() {
            session.replies_left = session.plan.channels.len();
            commands = session.connect(shared);
            if !shared.speech.protobuf {
                commands.push(b'\n');
            }
            commands.extend(session.subscribe(shared));
        }
        session.out = shared.speech.request(&shared.target, &commands);
        session
    }

    fn connect(&self, shared: &Shared) -> Vec<u8> {
        match shared.speech.protobuf {
            true => protobuf::connect(&shared.target),
            false => wire::connect(&shared.target).into_bytes(),
        }
    }

    fn subscribe(&self, shared: &Shared) -> Vec<u8> {
        let (prefix, channels) = (&shared.target.prefix, self.plan.channels.iter().copied());
        match shared.speech.protobuf {
            true => protobuf::subscribe(prefix, channels, &self.plan.subscribe),
            false => wire::subscribe(prefix, channels, &self.plan.subscribe).into_bytes(),
        }
    }

    /// Ends the session with a reason; the first one counts.
    pub(crate) fn fail(&mut self, why: impl Into<String>) {
        if self.stage != Stage::Closed {
            self.stage = Stage::Closed;
            self.failure = Some(why.into());
        }
    }

    /// The WebSocket or the response is open.
    pub(crate) fn on_open(&mut self, shared: &Shared) {
        self.stage = Stage::Connecting;
        if shared.speech.is_duplex() {
            let text = self.connect(shared);
            self.say(&text, shared);
        }
    }

    /// Takes one message or control frame.
    pub(crate) fn on_event(&mut self, event: Event<'_>, shared: &mut Shared) {
        match event {
            Event::Text(text) if !shared.speech.protobuf => self.on_message(text.as_bytes(), shared),
            Event::Binary(message) if shared.speech.protobuf => self.on_message(message, shared),
            Event::Text(_) | Event::Binary(_) => self.fail("a message of the wrong kind"),
            Event::Ping(payload) => {
                shared.pings += 1;
                write_masked_frame(&mut self.out, Opcode::Pong, payload, MASK);
            }
            Event::Pong(_) => {}
            Event::Close(None) => self.fail("closed by the server"),
            Event::Close(Some(frame)) => self.fail(format!("closed by the server: {} {}", frame.code, frame.reason)),
        }
    }

    /// Takes what a frame or a chunk carries.
    pub(crate) fn on_message(&mut self, message: &[u8], shared: &mut Shared) {
        shared.frames += 1;
        let before = self.received;
        match shared.speech.protobuf {
            true => protobuf::lines(message).for_each(|line| self.on_line(line, shared)),
            false => wire::lines(message).for_each(|line| self.on_line(line, shared)),
        }
        if shared.answer_own && self.received > before && self.stage == Stage::Ready {
            self.publish_own(shared);
        }
    }

    fn on_line(&mut self, line: Line<'_>, shared: &mut Shared) {
        let protobuf = shared.speech.protobuf;
        match line {
            Line::Ping => {
                shared.pings += 1;
                self.say(if protobuf { &[0] } else { b"{}" }, shared);
            }
            Line::Push(line) if self.plan.subscribe.delta => self.take_delta(line, shared),
            Line::Push(line) if self.take_marks(line, shared) => {}
            Line::Push(line) if self.plan.subscribe.join_leave => {
                shared.joins += u64::from(memchr::memmem::find(line, b"\"join\":").is_some());
            }
            Line::Push(line) => {
                let ends = match protobuf {
                    true => protobuf::is_unsubscribe(line),
                    false => memchr::memmem::find(line, b"\"unsubscribe\"").is_some(),
                };
                if ends {
                    self.fail("unsubscribed by the server");
                }
            }
            Line::Reply(line) => self.on_reply(line, shared),
        }
    }

    fn on_reply(&mut self, line: &[u8], shared: &mut Shared) {
        let reply = if shared.speech.protobuf { protobuf::reply(line) } else { wire::reply(line) };
        match reply {
            Reply::Failed(why) => self.fail(why),
            Reply::Done => {}
            Reply::Connected if self.plan.channels.is_empty() => self.become_ready(shared),
            Reply::Connected => {
                self.stage = Stage::Subscribing;
                if shared.speech.is_duplex() {
                    self.replies_left = self.plan.channels.len();
                    let text = self.subscribe(shared);
                    self.say(&text, shared);
                }
            }
            Reply::Subscribed { delta, .. } if delta != self.plan.subscribe.delta => {
                self.fail(format!("deltas: asked for {}, got {delta}", self.plan.subscribe.delta));
            }
            Reply::Subscribed { position, recovered, .. } => {
                (self.position, self.recovered) = (position, recovered);
                self.take_marks(line, shared);
                self.replies_left = self.replies_left.saturating_sub(1);
                if self.replies_left == 0 && self.stage == Stage::Subscribing {
                    self.become_ready(shared);
                }
            }
        }
    }

    fn become_ready(&mut self, shared: &mut Shared) {
        self.stage = Stage::Ready;
        shared.connect_us.saturating_record((now_ns().saturating_sub(self.started_ns) / 1_000).max(1));
    }

    /// Checks off every publication in a line. Returns whether there was one.
    fn take_marks(&mut self, line: &[u8], shared: &mut Shared) -> bool {
        let mut from = 0;
        let now = now_ns();
        while let Some(found) = shared.marker.find(line, from) {
            from = found.end;
            let new = shared.tally.take(&mut self.subscriptions, found.mark, found.intact);
            self.received += u64::from(new);
            if found.mark.at_ns >= shared.measure_from_ns {
                shared.latency_us.saturating_record((now.saturating_sub(found.mark.at_ns) / 1_000).max(1));
            }
        }
        from > 0
    }

    /// The same for what comes as a delta.
    fn take_delta(&mut self, line: &[u8], shared: &mut Shared) {
        // Taken out while the data borrowed from it is checked off in the session.
        let mut bases = std::mem::take(&mut self.bases);
        match bases.take(line) {
            Ok(Some((data, delta))) => {
                shared.deltas += u64::from(delta);
                if !self.take_marks(data, shared) {
                    // What is not found cannot be counted as changed.
                    self.fail("a publication without a mark");
                }
            }
            Ok(None) => {}
            Err(why) => self.fail(why),
        }
        self.bases = bases;
    }

    /// Publishes the next of its own channel.
    pub(crate) fn publish_own(&mut self, shared: &Shared) {
        let Some(&channel) = self.plan.channels.first() else { return };
        let mark = Mark { channel, sequence: self.published as u32, at_ns: now_ns() };
        self.published += 1;
        let (mut text, id, prefix) = (Vec::with_capacity(256), self.published + 1_000, &shared.target.prefix);
        if shared.speech.protobuf {
            let mut data = Vec::with_capacity(256);
            shared.marker.write(&mut data, mark);
            protobuf::publish(&mut text, &format!("{prefix}{channel}"), id, &data);
        } else {
            wire::publish(&mut text, prefix, id, &shared.marker, mark);
        }
        self.say(&text, shared);
    }

    /// Says something, where the socket carries it; elsewhere a client of this tool says nothing after its request.
    fn say(&mut self, text: &[u8], shared: &Shared) {
        if shared.speech.is_duplex() {
            let opcode = if shared.speech.protobuf { Opcode::Binary } else { Opcode::Text };
            write_masked_frame(&mut self.out, opcode, text, MASK);
        }
    }
}

#[cfg(test)]
mod tests;
