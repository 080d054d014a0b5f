//! The publishing side: HTTP requests on keep-alive connections, on a fixed schedule whatever the answers do.
//!
//! A channel is published on one connection only, one request at a time, so that its order is defined. What is due while
//! its connection waits for an answer stands in line; how late it got is reported.

mod http;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::clock::{now_ns, seconds};
use crate::mark::{Mark, Marker};
use crate::socket::Poll;
use crate::target::Checked;
use http::Connection;

/// Errors after which publishing stops.
const ERRORS_MAX: u64 = 20;

/// How much later than planned the last answer may come.
const OVERTIME: Duration = Duration::from_secs(10);

/// What to publish.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// Publishes per second over all connections; 0 = the next one as soon as the last was answered.
    pub(crate) rate: f64,
    pub(crate) span: Duration,
    /// Publishes that are due at the same moment; the mean rate stays.
    pub(crate) burst: u64,
    pub(crate) connections: usize,
    /// Stops after so many.
    pub(crate) count_max: u64,
    /// Poll and nap instead of sleeping until the answer is there: on loopback the server pays for waking a sleeper.
    pub(crate) nap: Option<Duration>,
    /// Subscribers of each channel; the index is the channel. Channels are taken at random.
    pub(crate) subscribers: Vec<u64>,
    /// Publications may reach subscribers as deltas.
    pub(crate) delta: bool,
}

/// What came of it so far, readable while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) acknowledged: AtomicU64,
    /// Deliveries that acknowledged publishes must lead to.
    pub(crate) expected: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) late_us_max: AtomicU64,
    pub(crate) answer_us_sum: AtomicU64,
    pub(crate) done: AtomicBool,
    pub(crate) first_error: std::sync::Mutex<Option<String>>,
}

impl Progress {
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Acquire)
    }

    fn error(&self, text: String) {
        self.errors.fetch_add(1, Ordering::AcqRel);
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert(text);
        }
    }
}

/// One connection and what stands in line for it.
struct Lane {
    connection: Connection,
    /// Channel and due time.
    line: VecDeque<(u32, u64)>,
    /// The channel that waits for its answer, and since when.
    waiting: Option<(u32, u64)>,
}

struct Publishing<'a> {
    target: &'a Checked,
    marker: &'a Marker,
    schedule: &'a Schedule,
    progress: &'a Progress,
    poll: Poll,
    lanes: Vec<Lane>,
    sequences: Vec<u32>,
    random: Random,
    scheduled: u64,
}

/// Publishes by the schedule; returns when the last answer came, or nothing came for too long.
///
/// # Errors
/// When no connection can be made. Failed publishes are counted in `progress`.
pub(crate) fn run(target: &Checked, marker: &Marker, schedule: &Schedule, progress: &Progress) -> Result<()> {
    let result = Publishing::open(target, marker, schedule, progress).and_then(|mut publishing| publishing.run());
    if let Err(error) = &result {
        progress.error(format!("publishing: {error:#}"));
    }
    progress.done.store(true, Ordering::Release);
    result
}

impl<'a> Publishing<'a> {
    fn open(target: &'a Checked, marker: &'a Marker, schedule: &'a Schedule, progress: &'a Progress) -> Result<Self> {
        let poll = Poll::new()?;
        let connections = schedule.connections.clamp(1, schedule.subscribers.len().max(1));
        let lanes = (0..connections)
            .map(|id| {
                Ok(Lane { connection: Connection::open(target, &poll, id)?, line: VecDeque::new(), waiting: None })
            })
            .collect::<Result<_>>()?;
        let sequences = vec![0; schedule.subscribers.len()];
        Ok(Self { target, marker, schedule, progress, poll, lanes, sequences, random: Random::new(1), scheduled: 0 })
    }

