//! Output: replies, and what happens when a socket takes no more.
//!
//! A blocked connection keeps the rest of one cut frame and a bounded run of replies; nothing else is queued for it. Its
//! subscriptions are behind and read from their cursors when it is writable again. The order on the socket is: the cut
//! frame, replies, publications. With TLS the rest of a sealed record goes before all of them.

use bytes::Bytes;
use tidegate_core::config::OnLag;
use tidegate_protocol::{Push, Reply};
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::CONTROL_BYTES_MAX;

use crate::connection::{Blocked, Connection, Phase};
use crate::shard::Shard;
use crate::tls;

/// A batch is sent when it has grown to this, though more may follow.
const BATCH_BYTES: usize = 32 << 10;
/// Answers to questions leave so much room to everything else, and to what frames take.
const ANSWERS_BYTES_MAX: usize = CONTROL_BYTES_MAX - (256 << 10);

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    /// Bytes that were handed over. With TLS some may lie in a record that goes out before anything else.
    pub(crate) taken: usize,
    /// The socket takes no more.
    pub(crate) blocked: bool,
}

impl Shard {
    /// Adds a reply to the batch of a connection.
    pub(crate) fn reply(&mut self, index: u32, id: u32, reply: &Reply) {
        let Some(wire) = self.batch_for(index) else { return };
        let before = self.batch.len();
        self.options.wires[wire].reply(id, reply, &mut self.batch);
        self.has_grown(index, before);
    }

    /// Adds a reply that may be large: where the answer to a question has no room behind what waits for the socket, the client
    /// is told to ask again.
    pub(crate) fn reply_if_room(&mut self, index: u32, id: u32, reply: &Reply) {
        let Some(wire) = self.batch_for(index) else { return };
        let before = self.batch.len();
        self.options.wires[wire].reply(id, reply, &mut self.batch);
        let is_asked_again = matches!(reply, Reply::History(_) | Reply::Presence(_));
        let blocked = self.connections.get(index).and_then(|c| c.blocked.as_ref()).filter(|_| is_asked_again);
        if blocked.is_some_and(|blocked| blocked.control_bytes + self.batch.len() > ANSWERS_BYTES_MAX) {
            self.batch.truncate(before);
            self.options.wires[wire].reply(id, &Reply::Error(ErrorCode::TOO_MANY_REQUESTS), &mut self.batch);
        }
        self.has_grown(index, before);
    }

    /// Counts what was added to the batch, and sends it where it is enough.
    fn has_grown(&mut self, index: u32, before: usize) {
        self.replied_bytes += self.batch.len() - before;
        if self.batch.len() > BATCH_BYTES {
            self.flush_replies(index);
        }
    }

    /// Adds a push to the batch of a connection.
    pub(crate) fn push(&mut self, index: u32, push: &Push<'_>) {
        let Some(wire) = self.batch_for(index) else { return };
        self.options.wires[wire].push(push, &mut self.batch);
    }

    /// Makes the batch this connection's; its wire.
    fn batch_for(&mut self, index: u32) -> Option<usize> {
        let place = self.connections.place(index);
        if let Some(other) = self.batch_of.filter(|other| *other != place) {
            self.flush_replies(other.index);
        }
        let wire = self.connections.get(index).filter(|c| c.phase == Phase::Open)?.wire;
        self.batch_of = Some(place);
        Some(usize::from(wire))
    }

    /// Sends the batch, if it is this connection's.
    pub(crate) fn flush_replies(&mut self, index: u32) {
        let Some(place) = self.batch_of.take_if(|place| place.index == index) else { return };
        let batch = std::mem::take(&mut self.batch);
        if self.connections.is_at(place)
            && let Some(connection) = self.connections.get_mut(index)
        {
            let mut frames = std::mem::take(&mut self.frames);
            frames.clear();
            if let Some(head) = connection.head.take() {
                frames.extend_from_slice(&head.bytes);
            }
            let wire = &self.options.wires[usize::from(connection.wire)];
            match wire.has_ids() {
                true => wire.frame_with_id(self.ids(index, u32::MAX).now(), &batch, &mut frames),
                false => wire.frame(&batch, &mut frames),
            }
            self.send_bytes(index, &frames);
            self.frames = frames;
        }
        self.batch = batch;
        self.batch.clear();
        if self.batch.capacity() > 4 * BATCH_BYTES {
            self.batch = Vec::new();
            self.frames = Vec::new();
        }
    }

