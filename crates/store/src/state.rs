//! What a start needs about the past: channels, and what the judge remembers. Kept in memory, and written to a `.state`
//! file whenever a segment is sealed.

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
    /// Number of its oldest record that is kept; `last + 1` when none is.
    pub(crate) first: u64,
    /// What its newest record says.
    pub(crate) keep: Keep,
    /// For the pointers of the next records.
    pub(crate) marks: Marks,
}

impl Channel {
    /// A channel without a record.
    pub(crate) const NEW: Self = Self::beginning_at(1);

    /// A channel whose first known record has this number.
    pub(crate) const fn beginning_at(number: u64) -> Self {
        Self { last: number - 1, last_offset: NO_OFFSET, first: number, keep: Keep::ALL, marks: NO_MARKS }
    }

    /// The channel with one record more.
    #[must_use]
    pub(crate) fn with(self, number: u64, offset: u64, keep: Keep) -> Self {
        Self { last: number, last_offset: offset, keep, marks: chain::marked(self.marks, number, offset), ..self }
    }
}

/// None is ever removed, so a channel's index names it for good. One without a record is one whose first could not be
/// written.
pub(crate) type Channels = IndexMap<Arc<str>, Channel, RandomState>;

const STATE_MAGIC: &[u8; 8] = b"TGSTA\0\0\x02";

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

/// The content of a `.state` file for everything before `base`.
pub(crate) fn write(base: u64, channels: &Channels, judge: &Judge) -> Vec<u8> {
    let mut out = Sealed::new(STATE_MAGIC);
    out.u64(base);
    out.u64(channels.len() as u64);
    for (key, channel) in channels {
        out.text(key);
        out.u64s(&[channel.last, channel.last_offset, channel.first]);
        out.u64s(&[channel.keep.count.into(), channel.keep.age_s.into()]);
        out.u64s(&channel.marks);
    }
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

/// Reads a `.state` file for `base` into `judge` and a new table of channels.
pub(crate) fn read(bytes: &[u8], base: u64, judge: &mut Judge) -> Option<Channels> {
    let mut from = Unsealed::open(bytes, STATE_MAGIC)?;
    if from.u64()? != base {
        return None;
    }
    let count = usize::try_from(from.u64()?).ok()?;
    let mut channels = Channels::with_capacity_and_hasher(count.min(bytes.len() / 64), RandomState::default());
    for _ in 0..count {
        let key = from.text()?.into();
        let (last, last_offset, first) = (from.u64()?, from.u64()?, from.u64()?);
        let keep = Keep { count: from.u64()?.try_into().ok()?, age_s: from.u64()?.try_into().ok()? };
        let mut marks = NO_MARKS;
        for mark in &mut marks {
            *mark = from.u64()?;
        }
        channels.insert(key, Channel { last, last_offset, first, keep, marks });
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
    Some(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Identity;

    #[test]
    fn a_state_reads_as_it_was_written_and_damage_shows() {
        let mut judge = Judge::new(10);
        let identity = Identity { idempotency_key: "k".into(), version_epoch: "e".into(), version: 2 };
        judge.note((3, 1), "a", &identity);
        let channels: Channels = [(
            "a".into(),
            Channel { last: 4, last_offset: 9, first: 2, keep: Keep { count: 7, age_s: 8 }, marks: [1, 2] },
        )]
        .into_iter()
        .collect();
        let bytes = write(10, &channels, &judge);
        let mut read_judge = Judge::new(10);
        assert_eq!(read(&bytes, 10, &mut read_judge), Some(channels));
        assert_eq!(read_judge.keys, judge.keys);
        assert_eq!(read(&bytes, 11, &mut read_judge), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, 10, &mut read_judge), None);
        }
    }
}
