//! Fan-out: one frame per publication and wire, sent in slices.
//!
//! A sweep walks the entries of a channel and sends each everything after its cursor. After [`FANOUT_SLICE`] sends the
//! loop looks at sockets and inbox; what arrives meanwhile joins the log and goes out in the same send to everybody not
//! yet served. So batching grows with load, and an idle channel has no delay.
//!
//! Who gets an answer from the log often asks on at once, and the log should have the next request while this shard is
//! still busy with fan-out. So for a moment after such answers requests go first, and slices are small: see
//! [`FANOUT_HOLD`].
//!
//! A publish that is answered on the spot has it the other way round: on a quiet shard a small fan-out goes before the
//! answer ([`FANOUT_BEFORE_ANSWER`]). Its subscribers have it a send earlier, and whoever published and now asks on
//! does not wake up between the sends. A large one goes after, so that the next publishes can join it.

use bytes::Bytes;
use tidegate_core::Delivery;
use tidegate_protocol::Data;
use tidegate_types::limits::{
    FANOUT_BEFORE_ANSWER, FANOUT_HOLD, FANOUT_LOG_BYTES_MAX, FANOUT_SLICE, FANOUT_SLICE_WHILE_ASKED,
};
use tidegate_types::{ClientId, Publication};

use crate::channel::{Channel, FanOut, Form, Framed, Frames};
use crate::deltas::Differences;
use crate::output::Sent;
use crate::shard::Shard;
use crate::tls;
use crate::wire::Wire;

const HOLD_US: u64 = FANOUT_HOLD.as_micros() as u64;

/// Whether a fan-out has been held as long as it may be.
fn has_waited(channel: Option<&Channel>, now_us: u64) -> bool {
    let oldest = channel.and_then(|c| c.fan_out.as_ref()?.log.front());
    oldest.is_none_or(|framed| now_us.saturating_sub(framed.entered_us) >= HOLD_US)
}

/// Where messages and frames are built.
struct Scratch<'a> {
    message: &'a mut Vec<u8>,
    frames: &'a mut Vec<u8>,
}

/// The frames of a publication that somebody in the channel needs.
fn make_frames(channel: &Channel, wires: &[Wire], publication: &Publication, scratch: &mut Scratch<'_>) -> Frames {
    let mut frames = Frames::new();
    let mut make = |index: u8, data: Data<'_>| {
        scratch.frames.clear();
        let wire = &wires[usize::from(index)];
        wire.publication(channel.name.as_str(), publication, data, scratch.message, scratch.frames);
        Bytes::copy_from_slice(scratch.frames)
    };
    let mut differences = Differences::new(channel, publication);
    for (index, deltas) in channel.wires() {
        if !deltas {
            frames.push((index, Form::Plain, make(index, Data::Plain)));
            continue;
        }
        let whole = make(index, Data::Whole);
        let delta = differences.of(wires[usize::from(index)].is_text());
        frames.push((index, Form::Delta, delta.map_or_else(|| whole.clone(), |delta| make(index, Data::Delta(delta)))));
        frames.push((index, Form::Whole, whole));
    }
    frames
}

/// What became of one entry in a sweep.
enum Served {
    /// Nothing to send: no system call was made.
    Nothing,
    Sent,
}

impl Shard {
    /// Takes publications into their channels' logs.
    pub(crate) fn deliver(&mut self, deliveries: &mut Vec<Delivery>) {
        let mut message = std::mem::take(&mut self.message);
        for delivery in deliveries.drain(..) {
            self.log_publication(&delivery, &mut message);
        }
        self.message = message;
    }

