//! Plain counters: written by one thread each where it is hot, read when somebody scrapes. No labels per channel or user.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds; negative takes away.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets of powers of two: bucket `i` counts those up to `2^i` microseconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Self::BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Buckets; the last one takes everything from 34 s on.
    pub const BUCKETS: usize = 26;

    /// Counts one duration.
    pub fn record(&self, us: u64) {
        let at = (u64::BITS - us.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[at.min(Self::BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// (upper bound in microseconds, count of this bucket) of each bucket, then the sum in microseconds.
    pub fn snapshot(&self) -> (Vec<(u64, u64)>, u64) {
        let counts = self.buckets.iter().enumerate().map(|(i, b)| (1u64 << i, b.load(Relaxed)));
        (counts.collect(), self.sum_us.load(Relaxed))
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Open connections, handshakes included.
    pub connections: Gauge,
    /// Connections whose session is open.
    pub clients: Gauge,
    /// Subscriptions.
    pub subscriptions: Gauge,
    /// Channels with a subscription.
    pub channels: Gauge,
    /// Subscriptions that are behind the live stream.
    pub behind: Gauge,
    /// Publications handed to a socket.
    pub deliveries: Counter,
    /// Bytes handed to sockets.
    pub sent_bytes: Counter,
    /// Commands of clients.
    pub commands: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed because they did not answer a ping.
    pub closed_no_pong: Counter,
    /// Connections closed because they were too slow.
    pub closed_slow: Counter,
    /// Handshakes and connects that did not come in time.
    pub closed_stale: Counter,
    /// Connections closed because they broke a protocol.
    pub closed_protocol: Counter,
    /// Subscriptions ended with "insufficient state".
    pub insufficient_state: Counter,
    /// Times the inbox was full, so that the shard read from the window instead.
    pub inbox_overflows: Counter,
    /// TLS handshakes that were completed.
    pub tls_handshakes: Counter,
    /// TLS handshakes that began and led to nothing.
    pub tls_handshakes_failed: Counter,
    /// From a record's entry into the window to the last of its first sends.
    pub window_to_socket: Histogram,
}

/// What the node counts beside its shards.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    /// Publishes accepted by the log.
    pub publishes: Counter,
    /// Publishes that failed.
    pub publish_errors: Counter,
    /// Records that tails delivered.
    pub records: Counter,
    /// Records left out as duplicates of an idempotency key.
    pub duplicates: Counter,
    /// Records left out as old versions.
    pub old_versions: Counter,
    /// Records in another partition than their key's.
    pub misplaced: Counter,
    /// Records without a usable key or headers, or refused by the namespace's format.
    pub undecodable: Counter,
    /// Recoveries that brought everything.
    pub recovered: Counter,
    /// Recoveries that could not.
    pub unrecovered: Counter,
    /// Recoveries, catch-ups and history reads that had to read the log.
    pub log_reads: Counter,
    /// Times another certificate was taken into use.
    pub tls_reloads: Counter,
    /// Times it could not be: the one before stays.
    pub tls_reloads_failed: Counter,
    /// From a publish call to the log's acknowledgement.
    pub publish_to_ack: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_smallest_bucket_that_holds_it() {
        let h = Histogram::default();
        for us in [0, 1, 2, 3, 4, 1 << 40] {
            h.record(us);
        }
        let (buckets, _) = h.snapshot();
        let counts: Vec<u64> = buckets.iter().map(|(_, n)| *n).collect();
        assert_eq!(counts[..4], [2, 1, 2, 0]);
        assert_eq!(counts[Histogram::BUCKETS - 1], 1);
    }
}
