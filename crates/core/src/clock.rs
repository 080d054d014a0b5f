//! The node's clocks in one place, and what is said seldom by them. They drive deadlines of this node and stamp metrics; they decide nothing that other
//! nodes must agree on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Between two lines of the log that say the same.
const SELDOM_US: u64 = 60_000_000;

/// A monotonic clock that starts at 0, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// Microseconds since this clock was made. Never goes back.
    pub fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970. May jump.
    pub fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Lets one line a minute into the log, of what may happen very often.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// Monotonic time of the last line; 0 = none yet.
    last_us: AtomicU64,
}

impl Seldom {
    /// Whether this one is to be said; who asks says it.
    pub(crate) fn is_due(&self, clock: Clock) -> bool {
        let now_us = clock.monotonic_us().max(1);
        let last_us = self.last_us.load(Relaxed);
        let due = last_us == 0 || now_us.saturating_sub(last_us) >= SELDOM_US;
        due && self.last_us.compare_exchange(last_us, now_us, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once() {
        let (clock, seldom) = (Clock::default(), Seldom::default());
        assert!(seldom.is_due(clock));
        assert!((0..100).all(|_| !seldom.is_due(clock)));
        let now_us = seldom.last_us.load(Relaxed) + SELDOM_US;
        let later = Clock { start: clock.start - std::time::Duration::from_micros(now_us) };
        assert!(seldom.is_due(later) && !seldom.is_due(later));
    }
}