    fn log_publication(&mut self, delivery: &Delivery, message: &mut Vec<u8>) {
        let Some(channel) = self.channels.get_mut(delivery.slot) else { return };
        let offset = delivery.publication.offset.0;
        if channel.registration != delivery.registration || offset <= channel.head {
            return;
        }
        channel.head = offset;
        if channel.entries.is_empty() {
            channel.last = None;
            return;
        }
        let mut scratch = Scratch { message, frames: &mut self.frames };
        let frames = make_frames(channel, &self.options.wires, &delivery.publication, &mut scratch);
        channel.last = channel.takes_deltas().then(|| delivery.publication.clone());
        let excluded = delivery.publication.meta.as_ref().and_then(|meta| meta.exclude.as_deref());
        let exclude = excluded.and_then(ClientId::parse);
        let framed = Framed { offset, frames, entered_us: delivery.entered_us, exclude };
        let fan_out = channel.fan_out.get_or_insert_with(|| {
            self.dirty.push_back(delivery.slot);
            Box::default()
        });
        fan_out.push(framed);
        if fan_out.at == 0 {
            fan_out.target = offset;
        }
        if fan_out.log_bytes > FANOUT_LOG_BYTES_MAX {
            self.shorten_log(delivery.slot);
        }
    }

    /// The log of a channel is full: whoever still needs its oldest frames reads them from the window.
    fn shorten_log(&mut self, slot: u32) {
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Some(fan_out) = &mut channel.fan_out else { return };
        let oldest = fan_out.log.front().map_or(0, |framed| framed.offset);
        let mut base = 0;
        while fan_out.log_bytes > FANOUT_LOG_BYTES_MAX / 2 && fan_out.log.len() > 1 {
            base = fan_out.drop_oldest();
        }
        let mut late = Vec::new();
        for entry in channel.entries.iter_mut().filter(|e| !e.behind && e.cursor < base) {
            entry.has_nothing_before(oldest);
            entry.behind = true;
            late.push(entry.connection);
        }
        for index in late {
            self.mark_late(slot, index);
        }
    }

    /// An answer from the log goes out.
    pub(crate) fn expect_more(&mut self) {
        self.asked_until_us = self.now_us + HOLD_US;
    }

    /// Whether answers may wait for what they caused to be fanned out: not where many ask.
    pub(crate) fn lets_fan_out_first(&self) -> bool {
        self.heard <= FANOUT_BEFORE_ANSWER
    }

    /// Whether no more than [`FANOUT_BEFORE_ANSWER`] sends are left of the fan-outs under way.
    pub(crate) fn is_fan_out_small(&self) -> bool {
        let left = |slot: &u32| {
            let channel = self.channels.get(*slot);
            channel.map_or(0, |c| c.entries.len().saturating_sub(c.fan_out.as_ref().map_or(0, |f| f.at)))
        };
        self.dirty.len() <= FANOUT_BEFORE_ANSWER && self.dirty.iter().map(left).sum::<usize>() <= FANOUT_BEFORE_ANSWER
    }

    /// One slice of sends over the channels with a fan-out under way.
    pub(crate) fn sweep(&mut self) {
        let heard = self.heard > 0;
        let asked = self.now_us < self.asked_until_us;
        let mut left = if asked && !heard { FANOUT_SLICE_WHILE_ASKED } else { FANOUT_SLICE };
        for _ in 0..self.dirty.len() {
            let goes = |slot: &mut u32| !(asked && heard) || has_waited(self.channels.get(*slot), self.now_us);
            let Some(slot) = self.dirty.pop_front_if(goes) else { return };
            left = self.sweep_channel(slot, left);
            if left == 0 {
                return;
            }
        }
    }

    /// Serves up to `left` entries of a channel; returns how many sends are left. The channel's fan-out ends with the
    /// sweep that leaves nobody to serve, else it queues again.
    fn sweep_channel(&mut self, slot: u32, mut left: usize) -> usize {
        let Some(mut fan_out) = self.channels.get_mut(slot).and_then(|c| c.fan_out.take()) else { return left };
        let mut at = fan_out.at;
        while left > 0 {
            let Some(channel) = self.channels.get(slot) else { return left };
            if at >= channel.entries.len() {
                break;
            }
            if let Served::Sent = self.serve(slot, at, &mut fan_out) {
                left -= 1;
            }
            at += 1;
        }
        let Some(channel) = self.channels.get_mut(slot) else { return left };
        fan_out.at = at;
        if at >= channel.entries.len() {
            let newest = fan_out.log.back().map_or(0, |f| f.offset);
            let entered_us = fan_out.log.front().map_or(self.now_us, |f| f.entered_us);
            self.metrics.window_to_socket.record(self.now_us.saturating_sub(entered_us));
            if newest <= fan_out.target && !fan_out.again {
                return left;
            }
            if !fan_out.again {
                fan_out.trim(fan_out.target);
            }
            (fan_out.at, fan_out.target, fan_out.again) = (0, newest, false);
        }
        channel.fan_out = Some(fan_out);
        self.dirty.push_back(slot);
        left
    }

