//! Readers whose framing says where they stand: every publication carries the positions of its reader in all channels, so
//! that the reader goes on from there on any node.
//!
//! The message of a publication is made once for all, as elsewhere; what differs is a line before it. A position is what
//! was handed to the socket, and an id counts for its reader only when its event is whole: so an event that was cut is
//! sent again, and one that arrived is not.

use smallvec::SmallVec;
use tidegate_protocol::Positions;
use tidegate_types::{ChannelName, Epoch};

use crate::channel::FanOut;
use crate::connection::Subscription;
use crate::output::Sent;
use crate::shard::Shard;
use crate::tls;

/// Where a reader stands.
pub(crate) struct Ids {
    positions: SmallVec<[(ChannelName, u64, Epoch); 1]>,
    /// The channel that moves.
    moving: usize,
    text: String,
}

impl Ids {
    /// The id of the publication at `offset` of the channel that moves.
    pub(crate) fn at(&mut self, offset: u64) -> &str {
        if let Some(position) = self.positions.get_mut(self.moving) {
            position.1 = offset;
        }
        self.now()
    }

    /// The id of what is no publication.
    pub(crate) fn now(&mut self) -> &str {
        self.text.clear();
        let positions = self.positions.iter().map(|(name, offset, epoch)| (name.as_str(), *offset, epoch.as_str()));
        Positions::write(positions, &mut self.text);
        &self.text
    }
}

/// How far a run of frames came, of which `sent` bytes were taken. `ends` tells where each of them ends.
pub(crate) struct Progress {
    /// How many count as delivered. The one that was cut does: its rest goes first when the socket takes bytes again.
    pub(crate) delivered: usize,
    /// Where the one that was cut ends.
    pub(crate) cut: Option<usize>,
}

impl Progress {
    pub(crate) fn of(ends: &[(u64, usize)], sent: usize) -> Self {
        let begun = ends.partition_point(|(_, end)| *end <= sent);
        let before = begun.checked_sub(1).map_or(0, |i| ends[i].1);
        let cut = ends.get(begun).filter(|_| sent > before).map(|(_, end)| *end);
        Self { delivered: begun + usize::from(cut.is_some()), cut }
    }
}

impl Shard {
    /// Where a connection stands, with `slot` as the channel that moves.
    pub(crate) fn ids(&self, index: u32, slot: u32) -> Ids {
        let subscriptions = self.connections.get(index).map(|c| c.subscriptions.as_slice()).unwrap_or_default();
        let live = |s: &&Subscription| s.entry != Subscription::PENDING;
        let mut ids = Ids { positions: SmallVec::new(), moving: usize::MAX, text: String::new() };
        for subscription in subscriptions.iter().filter(live) {
            let Some(channel) = self.channels.get(subscription.slot) else { continue };
            let Some(entry) = channel.entries.get(subscription.entry as usize) else { continue };
            if subscription.slot == slot {
                ids.moving = ids.positions.len();
            }
            ids.positions.push((channel.name.clone(), entry.cursor, channel.hub.epoch().clone()));
        }
        ids
    }

    /// Sends one entry of a channel the messages of a fan-out from index `first` on, each with its id. `false`: something
    /// is missing there, and the entry has to read from the window.
    pub(crate) fn serve_with_ids(&mut self, slot: u32, at: usize, fan_out: &FanOut, first: usize) -> bool {
        let Some(entry) = self.channels.get(slot).and_then(|c| c.entries.get(at)).copied() else { return true };
        let index = entry.connection;
        let mut ids = self.ids(index, slot);
        let wire = &self.options.wires[usize::from(entry.wire)];
        self.frames.clear();
        let mut ends: SmallVec<[(u64, usize); 8]> = SmallVec::new();
        for (offset, message) in fan_out.frames(first, &entry) {
            let Some(message) = message else { return false };
            wire.frame_with_id(ids.at(offset), message, &mut self.frames);
            ends.push((offset, self.frames.len()));
        }
        let Some(connection) = self.connections.get_mut(index) else { return true };
        let Some(Sent { taken: sent, blocked }) = tls::send(connection, &self.frames, &mut self.records) else {
            self.doom(self.connections.place(index), None);
            return true;
        };
        let progress = Progress::of(&ends, sent);
        self.metrics.deliveries.add(progress.delivered as u64);
        self.metrics.sent_bytes.add(sent as u64);
        if let Some(entry) = self.channels.get_mut(slot).and_then(|c| c.entries.get_mut(at)) {
            if let Some((offset, _)) = progress.delivered.checked_sub(1).and_then(|i| ends.get(i)) {
                entry.advance(*offset);
            }
            entry.behind = blocked;
        }
        if blocked {
            let rest = progress.cut.map_or(&[][..], |end| &self.frames[sent..end]);
            let rest = bytes::Bytes::copy_from_slice(rest);
            self.block(index, rest);
            self.mark_late(slot, index);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_it_has_begun() {
        let ends = [(7, 10), (9, 10), (12, 30)];
        let progress = |sent| {
            let Progress { delivered, cut } = Progress::of(&ends, sent);
            (delivered, cut)
        };
        assert_eq!(progress(0), (0, None));
        assert_eq!(progress(9), (1, Some(10)));
        assert_eq!(progress(10), (2, None));
        assert_eq!(progress(11), (3, Some(30)));
        assert_eq!(progress(30), (3, None));
    }
}