    /// Sends a frame that is no publication, before any that follow.
    pub(crate) fn send_control(&mut self, index: u32, frame: Bytes) {
        match self.connections.get(index) {
            Some(Connection { blocked: Some(_), .. }) => self.queue_control(index, frame),
            Some(_) => self.send_bytes(index, &frame),
            None => {}
        }
    }

    /// Sends bytes now, or after what waits already.
    pub(crate) fn send_bytes(&mut self, index: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if let Some(blocked) = &mut connection.blocked {
            blocked.reply_bytes += bytes.len();
            return self.queue_control(index, Bytes::copy_from_slice(bytes));
        }
        match tls::send(connection, bytes, &mut self.records) {
            Some(Sent { taken, blocked }) => {
                self.metrics.sent_bytes.add(taken as u64);
                if blocked {
                    self.block(index, Bytes::copy_from_slice(&bytes[taken..]));
                }
            }
            None => self.doom(self.connections.place(index), None),
        }
    }

    fn queue_control(&mut self, index: u32, frame: Bytes) {
        let Some(Connection { blocked: Some(blocked), .. }) = self.connections.get_mut(index) else { return };
        if blocked.control_bytes > CONTROL_BYTES_MAX {
            // It ends with this turn.
            return;
        }
        if blocked.control_bytes + frame.len() > CONTROL_BYTES_MAX {
            blocked.clear();
            blocked.control_bytes = CONTROL_BYTES_MAX + 1;
            self.metrics.closed_slow.add(1);
            self.doom(self.connections.place(index), None);
            return;
        }
        blocked.queue(frame);
    }

    /// Notes that a socket takes no more, and what is left of the frame that it has begun.
    pub(crate) fn block(&mut self, index: u32, cut: Bytes) {
        let since_ms = self.now_ms();
        if let Some(connection) = self.connections.get_mut(index) {
            connection.blocked = Some(Box::new(Blocked::new(cut, since_ms)));
            self.set_alarm(index);
        }
    }

    /// Whether a channel's namespace disconnects slow readers.
    pub(crate) fn is_strict(&self, slot: u32) -> bool {
        self.channels.get(slot).is_some_and(|c| c.hub.namespace().options.on_lag == OnLag::Disconnect)
    }

    /// Applies the policy of a channel's namespace to a connection whose socket has just blocked.
    pub(crate) fn lag(&mut self, slot: u32, index: u32) {
        if self.is_strict(slot)
            && let Some(Connection { blocked: Some(blocked), .. }) = self.connections.get_mut(index)
        {
            blocked.strict = true;
            self.set_alarm(index);
        }
    }

    /// A socket takes bytes again: the cut frame, then replies; then its subscriptions catch up.
    pub(crate) fn writable(&mut self, index: u32) {
        let now_ms = self.now_ms();
        let place = self.connections.place(index);
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(mut blocked) = connection.blocked.take() else { return };
        match Self::flush_records(connection) {
            Some(Sent { blocked: false, .. }) => {}
            Some(Sent { taken, .. }) => {
                if taken > 0 {
                    blocked.since_ms = now_ms;
                }
                connection.blocked = Some(blocked);
                return;
            }
            None => return self.drop_connection(index),
        }
        loop {
            if blocked.cut.is_empty() {
                match blocked.next() {
                    Some(next) => blocked.cut = next,
                    None => break,
                }
            }
            match tls::send(connection, &blocked.cut, &mut self.records) {
                Some(Sent { taken, blocked: again }) => {
                    self.metrics.sent_bytes.add(taken as u64);
                    if taken > 0 {
                        blocked.since_ms = now_ms;
                    }
                    let _ = blocked.cut.split_to(taken);
                    if again {
                        connection.blocked = Some(blocked);
                        return;
                    }
                }
                None => return self.drop_connection(index),
            }
        }
        if connection.behind > 0 {
            self.catching_up.push_back(place);
        }
        if connection.held.as_ref().is_some_and(|held| held.put_off) {
            self.put_off.push_back(place);
        }
        self.end_response(index);
    }
}
