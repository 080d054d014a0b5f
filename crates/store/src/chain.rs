//! The chain of a channel's records: how one of them is found without reading what lies between.
//!
//! Every record points to its channel's record before it. It also points further back, to the number that is left when
//! its last digit in base 128 that is not zero becomes zero: from 300,000 to 299,904, to 294,912. So a record
//! a million numbers back is found in some hundred reads, however much other channels wrote meanwhile, and the rest of
//! a page costs its own records.
//!
//! Invariant: a pointer leads to exactly the number that is computed for it, so every walk ends.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::ReadError;
use crate::format::{Entry, NO_OFFSET};
use crate::read::{ChannelPage, Filling, PageLimits};
use crate::segment::{Run, Segment};
use crate::state::Channel;
use crate::store::Store;

/// Digits that are made zero; above 128 to this power a walk goes in steps of so many.
const LEVELS: usize = 2;
const DIGIT_BITS: usize = 7;

/// Offsets of a channel's newest records whose numbers end with one and with two zeros in base 128.
pub(crate) type Marks = [u64; LEVELS];
pub(crate) const NO_MARKS: Marks = [NO_OFFSET; LEVELS];

/// What a number has in its last digits: so many and one more.
const fn rest(number: u64, level: usize) -> u64 {
    number & ((1 << (DIGIT_BITS * (level + 1))) - 1)
}

/// Which mark a record with this number points to, and that one's number.
fn skip(number: u64) -> Option<(usize, u64)> {
    let level = (0..LEVELS).find(|level| rest(number, *level) != 0)?;
    let target = number - rest(number, level);
    (target > 0).then_some((level, target))
}

/// Where the second pointer of a record with this number leads.
pub(crate) fn skip_offset(number: u64, marks: &Marks) -> u64 {
    skip(number).map_or(NO_OFFSET, |(level, _)| marks[level])
}

/// The marks once a record stands at `offset`.
pub(crate) fn marked(mut marks: Marks, number: u64, offset: u64) -> Marks {
    for (level, mark) in marks.iter_mut().enumerate() {
        if rest(number, level) == 0 {
            *mark = offset;
        }
    }
    marks
}

/// Goes along one channel's chain, in the segments that were there when it began. Keeps the run of records that it read
/// last: the next one often lies in it too.
struct Walker<'a> {
    store: &'a Store,
    key: &'a str,
    segments: Vec<Arc<Segment>>,
    run: Option<Run>,
}

impl Walker<'_> {
    /// The record `number` at `offset`; `None` when retention took it.
    fn record(&mut self, number: u64, offset: u64) -> Result<Option<Entry>, ReadError> {
        let after = self.segments.partition_point(|s| s.base <= offset);
        let Some(segment) = after.checked_sub(1).map(|i| &self.segments[i]).filter(|_| offset != NO_OFFSET) else {
            return Ok(None);
        };
        if self.run.as_ref().is_none_or(|run| !run.holds(offset)) {
            self.run = Some(segment.run(self.store.fs(), offset)?);
        }
        let Some(run) = &self.run else { return Ok(None) };
        let entry = run.record(&segment.path, offset)?;
        if *entry.key != *self.key || entry.number != number {
            return Err(ReadError::Damaged { file: segment.path.clone(), position: run.position });
        }
        Ok(Some(entry))
    }

    fn before(&mut self, from: &Entry) -> Result<Option<Entry>, ReadError> {
        self.record(from.number - 1, from.previous)
    }

    /// The record number `goal`, or the oldest that is kept when that is newer.
    fn down_to(&mut self, goal: u64, mut from: Entry) -> Result<Entry, ReadError> {
        while from.number > goal {
            let far = match skip(from.number).filter(|(_, target)| *target >= goal) {
                Some((_, target)) => self.record(target, from.skip)?,
                None => None,
            };
            let next = match far {
                Some(entry) => Some(entry),
                None => self.before(&from)?,
            };
            match next {
                Some(entry) => from = entry,
                None => break,
            }
        }
        Ok(from)
    }

    /// `top` and every record of a page from `wanted` on whose number is a multiple of 128, newest first.
    fn stages(&mut self, wanted: u64, top: Entry) -> Result<Vec<Entry>, ReadError> {
        let mut stages = vec![top.clone()];
        let mut at = top;
        loop {
            let target = at.number - rest(at.number, 0);
            let next = match target {
                _ if target < wanted.max(1) => None,
                _ if target == at.number => self.before(&at)?,
                _ => self.record(target, at.skip)?.inspect(|stage| stages.push(stage.clone())),
            };
            match next {
                Some(entry) => at = entry,
                None => return Ok(stages),
            }
        }
    }

    /// Fills a page from number `wanted` on. `newest` is the channel's last record.
    fn fill(&mut self, mut wanted: u64, newest: Entry, limits: PageLimits) -> Result<Filling, ReadError> {
        let records_max = u64::try_from(limits.records_max.max(1)).unwrap_or(u64::MAX);
        let mut top = self.down_to(wanted.saturating_add(records_max - 1), newest.clone())?;
        if top.number.saturating_sub(wanted) >= records_max {
            // Retention took what is asked for: the page begins with the oldest that is left.
            wanted = top.number;
            top = self.down_to(wanted.saturating_add(records_max - 1), newest)?;
        }
        let mut filling = Filling::new(limits);
        for stage in self.stages(wanted, top)?.into_iter().rev() {
            let mut more = true;
            for entry in self.back_to(wanted, stage, limits.bytes_max)? {
                wanted = entry.number + 1;
                more = more && filling.push(entry);
            }
            if !more {
                break;
            }
        }
        Ok(filling)
    }

    /// The records from `wanted` to `top`, or the oldest of them within so many bytes, in order.
    fn back_to(&mut self, wanted: u64, top: Entry, bytes_max: usize) -> Result<VecDeque<Entry>, ReadError> {
        let mut found = VecDeque::new();
        let (mut bytes, mut at) = (0, Some(top));
        while let Some(entry) = at.filter(|e| e.number >= wanted) {
            at = if entry.number > wanted { self.before(&entry)? } else { None };
            bytes += Filling::weight(&entry);
            found.push_front(entry);
            // One more than fits: so the page knows that it is full.
            while bytes - found.back().map_or(0, Filling::weight) > bytes_max && found.len() > 2 {
                bytes -= found.pop_back().as_ref().map_or(0, Filling::weight);
            }
        }
        Ok(found)
    }
}

