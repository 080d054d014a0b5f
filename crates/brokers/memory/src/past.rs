//! What is known of the channels of a partition, and which of them are forgotten.
//!
//! A channel of which nothing is kept waits for its end in a queue, and each append looks at its front: so a channel costs
//! the same whether it is forgotten or not, and nobody waits. One that was used meanwhile queues again.
//!
//! Invariant: a channel is in the queue once at most, and is there when nothing of it is kept.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use tidegate_broker::{ChannelTop, Key};

/// One channel.
#[derive(Debug)]
pub(crate) struct Channel {
    last: u64,
    newest_ms: i64,
    /// Log offsets of the records kept, oldest first.
    pub(crate) kept: VecDeque<u64>,
    /// It is in the queue.
    waits: bool,
}

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct Past {
    channels: HashMap<Key, Channel, RandomState>,
    /// Channels of which nothing was kept when they came here, and the time of their newest record then.
    empty: VecDeque<(i64, Key)>,
    /// The largest last number of all channels that were forgotten.
    forgotten: u64,
}

/// Channels looked at for each append: more than one can add.
const FORGET_MAX: usize = 4;

impl Past {
    pub(crate) fn get(&self, key: &str) -> Option<&Channel> {
        self.channels.get(key)
    }

    /// Ends of a channel. What was never published to, or was forgotten, goes on above all that was forgotten.
    pub(crate) fn top(&self, key: &str) -> ChannelTop {
        match self.channels.get(key) {
            Some(Channel { last, kept, .. }) => ChannelTop { last: *last, first_kept: last + 1 - kept.len() as u64 },
            None => ChannelTop { last: self.forgotten, first_kept: self.forgotten + 1 },
        }
    }

    /// Takes the next record of a channel.
    pub(crate) fn with(&mut self, key: &Key, log_offset: u64, time_ms: i64) -> &mut Channel {
        let new = Channel { last: self.forgotten, newest_ms: time_ms, kept: VecDeque::new(), waits: false };
        let channel = self.channels.entry(key.clone()).or_insert(new);
        channel.last += 1;
        channel.newest_ms = time_ms;
        channel.kept.push_back(log_offset);
        channel
    }

    /// The oldest record of a channel is gone.
    pub(crate) fn drop_first(&mut self, key: &Key) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        channel.kept.pop_front();
        if channel.kept.is_empty() && !channel.waits {
            channel.kept = VecDeque::new();
            channel.waits = true;
            self.empty.push_back((channel.newest_ms, key.clone()));
        }
    }

    /// Forgets some of the channels of which nothing is kept and whose newest record is as old as this.
    pub(crate) fn forget(&mut self, oldest_ms: i64) {
        for _ in 0..FORGET_MAX {
            let Some((time_ms, key)) = self.empty.pop_front_if(|(time_ms, _)| *time_ms <= oldest_ms) else { return };
            let Some(channel) = self.channels.get_mut(&key) else { continue };
            if !channel.kept.is_empty() {
                channel.waits = false;
            } else if channel.newest_ms > time_ms {
                self.empty.push_back((channel.newest_ms, key));
            } else {
                self.forgotten = self.forgotten.max(channel.last);
                self.channels.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishes once, and drops the record again.
    fn pass(past: &mut Past, key: &str, time_ms: i64) -> u64 {
        let key = key.into();
        let last = past.with(&key, 0, time_ms).last;
        past.drop_first(&key);
        last
    }

    #[test]
    fn a_forgotten_channel_goes_on_above_every_number_of_before() {
        let mut past = Past::default();
        for time_ms in 1..=9 {
            pass(&mut past, "long", time_ms);
        }
        assert_eq!(pass(&mut past, "short", 10), 1);
        past.with(&"kept".into(), 0, 1);
        past.forget(8);
        pass(&mut past, "young", 11);
        assert_eq!((past.channels.len(), past.top("long").last), (4, 9));
        past.forget(10);
        assert_eq!((past.channels.len(), past.top("young").last), (2, 1), "what is kept, and what is young, stay");
        assert_eq!(past.top("never"), ChannelTop { last: 9, first_kept: 10 });
        assert_eq!((pass(&mut past, "short", 20), pass(&mut past, "long", 20)), (10, 10));
        assert_eq!(past.top("kept"), ChannelTop { last: 1, first_kept: 1 });
    }

    #[test]
    fn names_that_never_come_back_take_no_more_than_those_of_a_while_and_others_wait_once() {
        let mut past = Past::default();
        for time_ms in 0..200_000 {
            past.forget(time_ms - 1_000);
            pass(&mut past, &format!("request-{time_ms}"), time_ms);
            pass(&mut past, "again", time_ms);
            assert!(past.channels.len() < 1_100 && past.empty.len() < 1_100, "{}", past.channels.len());
        }
        assert!(past.get("again").is_some());
    }
}
