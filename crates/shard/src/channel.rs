//! One channel as its shard holds it: who is subscribed, and the frames not everybody has yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tidegate_core::Channel as HubChannel;
use tidegate_types::ChannelName;

/// One subscription's place in the channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Everything up to here was handed to the socket.
    pub(crate) cursor: u64,
    /// The connection.
    pub(crate) connection: u32,
    pub(crate) wire: u8,
    /// It reads from the window; sweeps pass it over.
    pub(crate) behind: bool,
}

/// A publication on its way, as a frame for each wire that somebody here speaks.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) offset: u64,
    /// With their wires.
    pub(crate) frames: SmallVec<[(u8, Bytes); 1]>,
    pub(crate) entered_us: u64,
}

impl Framed {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, frame)| frame.len()).sum()
    }

    fn frame(&self, wire: u8) -> Option<&Bytes> {
        self.frames.iter().find(|(w, _)| *w == wire).map(|(_, frame)| frame)
    }
}

/// Frames that were joined for one send, for everybody who needs the same.
#[derive(Debug, Default)]
struct Joined {
    from: u64,
    to: u64,
    wire: u8,
    bytes: Bytes,
}

/// The fan-out under way; exists only while there is one.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    pub(crate) log: VecDeque<Framed>,
    pub(crate) log_bytes: usize,
    /// The next entry to serve.
    pub(crate) at: usize,
    /// The sweep serves everybody up to here at least.
    pub(crate) target: u64,
    /// Entries moved: one more sweep, to be sure.
    pub(crate) again: bool,
    joined: Joined,
}

impl FanOut {
    /// Adds a frame.
    pub(crate) fn push(&mut self, framed: Framed) {
        self.log_bytes += framed.bytes();
        self.log.push_back(framed);
    }

    /// Drops everything up to `offset`.
    pub(crate) fn trim(&mut self, offset: u64) {
        while let Some(gone) = self.log.pop_front_if(|f| f.offset <= offset) {
            self.log_bytes -= gone.bytes();
        }
    }

    /// Drops the oldest frame and says up to where nothing is held any more.
    pub(crate) fn drop_oldest(&mut self) -> u64 {
        let Some(gone) = self.log.pop_front() else { return 0 };
        self.log_bytes -= gone.bytes();
        gone.offset
    }

    /// Index of the first frame after a cursor.
    pub(crate) fn first_after(&self, cursor: u64) -> usize {
        match self.log.front() {
            Some(front) if front.offset > cursor => 0,
            Some(_) => self.log.partition_point(|f| f.offset <= cursor),
            None => 0,
        }
    }

    /// All frames from index `first` on for a wire, as one buffer: a single frame as it is, several joined once. `None`
    /// where some were made when nobody spoke that wire.
    pub(crate) fn joined(&mut self, first: usize, wire: u8) -> Option<Bytes> {
        let (from, to) = (self.log.get(first)?.offset, self.log.back()?.offset);
        if from == to {
            return self.log[first].frame(wire).cloned();
        }
        if (self.joined.from, self.joined.to, self.joined.wire) != (from, to, wire) {
            let frames: Option<SmallVec<[&Bytes; 16]>> = self.log.range(first..).map(|f| f.frame(wire)).collect();
            let frames = frames?;
            let mut bytes = BytesMut::with_capacity(frames.iter().map(|f| f.len()).sum());
            frames.iter().for_each(|f| bytes.extend_from_slice(f));
            self.joined = Joined { from, to, wire, bytes: bytes.freeze() };
        }
        Some(self.joined.bytes.clone())
    }

