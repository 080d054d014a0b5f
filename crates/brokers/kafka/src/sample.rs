//! Which partitioner do the records of a topic speak for?
//!
//! A pure count over keys and the partitions that they were found in; reading them is [`crate::read`]'s.

use std::collections::HashSet;

use crate::partitioner::Partitioner;

/// Different keys that are enough to be sure.
pub(crate) const ENOUGH: usize = 16;

/// What a sample of keys says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sample {
    /// Different keys seen.
    pub(crate) keys: usize,
    /// How many of them lie where each partitioner puts them, in the order of [`Partitioner::ALL`].
    pub(crate) fits: [usize; 3],
    /// Offsets among those read that hold nothing to read: ends of transactions, records that one took back, what was
    /// compacted away. 0 where not everything could be read in time.
    pub(crate) left_out: u64,
}

impl Sample {
    /// Counts keys and where they were found.
    pub(crate) fn of(found: &[(u32, Vec<u8>)], partitions: u32) -> Self {
        let different: HashSet<_> = found.iter().collect();
        let fits = Partitioner::ALL
            .map(|p| different.iter().filter(|(partition, key)| p.partition(key, partitions) == *partition).count());
        Self { keys: different.len(), fits, left_out: 0 }
    }

    /// The partitioner that fits most keys, and more of them than each of the others. Where a topic had fewer partitions
    /// once, its old records fit any of them by chance, and none of them most.
    pub(crate) fn best(&self) -> Option<Partitioner> {
        let most = *self.fits.iter().max()?;
        let mut with_most = self.fits.iter().zip(Partitioner::ALL).filter(|(count, _)| **count == most);
        let (_, best) = with_most.next()?;
        (2 * most > self.keys && with_most.next().is_none()).then_some(best)
    }

    /// Enough keys were seen and one partitioner explains them better than the others.
    pub(crate) fn is_sure(&self) -> bool {
        self.keys >= ENOUGH && self.best().is_some()
    }

    /// How many keys lie where `partitioner` puts them.
    pub(crate) fn fitting(&self, partitioner: Partitioner) -> usize {
        Partitioner::ALL.iter().zip(self.fits).find(|(p, _)| **p == partitioner).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(partitioner: Partitioner, count: u32) -> Vec<(u32, Vec<u8>)> {
        let key = |n: u32| format!("job{n}").into_bytes();
        (0..count).map(|n| (partitioner.partition(&key(n), 8), key(n))).collect()
    }

    #[test]
    fn each_partitioner_is_found() {
        for partitioner in Partitioner::ALL {
            let sample = Sample::of(&keys(partitioner, 200), 8);
            assert_eq!(sample.best(), Some(partitioner));
            assert_eq!(sample.fitting(partitioner), 200);
            assert!(sample.is_sure());
        }
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert_eq!(Sample::of(&[], 8).best(), None);
        assert_eq!(Sample::of(&keys(Partitioner::Crc32, 50), 1).best(), None);
        assert!(!Sample::of(&keys(Partitioner::Crc32, 3), 8).is_sure());
    }

    #[test]
    fn records_from_before_a_topic_grew_speak_for_nobody() {
        let old: Vec<_> = keys(Partitioner::Murmur2, 200).into_iter().map(|(at, key)| (at % 2, key)).collect();
        assert_eq!(Sample::of(&old, 6).best(), None);
    }

    #[test]
    fn a_few_strays_do_not_outvote() {
        let mut found = keys(Partitioner::Crc32, 100);
        found.extend((0..10).map(|n| (n % 8, format!("stray{n}").into_bytes())));
        assert_eq!(Sample::of(&found, 8).best(), Some(Partitioner::Crc32));
    }
}
