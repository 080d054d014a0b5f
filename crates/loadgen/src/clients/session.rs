//! One subscriber's conversation, without its socket: messages in, frames to send out.

use tidegate_framing::websocket::{Event, Opcode, write_masked_frame};

use super::Shared;
use crate::clock::now_ns;
use crate::mark::Mark;
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
}

/// A client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stage: Stage,
    pub(crate) plan: Plan,
    subscriptions: Vec<Subscription>,
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

    /// Ends the session with a reason; the first one counts.
    pub(crate) fn fail(&mut self, why: impl Into<String>) {
        if self.stage != Stage::Closed {
            self.stage = Stage::Closed;
            self.failure = Some(why.into());
        }
    }

    /// The WebSocket is open.
    pub(crate) fn on_open(&mut self, shared: &Shared) {
        self.stage = Stage::Connecting;
        self.say(wire::connect(&shared.target).as_bytes());
    }

    /// Takes one message or control frame.
    pub(crate) fn on_event(&mut self, event: Event<'_>, shared: &mut Shared) {
        match event {
            Event::Text(text) => self.on_text(text.as_bytes(), shared),
            Event::Binary(_) => self.fail("binary message"),
            Event::Ping(payload) => {
                shared.pings += 1;
                write_masked_frame(&mut self.out, Opcode::Pong, payload, MASK);
            }
            Event::Pong(_) => {}
            Event::Close(None) => self.fail("closed by the server"),
            Event::Close(Some(frame)) => self.fail(format!("closed by the server: {} {}", frame.code, frame.reason)),
        }
    }

    fn on_text(&mut self, text: &[u8], shared: &mut Shared) {
        shared.frames += 1;
        let before = self.received;
        for line in wire::lines(text) {
            match line {
                Line::Ping => {
                    shared.pings += 1;
                    self.say(b"{}");
                }
                Line::Push(line) => {
                    if !self.take_marks(line, shared) && memchr::memmem::find(line, b"\"unsubscribe\"").is_some() {
                        self.fail("unsubscribed by the server");
                    }
                }
                Line::Reply(line) => self.on_reply(line, shared),
            }
        }
        if shared.answer_own && self.received > before && self.stage == Stage::Ready {
            self.publish_own(shared);
        }
    }

    fn on_reply(&mut self, line: &[u8], shared: &mut Shared) {
        match wire::reply(line) {
            Reply::Failed(why) => self.fail(why),
            Reply::Done => {}
            Reply::Connected if self.plan.channels.is_empty() => self.become_ready(shared),
            Reply::Connected => {
                self.stage = Stage::Subscribing;
                self.replies_left = self.plan.channels.len();
                let channels = self.plan.channels.iter().copied();
                let text = wire::subscribe(&shared.target.prefix, channels, &self.plan.subscribe);
                self.say(text.as_bytes());
            }
            Reply::Subscribed { position, recovered } => {
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

    /// Publishes the next of its own channel.
    pub(crate) fn publish_own(&mut self, shared: &Shared) {
        let Some(&channel) = self.plan.channels.first() else { return };
        let mark = Mark { channel, sequence: self.published as u32, at_ns: now_ns() };
        self.published += 1;
        let mut text = Vec::with_capacity(256);
        wire::publish(&mut text, &shared.target.prefix, self.published + 1_000, &shared.marker, mark);
        self.say(&text);
    }

    fn say(&mut self, text: &[u8]) {
        write_masked_frame(&mut self.out, Opcode::Text, text, MASK);
    }
}

#[cfg(test)]
mod tests;
