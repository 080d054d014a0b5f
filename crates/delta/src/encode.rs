//! From a base and a target to a delta.
//!
//! What both begin and end with is copied at once: most publications differ in the middle only. Between, the base is
//! indexed by blocks of [`BLOCK`] bytes, and every place of the target is looked up by a hash that rolls along. A match
//! grows in both directions as far as it goes.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::number;

/// Bytes of a block of the index: shorter matches are not found.
const BLOCK: usize = 16;
/// Places of the base with the same hash that are looked at.
const CANDIDATES_MAX: usize = 8;

/// A delta that makes `target` out of `base`; `None` when there is none that is shorter than the target.
pub fn create(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(target.len()).ok()?;
    u32::try_from(base.len()).ok()?;
    let mut delta = Delta { out: Vec::with_capacity(64 + target.len() / 8), literal_from: 0 };
    number::write(size, &mut delta.out);
    delta.out.push(b'\n');
    let shorter = base.len().min(target.len());
    let prefix = common(base.iter().zip(target), shorter);
    let suffix = common(base.iter().rev().zip(target.iter().rev()), shorter - prefix);
    if worth(prefix, 0) {
        delta.copy(target, 0, 0, prefix);
    }
    let tail = if worth(suffix, base.len()) { suffix } else { 0 };
    delta.middle(base, target, target.len() - tail);
    if tail > 0 {
        delta.copy(target, target.len() - tail, base.len() - tail, tail);
    }
    delta.literal(target, target.len());
    number::write(number::checksum(target), &mut delta.out);
    delta.out.push(b';');
    (delta.out.len() < target.len()).then_some(delta.out)
}

fn common<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>, at_most: usize) -> usize {
    pairs.take(at_most).take_while(|(a, b)| a == b).count()
}

/// Whether a copy is shorter than what it copies.
fn worth(length: usize, offset: usize) -> bool {
    let number = |value: usize| number::digits(u32::try_from(value).unwrap_or(u32::MAX));
    length > number(length) + number(offset) + 2
}

struct Delta {
    out: Vec<u8>,
    /// Everything of the target before this is written.
    literal_from: usize,
}

struct Match {
    at: usize,
    from: usize,
    length: usize,
}

impl Delta {
    /// Writes what was not found up to `at`.
    fn literal(&mut self, target: &[u8], at: usize) {
        let piece = &target[self.literal_from..at];
        if !piece.is_empty() {
            self.number(piece.len());
            self.out.push(b':');
            self.out.extend_from_slice(piece);
        }
        self.literal_from = at;
    }

    /// Copies `length` bytes, which lie at `from` in the base, to `at`.
    fn copy(&mut self, target: &[u8], at: usize, from: usize, length: usize) {
        self.literal(target, at);
        self.number(length);
        self.out.push(b'@');
        self.number(from);
        self.out.push(b',');
        self.literal_from = at + length;
    }

    fn number(&mut self, value: usize) {
        // The caller has checked that base and target fit.
        number::write(u32::try_from(value).unwrap_or(u32::MAX), &mut self.out);
    }

    /// Finds what is the same before `end`, beginning where the last copy ended.
    fn middle(&mut self, base: &[u8], target: &[u8], end: usize) {
        if base.len() < BLOCK || end < self.literal_from + BLOCK {
            return;
        }
        let index = Index::of(base);
        let mut at = self.literal_from;
        let mut rolling = Rolling::new(&target[at..]);
        loop {
            match index.longest(rolling.hash, base, &target[..end], at, self.literal_from) {
                Some(found) if worth(found.length, found.from) => {
                    self.copy(target, found.at, found.from, found.length);
                    at = found.at + found.length;
                    if at + BLOCK > end {
                        return;
                    }
                    rolling = Rolling::new(&target[at..]);
                }
                _ => {
                    if at + BLOCK >= end {
                        return;
                    }
                    rolling.roll(target[at], target[at + BLOCK]);
                    at += 1;
                }
            }
        }
    }
}

/// Where the blocks of a base lie, by their hashes.
struct Index {
    /// The last block with a hash.
    heads: HashMap<u64, u32, FixedState>,
    /// The block before with the same hash, by block; [`NONE`] = none.
    earlier: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Index {
    fn of(base: &[u8]) -> Self {
        let blocks = base.len() / BLOCK;
        let mut heads = HashMap::with_capacity_and_hasher(blocks, FixedState::default());
        let earlier = base.chunks_exact(BLOCK).zip(0u32..).map(|(block, number)| {
            let hash = Rolling::new(block).hash;
            heads.insert(hash, number).unwrap_or(NONE)
        });
        let earlier = earlier.collect();
        Self { heads, earlier }
    }

    /// The longest match of what stands at `at` in the target, grown to both sides but not before `not_before`.
    fn longest(&self, hash: u64, base: &[u8], target: &[u8], at: usize, not_before: usize) -> Option<Match> {
        let mut block = *self.heads.get(&hash)?;
        let mut best: Option<Match> = None;
        for _ in 0..CANDIDATES_MAX {
            let from = block as usize * BLOCK;
            let forward = common(base[from..].iter().zip(&target[at..]), usize::MAX);
            if forward >= BLOCK {
                let back = common(base[..from].iter().rev().zip(target[not_before..at].iter().rev()), usize::MAX);
                let length = back + forward;
                if best.as_ref().is_none_or(|b| length > b.length) {
                    best = Some(Match { at: at - back, from: from - back, length });
                }
            }
            block = self.earlier[block as usize];
            if block == NONE {
                break;
            }
        }
        best
    }
}

/// A polynomial hash of [`BLOCK`] bytes that moves on by one byte in constant time.
struct Rolling {
    hash: u64,
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The factor of the byte that leaves.
const OLDEST: u64 = FACTOR.wrapping_pow(BLOCK as u32 - 1);

impl Rolling {
    /// Of the first bytes, of which there are enough.
    fn new(bytes: &[u8]) -> Self {
        let hash = bytes[..BLOCK].iter().fold(0u64, |h, b| h.wrapping_mul(FACTOR).wrapping_add(u64::from(*b) + 1));
        Self { hash }
    }

    fn roll(&mut self, gone: u8, new: u8) {
        let without = self.hash.wrapping_sub((u64::from(gone) + 1).wrapping_mul(OLDEST));
        self.hash = without.wrapping_mul(FACTOR).wrapping_add(u64::from(new) + 1);
    }
}
