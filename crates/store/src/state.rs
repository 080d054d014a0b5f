//! What a start needs about the past: channels, and what the judge remembers. Kept in memory, and written to a `.state`
//! file whenever a segment is sealed.
//!
//! Which channels leave both, [`crate::forget`] says.

use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::chain::{self, Marks, NO_MARKS};
use crate::format::NO_OFFSET;
use crate::judge::{Judge, Seen};
use crate::store::Keep;

/// One channel: small, because a log may have a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Channel {
    /// Number of its newest record.
    pub(crate) last: u64,
    /// Offset of that record.
    pub(crate) last_offset: u64,
    /// Time of that record, ms since 1970.
    pub(crate) newest_ms: i64,
    /// Number of its oldest record that is kept; `last + 1` when none is.
    pub(crate) first: u64,
    /// What its newest record says.
    pub(crate) keep: Keep,
    /// For the pointers of the next records.
    pub(crate) marks: Marks,
}

impl Channel {
    /// A channel without a record, whose first will have this number.
    pub(crate) const fn beginning_at(number: u64) -> Self {
        let (last, first) = (number - 1, number);
        Self { last, last_offset: NO_OFFSET, newest_ms: i64::MIN, first, keep: Keep::ALL, marks: NO_MARKS }
    }

    /// The channel with one record more.
    #[must_use]
    pub(crate) fn with(self, number: u64, offset: u64, time_ms: i64, keep: Keep) -> Self {
        let marks = chain::marked(self.marks, number, offset);
        Self { last: number, last_offset: offset, newest_ms: time_ms, keep, marks, ..self }
    }
}

/// By name. One without a record is one whose first was not written, or not yet. Only the committer adds and removes, so
/// for it a channel's index names it until it removes one.
pub(crate) type Channels = IndexMap<Arc<str>, Channel, RandomState>;

const STATE_MAGIC: &[u8; 8] = b"TGSTA\0\0\x03";
/// Knows no times of channels and forgets none.
const STATE_MAGIC_2: &[u8; 8] = b"TGSTA\0\0\x02";

/// Bytes that end with their checksum.
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    pub(crate) fn new(magic: &[u8; 8]) -> Self {
        Self(magic.to_vec())
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(crate) fn u64s(&mut self, all: &[u64]) {
        all.iter().for_each(|v| self.u64(*v));
    }

    pub(crate) fn u128(&mut self, v: u128) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Leaves room for a number that is known later: for [`Sealed::fill`].
    pub(crate) fn place(&mut self) -> usize {
        let place = self.0.len();
        self.u64(0);
        place
    }

    pub(crate) fn fill(&mut self, place: usize, v: u64) {
        self.0[place..place + 8].copy_from_slice(&v.to_le_bytes());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.0);
        self.0.extend_from_slice(&crc.to_le_bytes());
        self.0
    }
}

/// Reads what [`Sealed`] wrote; `None` anywhere means that it is damaged or cut.
pub(crate) struct Unsealed<'a>(&'a [u8]);

