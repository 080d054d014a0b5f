//! What arrived against what was published: order, number and content of every delivery.

use crate::mark::Mark;

/// Totals over all subscriptions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Deliveries, duplicates included.
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    /// Arrived after one that was published later.
    pub(crate) reordered: u64,
    /// Not the bytes that were published.
    pub(crate) corrupted: u64,
    /// Of a channel that the client never subscribed to.
    pub(crate) foreign: u64,
}

impl Tally {
    /// Deliveries that count: each once.
    pub(crate) fn unique(&self) -> u64 {
        self.delivered - self.duplicated - self.foreign
    }

    /// Takes one delivery, which belongs to one of the subscriptions. Returns whether it is new.
    pub(crate) fn take(&mut self, subscriptions: &mut [Subscription], mark: Mark, intact: bool) -> bool {
        self.delivered += 1;
        self.corrupted += u64::from(!intact);
        let Ok(at) = subscriptions.binary_search_by_key(&mark.channel, |s| s.channel) else {
            self.foreign += 1;
            return false;
        };
        match subscriptions[at].take(mark.sequence) {
            Arrival::Next => return true,
            Arrival::Late => self.reordered += 1,
            Arrival::Again => {
                self.duplicated += 1;
                return false;
            }
        }
        true
    }
}

/// One client's view of one channel.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) channel: u32,
    /// The highest sequence seen, plus one.
    next: u32,
    /// Bit `i`: sequence `next - 1 - i` was seen.
    seen: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Next,
    Late,
    Again,
}

impl Subscription {
    pub(crate) fn new(channel: u32) -> Self {
        Self { channel, next: 0, seen: 0 }
    }

    /// Sequences further back than 64 count as seen.
    fn take(&mut self, sequence: u32) -> Arrival {
        if sequence >= self.next {
            let ahead = sequence - self.next + 1;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = sequence + 1;
            return Arrival::Next;
        }
        let bit = 1u64.checked_shl(self.next - 1 - sequence).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            return Arrival::Again;
        }
        self.seen |= bit;
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sequences: &[u32]) -> (u64, u64, u64) {
        let (mut tally, mut subscriptions) = (Tally::default(), [Subscription::new(5)]);
        for &sequence in sequences {
            tally.take(&mut subscriptions, Mark { channel: 5, sequence, at_ns: 0 }, true);
        }
        (tally.unique(), tally.duplicated, tally.reordered)
    }

    #[test]
    fn holes_doubles_and_late_ones_are_told_apart() {
        assert_eq!(tally(&[0, 1, 2, 3]), (4, 0, 0));
        assert_eq!(tally(&[0, 1, 3]), (3, 0, 0));
        assert_eq!(tally(&[0, 2, 1, 3]), (4, 0, 1));
        assert_eq!(tally(&[0, 1, 1, 0, 2]), (3, 2, 0));
        assert_eq!(tally(&[0, 2, 1, 1]), (3, 1, 1));
        assert_eq!(tally(&[0, 100, 0]), (2, 1, 0));
        assert_eq!(tally(&[100, 99, 163, 99]), (3, 1, 1));
    }

    #[test]
    fn content_and_channel_count() {
        let (mut tally, mut subscriptions) = (Tally::default(), [Subscription::new(5)]);
        tally.take(&mut subscriptions, Mark { channel: 5, sequence: 0, at_ns: 0 }, false);
        tally.take(&mut subscriptions, Mark { channel: 6, sequence: 0, at_ns: 0 }, true);
        assert_eq!((tally.corrupted, tally.foreign, tally.unique()), (1, 1, 1));
    }
}
