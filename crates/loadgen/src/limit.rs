//! What the kernel alone costs: a process that does nothing but write ready frames to sockets, and its sink.
//!
//! [`Writer`] is the server without the server; it runs as a process of its own, pinned to the server's CPU, and counts
//! only the CPU time around its writes. On loopback a send also runs the receiving half of TCP in the sender's context,
//! so the figure is what any server has to pay. [`Probe`] starts it and reads what it writes.
//!
//! `write` is W in all ratios: one frame, one write. `concat:N` writes N frames joined beforehand.

mod writer;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_framing::websocket::handshake::{self, Answer};

pub use writer::{Variant, Writer};

use crate::clock::Deadline;
use crate::socket::{Poll, connect_nonblocking};

const NONCE: [u8; 16] = *b"tidegate limit..";

/// A whole probe ends by itself.
const PROBE_MAX: Duration = Duration::from_secs(300);

/// A run of the probe.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What the writer does.
    pub writer: Writer,
    /// How the sink rests between two looks at its sockets; see `nap` in the scenarios. Zero: it sleeps until bytes come.
    pub nap: Duration,
}

/// Microseconds of CPU per frame and socket, by variant.
pub type Costs = BTreeMap<String, f64>;

impl Probe {
    /// Starts the writer: `command` runs [`Writer::run`], its options are appended. It stays on the CPUs that the caller
    /// may use now.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        command.args(self.writer.to_args()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().context("start the limit probe")
    }

    /// Is the writer's sink until it ends, and reads its figures.
    ///
    /// # Errors
    /// When the writer fails, not all of its bytes arrived, or this end was too slow.
    pub fn finish(&self, mut child: Child) -> Result<Costs> {
        let result = self.talk(&mut child);
        if result.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().context("limit probe")?;
        ensure!(result.is_err() || status.success(), "the limit probe ended with {status}");
        result
    }

    fn talk(&self, child: &mut Child) -> Result<Costs> {
        let stdout = child.stdout.take().context("no output of the limit probe")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut line =
            || -> Result<String> { lines.next().context("the limit probe ended early")?.context("limit probe") };
        let port: u16 = line()?.parse().context("the limit probe names no port")?;
        let mut sink = Sink::open(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), self.writer.clients)?;
        let mut stdin = child.stdin.take().context("no input of the limit probe")?;
        stdin.write_all(b"go\n").context("limit probe")?;
        let bytes = sink.drain(self.nap)?;
        let outcome: writer::Outcome = serde_json::from_str(&line()?).context("limit probe")?;
        ensure!(outcome.bytes == bytes, "the limit probe wrote {} bytes and {bytes} arrived", outcome.bytes);
        ensure!(outcome.blocked == 0, "the limit probe's sink was too slow {} times", outcome.blocked);
        Ok(outcome.us_per_delivery)
    }
}

/// The other ends of the writer's sockets.
struct Sink {
    poll: Poll,
    streams: Vec<Option<TcpStream>>,
}

impl Sink {
    fn open(address: SocketAddrV4, n: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let streams = (0..n)
            .map(|id| {
                let stream = open_websocket(address).context("connect to the limit probe")?;
                poll.add(&stream, id)?;
                Ok(Some(stream))
            })
            .collect::<Result<_>>()?;
        Ok(Self { poll, streams })
    }

    /// Reads until every socket has ended.
    fn drain(&mut self, nap: Duration) -> Result<u64> {
        let (deadline, mut buffer, mut bytes) = (Deadline::after(PROBE_MAX), vec![0; 256 << 10], 0);
        let mut open = self.streams.len();
        while open > 0 {
            ensure!(!deadline.is_past(), "the limit probe does not end");
            let sleepless = !nap.is_zero();
            self.poll.wait(if sleepless { Duration::ZERO } else { Duration::from_millis(100) })?;
            if sleepless && !self.poll.was_full() {
                std::thread::sleep(nap);
            }
            let mut n = 0;
            while let Some((id, _)) = self.poll.ready(n) {
                n += 1;
                let Some(slot) = self.streams.get_mut(id) else { continue };
                let ended = slot.as_mut().is_some_and(|stream| read_all(stream, &mut buffer, &mut bytes));
                if ended {
                    *slot = None;
                    open -= 1;
                }
            }
        }
        Ok(bytes)
    }
}

/// Reads what is there; returns whether the stream has ended.
fn read_all(stream: &mut TcpStream, buffer: &mut [u8], bytes: &mut u64) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return true,
            Ok(n) => *bytes += n as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// A WebSocket, opened step by step; not blocking afterwards.
fn open_websocket(address: SocketAddrV4) -> Result<TcpStream> {
    let mut stream = connect_nonblocking(address, None)?;
    stream.set_nonblocking(false)?;
    stream.write_all(&handshake::request(&address.to_string(), "/", NONCE, None))?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1_024]);
    loop {
        let n = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..n]);
        match handshake::answer(&answer, NONCE, None) {
            Answer::Open(size) if size == answer.len() => break,
            Answer::Partial if n > 0 => {}
            other => bail!("handshake: {other:?}"),
        }
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}
