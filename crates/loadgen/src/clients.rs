//! All subscribers, on one thread: an epoll loop over non-blocking sockets with one read buffer for all of them.

mod carrier;
mod deltas;
mod session;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use tidegate_framing::websocket::handshake::Answer;

pub(crate) use carrier::{Carrier, Speech, Transport};
pub(crate) use session::{Plan, Session, Stage};

use crate::clock::{Deadline, now_ns};
use crate::link::Link;
use crate::mark::Marker;
use crate::socket::{Poll, Readiness, connect_nonblocking};
use crate::target::Checked;
use crate::verify::Tally;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Longest answer to a handshake.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// What all sessions share: how to speak, and what they found.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) target: Checked,
    pub(crate) speech: Speech,
    pub(crate) marker: Marker,
    pub(crate) tally: Tally,
    pub(crate) frames: u64,
    /// Read from sockets.
    pub(crate) bytes: u64,
    /// Joins that clients were told of.
    pub(crate) joins: u64,
    /// Deliveries that came as deltas.
    pub(crate) deltas: u64,
    pub(crate) pings: u64,
    /// Deliveries stamped earlier are counted, but not timed.
    pub(crate) measure_from_ns: u64,
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) connect_us: Histogram<u64>,
    /// Answer every delivery with the next publish.
    pub(crate) answer_own: bool,
}

#[derive(Debug)]
struct Connection {
    link: Link,
    carrier: Carrier,
    session: Session,
    /// The start of the handshake's answer.
    answer: Vec<u8>,
}

/// The subscribers of a run.
pub(crate) struct Clients {
    poll: Poll,
    connections: Vec<Connection>,
    pub(crate) shared: Shared,
    buffer: Vec<u8>,
    pub(crate) ready: usize,
    pub(crate) closed: usize,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Poll and nap instead of sleeping until something arrives: on loopback the sender pays for waking a sleeper.
    pub(crate) nap: Option<Duration>,
}

impl Clients {
    /// No clients yet. `size` is that of published data.
    pub(crate) fn new(target: Checked, size: usize) -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram");
        // Sixteen bits of the clock tell this run's publications from those that a channel still keeps.
        let marker = Marker::new((now_ns() >> 20) as u16, size);
        let (latency_us, connect_us) = (histogram()?, histogram()?);
        let shared = Shared {
            target,
            speech: Speech::default(),
            marker,
            tally: Tally::default(),
            frames: 0,
            bytes: 0,
            joins: 0,
            deltas: 0,
            pings: 0,
            measure_from_ns: 0,
            latency_us,
            connect_us,
            answer_own: false,
        };
        Ok(Self {
            poll: Poll::new()?,
            connections: Vec::new(),
            shared,
            buffer: vec![0; READ_BYTES],
            ready: 0,
            closed: 0,
            errors: 0,
            first_error: None,
            nap: None,
        })
    }

    /// The sessions, in the order of their plans.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.connections.iter().map(|c| &c.session)
    }

    /// Closes every socket without a word and forgets the sessions.
    pub(crate) fn drop_all(&mut self) {
        self.connections.clear();
        (self.ready, self.closed) = (0, 0);
    }

    /// Opens a client per plan, at most `window` of them on the way at a time and `pace` new ones per second. Returns
    /// how long it took; who is not ready then is in `errors` or still waiting.
    pub(crate) fn open_all(&mut self, plans: Vec<Plan>, window: usize, pace: f64, limit: Duration) -> Result<Duration> {
        let (start, deadline) = (now_ns(), Deadline::after(limit));
        let settled_before = self.ready + self.closed;
        let wanted = plans.len();
        let mut plans = plans.into_iter();
        let mut started = 0;
        loop {
            let settled = self.ready + self.closed - settled_before;
            while started < wanted && started - settled.min(started) < window {
                let elapsed = (now_ns() - start) as f64 / 1e9;
                if pace > 0.0 && started as f64 > elapsed * pace {
                    break;
                }
                let Some(plan) = plans.next() else { break };
                self.open(plan)?;
                started += 1;
            }
            if settled >= wanted || deadline.is_past() {
                return Ok(Duration::from_nanos(now_ns() - start));
            }
            self.turn(Duration::from_millis(if pace > 0.0 { 1 } else { 20 }))?;
        }
    }

    fn open(&mut self, plan: Plan) -> Result<()> {
        let address = plan.address.unwrap_or(self.shared.target.address);
        let stream =
            connect_nonblocking(address, plan.stall_with_buffer).with_context(|| format!("connect to {address}"))?;
        self.poll.add(&stream, self.connections.len())?;
        let link = Link::over(stream, self.shared.target.tls.as_ref())?;
        let session = Session::open(plan, &self.shared);
        let carrier = self.shared.speech.carrier();
        self.connections.push(Connection { link, carrier, session, answer: Vec::new() });
        Ok(())
    }

    /// Handles what the sockets have to say for some time.
    pub(crate) fn run_for(&mut self, span: Duration) -> Result<()> {
        let deadline = Deadline::after(span);
        while !deadline.is_past() {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// One look at the sockets.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<()> {
        self.poll.wait(if self.nap.is_some() { Duration::ZERO } else { timeout })?;
        if let Some(nap) = self.nap.filter(|_| !self.poll.was_full()) {
            std::thread::sleep(nap);
        }
        let mut n = 0;
        while let Some((id, readiness)) = self.poll.ready(n) {
            self.serve(id, readiness);
            n += 1;
        }
        Ok(())
    }

    /// Lets every ready client publish once on its own channel, and from then on answer what it gets.
    pub(crate) fn start_ping_pong(&mut self) {
        self.shared.answer_own = true;
        for id in 0..self.connections.len() {
            let connection = &mut self.connections[id];
            if connection.session.stage == Stage::Ready {
                connection.session.publish_own(&self.shared);
                connection.flush();
            }
        }
    }

    fn serve(&mut self, id: usize, readiness: Readiness) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let before = connection.session.stage;
        if before == Stage::Closed {
            return;
        }
        if readiness.write {
            connection.flush();
        }
        if readiness.read {
            connection.read(&mut self.buffer, &mut self.shared);
            connection.flush();
        }
        let after = connection.session.stage;
        self.ready += usize::from(before != Stage::Ready && after == Stage::Ready);
        self.ready -= usize::from(before == Stage::Ready && after != Stage::Ready);
        if after == Stage::Closed {
            self.closed += 1;
            self.errors += 1;
            connection.link.shut();
            let failure = connection.session.failure.take();
            self.first_error = self.first_error.take().or(failure);
        }
    }
}

