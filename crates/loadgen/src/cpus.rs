//! Which CPUs a thread runs on.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Restricts this thread, and what it starts, to one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("run on CPU {cpu}"))
}

/// Runs `start` on one CPU: a process that it starts stays there.
pub(crate) fn pinned<T>(cpu: usize, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None).context("CPUs of this process")?;
    pin(cpu)?;
    let result = start();
    sched_setaffinity(None, &before).context("CPUs of this process")?;
    result
}