    /// Sends one entry everything after its cursor.
    fn serve(&mut self, slot: u32, at: usize, fan_out: &mut FanOut) -> Served {
        let Some(entry) = self.channels.get_mut(slot).and_then(|c| c.entries.get_mut(at)) else {
            return Served::Nothing;
        };
        if entry.behind {
            return Served::Nothing;
        }
        let first = fan_out.first_after(entry.cursor);
        let Some(next) = fan_out.log.get(first) else { return Served::Nothing };
        entry.has_nothing_before(next.offset);
        let Some(connection) = self.connections.get_mut(entry.connection) else { return Served::Nothing };
        let index = entry.connection;
        // Where something is not for it, it reads from the window, and passes that over.
        let all = connection.blocked.is_none() && !fan_out.excludes(first, || connection.session.client_id());
        if all && self.options.wires[usize::from(entry.wire)].has_ids() {
            if !self.serve_with_ids(slot, at, fan_out, first) {
                self.send_behind(slot, at);
            }
            return Served::Sent;
        }
        let bytes = if all { fan_out.joined(first, entry) } else { None };
        let Some(bytes) = bytes else {
            self.send_behind(slot, at);
            return Served::Nothing;
        };
        match tls::send(connection, &bytes, &mut self.records) {
            Some(Sent { taken: sent, blocked: false }) => {
                entry.advance(fan_out.log.back().map_or(entry.cursor, |f| f.offset));
                self.metrics.deliveries.add((fan_out.log.len() - first) as u64);
                self.metrics.sent_bytes.add(sent as u64);
            }
            Some(Sent { taken: sent, .. }) => {
                let cut = match fan_out.cut(first, entry, sent) {
                    Some((offset, rest)) => {
                        entry.advance(offset);
                        rest
                    }
                    None => Bytes::new(),
                };
                entry.behind = true;
                self.metrics.sent_bytes.add(sent as u64);
                self.block(index, cut);
                self.mark_late(slot, index);
            }
            None => self.doom(self.connections.place(index), None),
        }
        Served::Sent
    }

    fn send_behind(&mut self, slot: u32, at: usize) {
        let Some(entry) = self.channels.get_mut(slot).and_then(|c| c.entries.get_mut(at)) else { return };
        entry.behind = true;
        let index = entry.connection;
        self.mark_late(slot, index);
    }

    /// The inbox was full and left publications out: everybody reads from the window until the cursors are there.
    pub(crate) fn on_overflow(&mut self) {
        self.metrics.inbox_overflows.add(1);
        // For subscriptions that have not begun.
        self.overflows = self.overflows.wrapping_add(1);
        for slot in self.channels.indices() {
            if let Some(channel) = self.channels.get_mut(slot) {
                channel.last = None;
            }
            self.send_all_behind(slot);
        }
    }

    /// Every live entry of a channel reads from the window from now on.
    fn send_all_behind(&mut self, slot: u32) {
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let live = channel.entries.iter_mut().filter(|e| !e.behind);
        let fan_out = channel.fan_out.as_ref();
        let late: Vec<u32> = live
            .map(|entry| {
                if let Some(next) = fan_out.and_then(|f| f.next_after(entry.cursor)) {
                    entry.has_nothing_before(next);
                }
                entry.behind = true;
                entry.connection
            })
            .collect();
        for index in late {
            self.mark_late(slot, index);
        }
    }
}
