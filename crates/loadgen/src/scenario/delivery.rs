//! Publish on one thread, receive and check on this one, and watch the server meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::Report;
use crate::clients::Clients;
use crate::clock::{Deadline, now_ns, process_cpu_ns, seconds};
use crate::publish::{self, Progress, Schedule};
use crate::usage::{Usage, tcp_buffer_bytes};

/// How long deliveries may come after the last publish was acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// What a span of publishing cost.
pub(super) struct Span {
    pub(super) published: u64,
    pub(super) wall: Duration,
    pub(super) before: Usage,
    pub(super) after: Usage,
    pub(super) rss_max_bytes: i64,
    pub(super) tcp_buffers_max_bytes: i64,
}

/// Publishes by the schedule, waits for what was acknowledged, and reports on the deliveries. Those of the first `warm`
/// seconds are checked, but not timed.
pub(super) fn run(clients: &mut Clients, schedule: &Schedule, warm: f64, report: &mut Report) -> Result<Span> {
    let (target, marker, pid) =
        (clients.shared.target.clone(), clients.shared.marker.clone(), clients.shared.target.pid);
    let (progress, earlier) = (Progress::default(), clients.shared.tally.clone());
    let (earlier_bytes, earlier_deliveries) = (clients.shared.bytes, clients.shared.tally.delivered);
    let before = Usage::of(pid);
    let (start, own_cpu) = (now_ns(), process_cpu_ns());
    clients.shared.measure_from_ns = start + seconds(warm).as_nanos() as u64;
    let mut peaks = Peaks { rss: before.rss_bytes, tcp: tcp_buffer_bytes(), next: Deadline::after(SAMPLE_EVERY) };
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish::run(&target, &marker, schedule, &progress));
        let received = receive(clients, &progress, earlier.unique(), &mut peaks);
        let published = publisher.join().map_err(|_| anyhow!("the publishing thread panicked"))?;
        received.and(published)
    })?;
    let after = Usage::of(pid);
    let span = Span {
        published: Progress::get(&progress.acknowledged),
        wall: Duration::from_nanos(now_ns() - start),
        before,
        after,
        rss_max_bytes: peaks.rss.max(after.rss_bytes),
        tcp_buffers_max_bytes: peaks.tcp,
    };
    let own_us = (process_cpu_ns() - own_cpu) as f64 / 1e3;
    describe(clients, &progress, &span, own_us, report);
    let (bytes, delivered) =
        (clients.shared.bytes - earlier_bytes, clients.shared.tally.delivered - earlier_deliveries);
    report.add("bytes_per_delivery", bytes as f64 / delivered.max(1) as f64);
    Ok(span)
}

struct Peaks {
    rss: i64,
    tcp: i64,
    next: Deadline,
}

impl Peaks {
    fn look(&mut self, pid: Option<u32>) {
        if self.next.is_past() {
            self.rss = self.rss.max(Usage::of(pid).rss_bytes);
            self.tcp = self.tcp.max(tcp_buffer_bytes());
            self.next = Deadline::after(SAMPLE_EVERY);
        }
    }
}

fn receive(clients: &mut Clients, progress: &Progress, earlier: u64, peaks: &mut Peaks) -> Result<()> {
    let mut last_call: Option<Deadline> = None;
    loop {
        clients.turn(Duration::from_millis(20))?;
        peaks.look(clients.shared.target.pid);
        if !progress.done.load(Ordering::Acquire) {
            continue;
        }
        let missing = clients.shared.tally.unique() - earlier < Progress::get(&progress.expected);
        let deadline = *last_call.get_or_insert_with(|| Deadline::after(PATIENCE));
        if !missing || deadline.is_past() {
            return Ok(());
        }
    }
}

fn describe(clients: &Clients, progress: &Progress, span: &Span, own_us: f64, report: &mut Report) {
    let (tally, wall) = (&clients.shared.tally, span.wall.as_secs_f64());
    let delivered = tally.delivered as f64;
    report.add("published", span.published as f64);
    report.add("publishes_per_s", span.published as f64 / wall);
    report.add("publish_errors", Progress::get(&progress.errors) as f64);
    report.add("publish_late_max_us", Progress::get(&progress.late_us_max) as f64);
    let answers = Progress::get(&progress.answer_us_sum) as f64 / span.published.max(1) as f64;
    report.add("publish_answer_mean_us", answers);
    report.add("delivered", delivered);
    report.add("lost", Progress::get(&progress.expected) as f64 - tally.unique() as f64);
    report.add("duplicated", tally.duplicated as f64);
    report.add("reordered", tally.reordered as f64);
    report.add("corrupted", tally.corrupted as f64);
    report.add("foreign", tally.foreign as f64);
    report.add("deliveries_per_s", delivered / wall);
    report.add("deliveries_per_frame", delivered / clients.shared.frames.max(1) as f64);
    report.add_histogram("latency", &clients.shared.latency_us);
    if clients.shared.target.pid.is_some() {
        let cpu_us = span.after.cpu_us_since(&span.before);
        report.add("cpu_us_per_delivery", cpu_us / delivered.max(1.0));
        report.add("user_us_per_delivery", span.after.user_us_since(&span.before) / delivered.max(1.0));
        report.add("cpu_us_per_publish", cpu_us / span.published.max(1) as f64);
        report.add("server_cpu_share", cpu_us / 1e6 / wall);
        report.add("rss_start_bytes", span.before.rss_bytes as f64);
        report.add("rss_end_bytes", span.after.rss_bytes as f64);
        report.add("threads", span.after.threads as f64);
    }
    report.add("loadgen_us_per_delivery", own_us / delivered.max(1.0));
    if report.first_error.is_none() {
        report.first_error = progress.first_error.lock().ok().and_then(|mut first| first.take());
    }
}