    /// Where a send of everything from `first` on stands after `sent` bytes: the last offset that has begun, and the
    /// rest of its frame.
    pub(crate) fn cut(&self, first: usize, wire: u8, sent: usize) -> Option<(u64, Bytes)> {
        let mut left = sent;
        let mut done = None;
        for framed in self.log.range(first..) {
            let frame = framed.frame(wire)?;
            if left == 0 {
                break;
            }
            if left < frame.len() {
                return Some((framed.offset, frame.slice(left..)));
            }
            left -= frame.len();
            done = Some((framed.offset, Bytes::new()));
        }
        done
    }
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    pub(crate) hub: HubChannel,
    /// Tells the deliveries of this registration from those of an earlier one at the same place.
    pub(crate) registration: u32,
    /// Subscribe commands that wait for the hub.
    pub(crate) pending: u32,
    /// The last offset that came through the inbox.
    pub(crate) head: u64,
    pub(crate) entries: SmallVec<[Entry; 1]>,
    /// How many entries speak which wire: frames are made for these.
    speakers: SmallVec<[(u8, u32); 1]>,
    pub(crate) fan_out: Option<Box<FanOut>>,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, hub: HubChannel, registration: u32) -> Self {
        Self {
            name,
            hub,
            registration,
            pending: 0,
            head: 0,
            entries: SmallVec::new(),
            speakers: SmallVec::new(),
            fan_out: None,
        }
    }

    /// Adds an entry; returns its index.
    pub(crate) fn join(&mut self, entry: Entry) -> u32 {
        match self.speakers.iter_mut().find(|(wire, _)| *wire == entry.wire) {
            Some((_, count)) => *count += 1,
            None => self.speakers.push((entry.wire, 1)),
        }
        self.entries.push(entry);
        if let Some(fan_out) = &mut self.fan_out {
            fan_out.again = true;
        }
        u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 subscriptions")
    }

    /// Takes an entry out. The last one takes its place, and its connection is returned.
    pub(crate) fn leave(&mut self, at: usize) -> Option<u32> {
        let gone = self.entries.swap_remove(at);
        if let Some(speakers) = self.speakers.iter().position(|(wire, _)| *wire == gone.wire) {
            self.speakers[speakers].1 -= 1;
            if self.speakers[speakers].1 == 0 {
                self.speakers.swap_remove(speakers);
            }
        }
        let moved = self.entries.get(at)?;
        // The one moved here may not have been served in this sweep.
        if let Some(fan_out) = &mut self.fan_out {
            fan_out.again = true;
        }
        Some(moved.connection)
    }

    /// The wires that somebody here speaks.
    pub(crate) fn wires(&self) -> impl Iterator<Item = u8> {
        self.speakers.iter().map(|(wire, _)| *wire)
    }

    /// Whether nobody needs it any more.
    pub(crate) fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan_out() -> FanOut {
        let mut fan_out = FanOut::default();
        for offset in [3, 5, 9] {
            let frame = Bytes::from(vec![u8::try_from(offset).unwrap(); offset]);
            fan_out.push(Framed { offset: offset as u64, frames: [(0, frame)].into_iter().collect(), entered_us: 0 });
        }
        fan_out
    }

    #[test]
    fn everything_after_a_cursor_is_joined_once() {
        let mut f = fan_out();
        assert_eq!([0, 3, 4, 5, 8, 9].map(|c| f.first_after(c)), [0, 1, 1, 2, 2, 3]);
        assert_eq!(f.joined(0, 0).unwrap().len(), 17);
        assert_eq!(f.joined(1, 0).unwrap().len(), 14);
        assert_eq!(
            f.joined(2, 0).unwrap().as_ptr(),
            f.log[2].frames[0].1.as_ptr(),
            "a single frame is shared as it is"
        );
        assert_eq!(f.joined(3, 0), None);
    }

    #[test]
    fn a_cut_send_keeps_the_rest_of_one_frame_by_reference() {
        let f = fan_out();
        assert_eq!(f.cut(0, 0, 0), None);
        assert_eq!(f.cut(0, 0, 3), Some((3, Bytes::new())));
        let (offset, rest) = f.cut(0, 0, 4).unwrap();
        assert_eq!((offset, rest.len()), (5, 4));
        assert_eq!(rest.as_ptr(), f.log[1].frames[0].1[1..].as_ptr());
        assert_eq!(f.cut(1, 0, 14), Some((9, Bytes::new())));
    }

    #[test]
    fn trimming_counts_bytes() {
        let mut f = fan_out();
        f.trim(5);
        assert_eq!((f.log.len(), f.log_bytes), (1, 9));
        assert_eq!((f.drop_oldest(), f.log_bytes), (9, 0));
    }
}
