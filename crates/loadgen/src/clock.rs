//! Clocks in nanoseconds. A load generator measures real time, so nothing here can be replaced in tests.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: the same in all processes of this machine.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// Nanoseconds of CPU that this process used.
pub(crate) fn process_cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// Nanoseconds of CPU that this thread used.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A span of time that a loop runs for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn after(span: Duration) -> Self {
        Self(now_ns() + span.as_nanos() as u64)
    }

    pub(crate) fn is_past(self) -> bool {
        now_ns() >= self.0
    }
}

/// Seconds as given on a command line; never negative, never too large to add to a clock.
pub(crate) fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s.clamp(0.0, 86_400.0))
}