impl Store {
    /// Reads a channel after a number, oldest first, a page of it.
    ///
    /// # Errors
    /// When a record on the way is damaged or the system refuses.
    pub fn read_channel(&self, key: &str, after: u64, limits: PageLimits) -> Result<ChannelPage, ReadError> {
        let (known, top, segments) = {
            let shared = self.shared();
            (shared.channels.get(key).copied(), shared.top(key), shared.segments.clone())
        };
        let mut page = ChannelPage { entries: Vec::new(), top };
        let Some(channel) = known else { return Ok(page) };
        let Channel { last, last_offset, first, .. } = channel;
        let wanted = after.saturating_add(1).max(first);
        if wanted > last {
            return Ok(page);
        }
        let mut walker = Walker { store: self, key, segments, run: None };
        let filled = walker
            .record(last, last_offset)
            .and_then(|newest| newest.map_or(Ok(Filling::new(limits)), |newest| walker.fill(wanted, newest, limits)));
        page.entries = filled.map_err(|error| self.noted(error))?.entries;
        let oldest = page.entries.first().map_or(last + 1, |e| e.number);
        if oldest > wanted {
            page.top.first_kept = oldest;
            self.raise_first(key, oldest);
        }
        Ok(page)
    }

    /// Retention took more of a channel than the table knew.
    fn raise_first(&self, key: &str, first: u64) {
        if let Some(channel) = self.shared().channels.get_mut(key) {
            channel.first = channel.first.max(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads that finding `goal` from `last` takes.
    fn reads(last: u64, goal: u64) -> u64 {
        let (mut at, mut reads) = (last, 0);
        while at > goal {
            at = skip(at).map(|(_, target)| target).filter(|target| *target >= goal).unwrap_or(at - 1);
            reads += 1;
        }
        reads
    }

    #[test]
    fn any_number_is_found_in_few_reads() {
        for (last, goal) in [(1_000_000, 1), (999_999, 500_001), (262_143, 65), (16_384, 16_257), (140, 139)] {
            let most = 600;
            assert!(reads(last, goal) < most, "{last} to {goal}: {}", reads(last, goal));
        }
        assert_eq!(reads(300_000, 294_912), 2);
    }

    #[test]
    fn a_pointer_leads_to_the_number_that_is_computed_for_it() {
        let mut marks = NO_MARKS;
        for number in 1..600_000 {
            let expected = skip(number).map_or(NO_OFFSET, |(_, target)| target * 10);
            assert_eq!(skip_offset(number, &marks), expected, "{number}");
            marks = marked(marks, number, number * 10);
        }
    }
}