impl Connection {
    fn stalls(&self) -> bool {
        self.session.stage == Stage::Ready && self.session.plan.stall_with_buffer.is_some()
    }

    /// Reads until the socket is empty: its readiness is reported once only.
    fn read(&mut self, buffer: &mut [u8], shared: &mut Shared) {
        while self.session.stage != Stage::Closed && !self.stalls() {
            match self.link.read(buffer) {
                Ok(0) => self.session.fail("the server ended the connection"),
                Ok(n) => {
                    shared.bytes += n as u64;
                    self.take(&mut buffer[..n], shared);
                    if n < buffer.len() && self.link.tells_when_empty() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.session.fail(format!("read: {error}")),
            }
        }
    }

    fn take(&mut self, bytes: &mut [u8], shared: &mut Shared) {
        if self.session.stage == Stage::Opening {
            self.answer.extend_from_slice(bytes);
            match self.carrier.answer(&self.answer, shared.speech) {
                Answer::Partial if self.answer.len() < ANSWER_BYTES_MAX => {}
                Answer::Partial => self.session.fail("the handshake's answer does not end"),
                Answer::Refused(status) => self.session.fail(format!("handshake refused: {status}")),
                Answer::Open(size) => {
                    let mut rest = std::mem::take(&mut self.answer).split_off(size);
                    self.session.on_open(shared);
                    self.carrier.take(&mut rest, &mut self.session, shared);
                }
            }
        } else {
            self.carrier.take(bytes, &mut self.session, shared);
        }
    }

    /// Sends what is to be sent, as far as the socket takes it.
    fn flush(&mut self) {
        if let Err(error) = self.link.flush() {
            self.session.fail(format!("write: {error}"));
        }
        while !self.session.out.is_empty() && self.session.stage != Stage::Closed {
            match self.link.write(&self.session.out) {
                Ok(n) => drop(self.session.out.drain(..n)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.session.fail(format!("write: {error}")),
            }
        }
        if self.session.out.is_empty() {
            // An idle client holds no buffer: the measured machine is also this one.
            self.session.out = Vec::new();
        }
    }
}
