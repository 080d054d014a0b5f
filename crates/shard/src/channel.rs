//! One channel as its shard holds it: who is subscribed, and the frames not everybody has yet.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tidegate_core::Channel as HubChannel;
use tidegate_types::{ChannelName, ClientId, Publication};

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
    pub(crate) deltas: Deltas,
    /// Is told of joins and leaves.
    pub(crate) join_leave: bool,
}

/// Whether a subscription takes deltas, and whether it has what the next one is based on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deltas {
    /// It takes none.
    Off,
    /// It does, and has nothing yet.
    Baseless,
    /// It does, and has the publication at its cursor.
    Based,
}

impl Entry {
    /// The form in which it gets its next publication, and the one for those behind it in the same send.
    fn forms(&self) -> (Form, Form) {
        match self.deltas {
            Deltas::Off => (Form::Plain, Form::Plain),
            Deltas::Baseless => (Form::Whole, Form::Delta),
            Deltas::Based => (Form::Delta, Form::Delta),
        }
    }

    /// The channel has nothing between its cursor and `offset`. A cursor that is as new as can be is in the window's reach.
    pub(crate) fn has_nothing_before(&mut self, offset: u64) {
        self.cursor = self.cursor.max(offset.saturating_sub(1));
    }

    /// It has everything up to `offset`.
    pub(crate) fn advance(&mut self, offset: u64) {
        self.cursor = offset;
        if self.deltas == Deltas::Baseless {
            self.deltas = Deltas::Based;
        }
    }
}

/// What a frame of a publication holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// The payload, for those who take no deltas.
    Plain,
    /// The payload, for those who do.
    Whole,
    /// The difference to the publication before where there is one that is shorter, else the payload.
    Delta,
}

/// A publication on its way, as a frame for each wire and form that somebody here needs.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) offset: u64,
    pub(crate) frames: Frames,
    pub(crate) entered_us: u64,
    /// The session that does not get it.
    pub(crate) exclude: Option<ClientId>,
}

pub(crate) type Frames = SmallVec<[(u8, Form, Bytes); 1]>;

impl Framed {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, _, frame)| frame.len()).sum()
    }

    fn frame(&self, wire: u8, form: Form) -> Option<&Bytes> {
        self.frames.iter().find(|(w, f, _)| (*w, *f) == (wire, form)).map(|(_, _, frame)| frame)
    }
}

/// Frames that were joined for one send, for everybody who needs the same.
#[derive(Debug)]
struct Joined {
    from: u64,
    to: u64,
    wire: u8,
    first: Form,
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
    joined: Option<Joined>,
}

impl FanOut {
    /// Adds a frame.
    pub(crate) fn push(&mut self, framed: Framed) {
        self.log_bytes += framed.bytes();
        self.log.push_back(framed);
    }