impl<'a> Unsealed<'a> {
    pub(crate) fn open(bytes: &'a [u8], magic: &[u8; 8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let whole = crc32c::crc32c(content) == u32::from_le_bytes(*crc);
        whole.then_some(content)?.strip_prefix(magic).map(Self)
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.take(16)?.try_into().ok().map(u128::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u64()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
}

/// The content of a `.state` file as it is made, some channels at a time.
pub(crate) struct Draft {
    out: Sealed,
    /// Where the largest last number of forgotten channels stands, and the count of those that follow.
    places: [usize; 2],
    pub(crate) forgotten: u64,
    count: u64,
}

impl Draft {
    /// For everything before `base`, where the largest last number of channels forgotten so far is known.
    pub(crate) fn new(base: u64, forgotten: u64) -> Self {
        let mut out = Sealed::new(STATE_MAGIC);
        out.u64(base);
        let places = [out.place(), out.place()];
        Self { out, places, forgotten, count: 0 }
    }

    pub(crate) fn add(&mut self, key: &str, channel: &Channel) {
        self.count += 1;
        self.out.text(key);
        self.out.u64s(&[channel.last, channel.last_offset, channel.newest_ms.cast_unsigned(), channel.first]);
        self.out.u64s(&[channel.keep.count.into(), channel.keep.age_s.into()]);
        self.out.u64s(&channel.marks);
    }

    /// This channel is not in it.
    pub(crate) fn leave_out(&mut self, channel: &Channel) {
        self.forgotten = self.forgotten.max(channel.last);
    }

    pub(crate) fn finish(self, judge: &Judge) -> Vec<u8> {
        let Self { mut out, places: [forgotten, count], .. } = self;
        out.fill(forgotten, self.forgotten);
        out.fill(count, self.count);
        out.u64(judge.keys.len() as u64);
        for (id, (offset, number)) in &judge.keys {
            out.u128(*id);
            out.u64s(&[*offset, *number]);
        }
        out.u64(judge.versions.len() as u64);
        for (id, seen) in &judge.versions {
            out.u128(*id);
            out.text(&seen.epoch);
            out.u64s(&[seen.number, seen.offset]);
        }
        out.finish()
    }
}

/// The channels of a `.state` file, and the largest last number of those that were forgotten.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Known {
    pub(crate) channels: Channels,
    pub(crate) forgotten: u64,
}

/// Reads a `.state` file for `base`, also of the version before: its channels count as used at `now_ms`. Fills `judge`.
pub(crate) fn read(bytes: &[u8], base: u64, now_ms: i64, judge: &mut Judge) -> Option<Known> {
    let (mut from, is_old) = match Unsealed::open(bytes, STATE_MAGIC) {
        Some(from) => (from, false),
        None => (Unsealed::open(bytes, STATE_MAGIC_2)?, true),
    };
    if from.u64()? != base {
        return None;
    }
    let forgotten = if is_old { 0 } else { from.u64()? };
    let count = usize::try_from(from.u64()?).ok()?;
    let mut channels = Channels::with_capacity_and_hasher(count.min(bytes.len() / 64), RandomState::default());
    for _ in 0..count {
        let key = from.text()?.into();
        let (last, last_offset) = (from.u64()?, from.u64()?);
        let newest_ms = if is_old { now_ms } else { from.u64()?.cast_signed() };
        let first = from.u64()?;
        let keep = Keep { count: from.u64()?.try_into().ok()?, age_s: from.u64()?.try_into().ok()? };
        let mut marks = NO_MARKS;
        for mark in &mut marks {
            *mark = from.u64()?;
        }
        channels.insert(key, Channel { last, last_offset, newest_ms, first, keep, marks });
    }
    let mut keys = Vec::new();
    for _ in 0..from.u64()? {
        keys.push((from.u128()?, (from.u64()?, from.u64()?)));
    }
    let mut versions = Vec::new();
    for _ in 0..from.u64()? {
        let (id, epoch) = (from.u128()?, from.text()?.into());
        versions.push((id, Seen { epoch, number: from.u64()?, offset: from.u64()? }));
    }
    judge.restore(keys, versions);
    Some(Known { channels, forgotten })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Identity;

    const CHANNEL: Channel =
        Channel { last: 4, last_offset: 9, newest_ms: -5, first: 2, keep: Keep { count: 7, age_s: 8 }, marks: [1, 2] };

    fn judge() -> Judge {
        let mut judge = Judge::new(10);
        let identity = Identity { idempotency_key: "k".into(), version_epoch: "e".into(), version: 2 };
        judge.note((3, 1), "a", &identity);
        judge
    }

    #[test]
    fn a_state_reads_as_it_was_written_and_damage_shows() {
        let judge = judge();
        let mut draft = Draft::new(10, 3);
        draft.add("a", &CHANNEL);
        draft.leave_out(&Channel { last: 17, ..CHANNEL });
        draft.leave_out(&Channel { last: 16, ..CHANNEL });
        let bytes = draft.finish(&judge);
        let mut read_judge = Judge::new(10);
        let known = Known { channels: [("a".into(), CHANNEL)].into_iter().collect(), forgotten: 17 };
        assert_eq!(read(&bytes, 10, 0, &mut read_judge), Some(known));
        assert_eq!(read_judge.keys, judge.keys);
        assert_eq!(read(&bytes, 11, 0, &mut read_judge), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, 10, 0, &mut read_judge), None);
        }
    }

    #[test]
    fn a_state_of_the_version_before_is_read_and_its_channels_count_as_used_just_now() {
        let mut out = Sealed::new(STATE_MAGIC_2);
        out.u64s(&[10, 1]);
        out.text("a");
        out.u64s(&[4, 9, 2, 7, 8, 1, 2]);
        out.u64s(&[0, 0]);
        let known = read(&out.finish(), 10, 123, &mut Judge::new(10)).unwrap();
        assert_eq!(known.forgotten, 0);
        assert_eq!(known.channels.get("a"), Some(&Channel { newest_ms: 123, ..CHANNEL }));
    }
}
