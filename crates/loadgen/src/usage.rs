//! What the server and the kernel use, read from `/proc`.

use std::fs;

/// CPU and memory of a process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU of all its living threads.
    pub(crate) cpu_ns: u64,
    /// The part of it outside of the kernel, in clock ticks of 10 ms.
    pub(crate) user_ns: u64,
    /// Resident memory.
    pub(crate) rss_bytes: i64,
    pub(crate) threads: u64,
}

impl Usage {
    /// Reads a process; zeros for what cannot be read, or without a pid.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let Some(pid) = pid else { return Self::default() };
        let (ticks, user_ns, threads) = stat(pid).unwrap_or_default();
        let cpu_ns = scheduled_ns(pid).unwrap_or(ticks);
        Self { cpu_ns, user_ns, rss_bytes: rss(pid).unwrap_or(0), threads }
    }

    /// CPU used since `earlier`, in microseconds.
    pub(crate) fn cpu_us_since(&self, earlier: &Self) -> f64 {
        self.cpu_ns.saturating_sub(earlier.cpu_ns) as f64 / 1e3
    }

    /// CPU used outside of the kernel since `earlier`, in microseconds.
    pub(crate) fn user_us_since(&self, earlier: &Self) -> f64 {
        self.user_ns.saturating_sub(earlier.user_ns) as f64 / 1e3
    }
}

/// Whole CPU and user part in ticks, and the threads.
fn stat(pid: u32) -> Option<(u64, u64, u64)> {
    const TICK_NS: u64 = 10_000_000;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also a parenthesis.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let field = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let (user, system) = (field(11)?, field(12)?);
    Some(((user + system) * TICK_NS, user * TICK_NS, field(17)?))
}

/// Nanoseconds on a CPU, summed over threads: finer than the ticks of `stat`.
fn scheduled_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_task = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let times: Vec<u64> = tasks.flatten().filter_map(|task| of_task(task.path())).collect();
    (!times.is_empty()).then(|| times.iter().sum())
}

fn rss(pid: u32) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_line(&text, "VmRSS:")
}

/// Memory that the kernel keeps for sockets on the whole machine: slab, and TCP buffers.
pub(crate) fn kernel_bytes() -> i64 {
    let slab = fs::read_to_string("/proc/meminfo").ok().and_then(|t| kib_line(&t, "Slab:")).unwrap_or(0);
    slab + tcp_buffer_bytes()
}

/// Pages of TCP buffers on the whole machine.
pub(crate) fn tcp_buffer_bytes() -> i64 {
    const PAGE: i64 = 4_096;
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = line.and_then(|line| line.split_whitespace().last()).and_then(|n| n.parse::<i64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// SYN segments that were sent again, since boot: a listen queue overflowed, or connects were lost.
pub(crate) fn syn_retransmits() -> i64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split(' ').position(|name| name == "TCPSynRetrans");
    at.and_then(|at| values.split(' ').nth(at)).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn kib_line(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_can_be_read() {
        let usage = Usage::of(Some(std::process::id()));
        assert!(usage.rss_bytes > 100_000 && usage.threads >= 1, "{usage:?}");
        assert!(kernel_bytes() > 0 && syn_retransmits() >= 0);
        assert_eq!(Usage::of(None).rss_bytes, 0);
    }
}