    fn run(&mut self) -> Result<()> {
        let start = now_ns();
        let end = start + self.schedule.span.as_nanos() as u64;
        let give_up = end + OVERTIME.as_nanos() as u64;
        let mut tick = 0;
        loop {
            let now = now_ns();
            let next_due = self.fill_lines(start, end, now, &mut tick);
            self.send_due()?;
            let idle = self.lanes.iter().all(|l| l.line.is_empty() && l.waiting.is_none());
            let stopped = Progress::get(&self.progress.errors) > ERRORS_MAX || now > give_up;
            match next_due {
                _ if stopped => return Ok(()),
                None if idle => return Ok(()),
                Some(due) if idle => std::thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns()))),
                _ => self.collect(next_due)?,
            }
        }
    }

    /// Puts in line what is due. Returns when the next is due; `None` when nothing more comes.
    fn fill_lines(&mut self, start: u64, end: u64, now: u64, tick: &mut u64) -> Option<u64> {
        if self.schedule.rate <= 0.0 {
            let more = now < end && self.scheduled < self.schedule.count_max;
            for at in 0..self.lanes.len() {
                if more && self.lanes[at].line.is_empty() && self.lanes[at].waiting.is_none() {
                    self.put_in_line(Some(at), now);
                }
            }
            return more.then_some(now);
        }
        let step = self.schedule.burst as f64 / self.schedule.rate * 1e9;
        loop {
            let due = start + (*tick as f64 * step) as u64;
            if due >= end || self.scheduled >= self.schedule.count_max {
                return None;
            }
            if due > now {
                return Some(due);
            }
            *tick += 1;
            for _ in 0..self.schedule.burst {
                self.put_in_line(None, due);
            }
        }
    }

    /// A publish to a random channel, or to a random one of a lane's.
    fn put_in_line(&mut self, lane: Option<usize>, due: u64) {
        if self.scheduled >= self.schedule.count_max {
            return;
        }
        self.scheduled += 1;
        let (channels, lanes) = (self.sequences.len(), self.lanes.len());
        let any = self.random.below(channels);
        let channel = match lane {
            None => any,
            Some(lane) => Some(any - any % lanes + lane).filter(|c| *c < channels).unwrap_or(lane),
        };
        self.lanes[channel % lanes].line.push_back((channel as u32, due));
    }

    fn send_due(&mut self) -> Result<()> {
        for (id, lane) in self.lanes.iter_mut().enumerate() {
            if lane.waiting.is_some() {
                continue;
            }
            let Some((channel, due)) = lane.line.pop_front() else { continue };
            let now = now_ns();
            let late = now.saturating_sub(due);
            self.progress.late_us_max.fetch_max(late / 1_000, Ordering::AcqRel);
            let sequence = self.sequences[channel as usize];
            self.sequences[channel as usize] += 1;
            let mut request = Vec::with_capacity(512);
            let at_ns = if self.schedule.burst > 1 { now } else { due };
            crate::wire::api_publish(
                &mut request,
                self.target,
                self.marker,
                Mark { channel, sequence, at_ns },
                self.schedule.delta,
            );
            lane.waiting = Some((channel, now));
            if lane.connection.is_closed() {
                lane.connection = Connection::open(self.target, &self.poll, id)?;
            }
            lane.connection.send(request);
            if lane.connection.is_closed() {
                // No event will tell: the socket left the set.
                lane.waiting = None;
                self.progress.error("publish: the server closed".into());
            }
        }
        Ok(())
    }

    /// Waits for answers, at most until the next publish is due.
    fn collect(&mut self, next_due: Option<u64>) -> Result<()> {
        let wait = next_due.map_or(20_000_000, |due| due.saturating_sub(now_ns())).clamp(50_000, 20_000_000);
        self.poll.wait(if self.schedule.nap.is_some() { Duration::ZERO } else { Duration::from_nanos(wait) })?;
        if let Some(nap) = self.schedule.nap.filter(|_| self.poll.ready(0).is_none()) {
            std::thread::sleep(nap);
        }
        let mut n = 0;
        while let Some((id, _)) = self.poll.ready(n) {
            n += 1;
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let Some(answer) = lane.connection.progress() else { continue };
            let Some((channel, since)) = lane.waiting.take() else { continue };
            match answer {
                Ok(()) => {
                    self.progress.answer_us_sum.fetch_add((now_ns() - since) / 1_000, Ordering::AcqRel);
                    self.progress.expected.fetch_add(self.schedule.subscribers[channel as usize], Ordering::AcqRel);
                    self.progress.acknowledged.fetch_add(1, Ordering::AcqRel);
                }
                Err(error) => self.progress.error(error),
            }
        }
        Ok(())
    }
}

/// A small fixed sequence (xorshift): every run takes the same channels.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

impl Schedule {
    /// Publishes at a rate for some time on one connection to channels with these numbers of subscribers.
    pub(crate) fn paced(rate: f64, span: f64, subscribers: Vec<u64>) -> Self {
        Self {
            rate,
            span: seconds(span),
            burst: 1,
            connections: 1,
            count_max: u64::MAX,
            nap: None,
            subscribers,
            delta: false,
        }
    }
}
