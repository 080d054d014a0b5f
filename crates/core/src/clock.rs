//! The node's clocks in one place. They drive deadlines of this node and stamp metrics; they decide nothing that other
//! nodes must agree on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