    /// Offset of the first frame after a cursor.
    pub(crate) fn next_after(&self, cursor: u64) -> Option<u64> {
        Some(self.log.get(self.first_after(cursor))?.offset)
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

    /// Whether something from index `first` on is not for a session.
    pub(crate) fn excludes(&self, first: usize, client: impl Fn() -> ClientId) -> bool {
        self.log.range(first..).any(|framed| framed.exclude.is_some_and(|excluded| excluded == client()))
    }

    /// Index of the first frame after a cursor.
    pub(crate) fn first_after(&self, cursor: u64) -> usize {
        match self.log.front() {
            Some(front) if front.offset > cursor => 0,
            Some(_) => self.log.partition_point(|f| f.offset <= cursor),
            None => 0,
        }
    }

    /// The frames from index `first` on for an entry; `None` for those made when nobody needed them.
    pub(crate) fn frames(&self, first: usize, entry: &Entry) -> impl Iterator<Item = (u64, Option<&Bytes>)> {
        let (form, then) = entry.forms();
        let forms = std::iter::once(form).chain(std::iter::repeat(then));
        let wire = entry.wire;
        self.log.range(first..).zip(forms).map(move |(framed, form)| (framed.offset, framed.frame(wire, form)))
    }

    /// All frames from index `first` on for an entry, as one buffer: a single frame as it is, several joined once. `None`
    /// where some were made when nobody needed them.
    pub(crate) fn joined(&mut self, first: usize, entry: &Entry) -> Option<Bytes> {
        let (from, to) = (self.log.get(first)?.offset, self.log.back()?.offset);
        let form = entry.forms().0;
        if from == to {
            return self.log[first].frame(entry.wire, form).cloned();
        }
        let fits = |j: &&Joined| (j.from, j.to, j.wire, j.first) == (from, to, entry.wire, form);
        if let Some(joined) = self.joined.as_ref().filter(fits) {
            return Some(joined.bytes.clone());
        }
        let bytes = self.join_frames(first, entry)?;
        self.joined = Some(Joined { from, to, wire: entry.wire, first: form, bytes: bytes.clone() });
        Some(bytes)
    }

    fn join_frames(&self, first: usize, entry: &Entry) -> Option<Bytes> {
        let frames: Option<SmallVec<[&Bytes; 16]>> = self.frames(first, entry).map(|(_, frame)| frame).collect();
        let frames = frames?;
        let mut bytes = BytesMut::with_capacity(frames.iter().map(|f| f.len()).sum());
        frames.iter().for_each(|f| bytes.extend_from_slice(f));
        Some(bytes.freeze())
    }

    /// Where a send of everything from `first` on stands after `sent` bytes: the last offset that has begun, and the
    /// rest of its frame.
    pub(crate) fn cut(&self, first: usize, entry: &Entry, sent: usize) -> Option<(u64, Bytes)> {
        let mut left = sent;
        let mut done = None;
        for (offset, frame) in self.frames(first, entry) {
            let frame = frame?;
            if left == 0 {
                break;
            }
            if left < frame.len() {
                return Some((offset, frame.slice(left..)));
            }
            left -= frame.len();
            done = Some((offset, Bytes::new()));
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
    /// How many entries speak which wire, without deltas and with them: frames are made for these.
    speakers: SmallVec<[(u8, bool, u32); 1]>,
    /// The last publication that came through the inbox, where somebody takes deltas; `None` when it is not known.
    pub(crate) last: Option<Arc<Publication>>,
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
            last: None,
            fan_out: None,
        }
    }

    /// Adds an entry; returns its index.
    pub(crate) fn join(&mut self, entry: Entry) -> u32 {
        let deltas = entry.deltas != Deltas::Off;
        match self.speakers.iter_mut().find(|(wire, d, _)| (*wire, *d) == (entry.wire, deltas)) {
            Some((_, _, count)) => *count += 1,
            None => self.speakers.push((entry.wire, deltas, 1)),
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
        let deltas = gone.deltas != Deltas::Off;
        if let Some(speakers) = self.speakers.iter().position(|(wire, d, _)| (*wire, *d) == (gone.wire, deltas)) {
            self.speakers[speakers].2 -= 1;
            if self.speakers[speakers].2 == 0 {
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

    /// The wires that somebody here speaks, and whether with deltas.
    pub(crate) fn wires(&self) -> impl Iterator<Item = (u8, bool)> {
        self.speakers.iter().map(|(wire, deltas, _)| (*wire, *deltas))
    }

    /// Whether somebody here takes deltas.
    pub(crate) fn takes_deltas(&self) -> bool {
        self.speakers.iter().any(|(_, deltas, _)| *deltas)
    }

    /// Whether nobody needs it any more.
    pub(crate) fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(deltas: Deltas) -> Entry {
        Entry { cursor: 0, connection: 0, wire: 0, behind: false, deltas, join_leave: false }
    }

    fn fan_out() -> FanOut {
        let mut fan_out = FanOut::default();
        for offset in [3, 5, 9] {
            let frame = Bytes::from(vec![u8::try_from(offset).unwrap(); offset]);
            let delta = frame.slice(..1);
            let frames = [(0, Form::Plain, frame.clone()), (0, Form::Whole, frame), (0, Form::Delta, delta)];
            let frames = frames.into_iter().collect();
            fan_out.push(Framed { offset: offset as u64, frames, entered_us: 0, exclude: None });
        }
        fan_out
    }

    #[test]
    fn everything_after_a_cursor_is_joined_once() {
        let (mut f, off) = (fan_out(), entry(Deltas::Off));
        assert_eq!([0, 3, 4, 5, 8, 9].map(|c| f.first_after(c)), [0, 1, 1, 2, 2, 3]);
        assert_eq!(f.joined(0, &off).unwrap().len(), 17);
        assert_eq!(f.joined(1, &off).unwrap().len(), 14);
        assert_eq!(
            f.joined(2, &off).unwrap().as_ptr(),
            f.log[2].frames[0].2.as_ptr(),
            "a single frame is shared as it is"
        );
        assert_eq!(f.joined(3, &off), None);
    }

    #[test]
    fn a_cut_send_keeps_the_rest_of_one_frame_by_reference() {
        let (f, off) = (fan_out(), entry(Deltas::Off));
        assert_eq!(f.cut(0, &off, 0), None);
        assert_eq!(f.cut(0, &off, 3), Some((3, Bytes::new())));
        let (offset, rest) = f.cut(0, &off, 4).unwrap();
        assert_eq!((offset, rest.len()), (5, 4));
        assert_eq!(rest.as_ptr(), f.log[1].frames[0].2[1..].as_ptr());
        assert_eq!(f.cut(1, &off, 14), Some((9, Bytes::new())));
    }

    #[test]
    fn who_takes_deltas_gets_one_as_soon_as_it_has_a_base() {
        let mut f = fan_out();
        let lengths = |f: &mut FanOut, deltas| f.joined(0, &entry(deltas)).unwrap().len();
        assert_eq!(lengths(&mut f, Deltas::Off), 17);
        assert_eq!(lengths(&mut f, Deltas::Baseless), 3 + 1 + 1);
        assert_eq!(lengths(&mut f, Deltas::Based), 3);
        assert_eq!(f.cut(0, &entry(Deltas::Baseless), 4), Some((5, Bytes::new())));
        let mut new = entry(Deltas::Baseless);
        new.advance(3);
        assert_eq!((new.cursor, new.deltas), (3, Deltas::Based));
    }

    #[test]
    fn trimming_counts_bytes() {
        let mut f = fan_out();
        f.trim(5);
        assert_eq!((f.log.len(), f.log_bytes), (1, 19));
        assert_eq!((f.drop_oldest(), f.log_bytes), (9, 0));
    }
}
