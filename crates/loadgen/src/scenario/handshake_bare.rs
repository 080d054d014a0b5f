//! Full TLS handshakes without a server around them: what any server pays for clients that come over TLS.
//!
//! A thread accepts, shakes hands, and echoes once, with the library, certificate and ticket that Tidegate uses; the same
//! over bare sockets, in turns. The difference of its CPU time is the floor that a storm over TLS is compared with.

mod echo;

use std::io::{Read as _, Write as _};
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::Report;
use crate::clock::Deadline;
use crate::link::{Link, Tls};
use crate::socket::{Poll, Readiness, connect_nonblocking};
use echo::{Echo, MESSAGE};

/// Parts that the clients are split into, so that both ways see the same minute of the machine.
const TURNS: usize = 5;
/// How long a turn may take.
const TURN_MAX: Duration = Duration::from_secs(60);

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct HandshakeBare {
    /// Connections over TLS, and as many without
    #[arg(long, default_value_t = 5_000)]
    pub clients: usize,
    /// Connects on the way at the same time
    #[arg(long, default_value_t = 256)]
    pub window: usize,
    /// CPU that the answering thread stays on; any when none is named
    #[arg(long)]
    pub cpu: Option<usize>,
}

impl HandshakeBare {
    pub(crate) fn run(&self, report: &mut Report) -> Result<()> {
        let (client, server) = (Tls::new()?, echo::tls()?);
        let each = self.clients.div_ceil(TURNS).max(1);
        let (mut plain_ns, mut tls_ns) = (0, 0);
        // Turn 0 warms up and does not count.
        for turn in 0..=TURNS {
            let plain = self.turn(each, Echo::listen(None)?, None)?;
            let tls = self.turn(each, Echo::listen(Some(server.clone()))?, Some(&client))?;
            if turn > 0 {
                (plain_ns, tls_ns) = (plain_ns + plain, tls_ns + tls);
            }
        }
        let us_each = |ns: u64| ns as f64 / 1e3 / (each * TURNS) as f64;
        report.add("clients", (each * TURNS) as f64);
        report.add("cpu_us_per_plain_echo", us_each(plain_ns));
        report.add("cpu_us_per_tls_echo", us_each(tls_ns));
        report.add("cpu_us_per_handshake", us_each(tls_ns) - us_each(plain_ns));
        Ok(())
    }

    /// Brings `n` clients through; returns the nanoseconds of CPU of the thread that answered them.
    fn turn(&self, n: usize, echo: Echo, tls: Option<&Tls>) -> Result<u64> {
        let (to, deadline) = (echo.address()?, Deadline::after(TURN_MAX));
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || echo.answer(n, self.cpu, deadline));
            let came = Comers::new(to, tls)?.run(n, self.window.max(1), deadline);
            let spent = thread.join().map_err(|_| anyhow!("the answering thread panicked"))?;
            came?;
            spent
        })
    }
}

/// The clients' side.
struct Comers<'a> {
    to: SocketAddrV4,
    tls: Option<&'a Tls>,
    poll: Poll,
    /// Kept until all are through: what a close costs is not measured.
    links: Vec<Comer>,
    through: usize,
}

struct Comer {
    link: Link,
    sent: bool,
    got: usize,
}

impl<'a> Comers<'a> {
    fn new(to: SocketAddrV4, tls: Option<&'a Tls>) -> Result<Self> {
        Ok(Self { to, tls, poll: Poll::new()?, links: Vec::new(), through: 0 })
    }

    fn run(mut self, n: usize, window: usize, deadline: Deadline) -> Result<()> {
        while self.through < n {
            ensure!(!deadline.is_past(), "only {} of {n} echoes came back", self.through);
            while self.links.len() < n.min(self.through + window) {
                self.open()?;
            }
            self.poll.wait(Duration::from_millis(100))?;
            let mut event = 0;
            while let Some((id, readiness)) = self.poll.ready(event) {
                event += 1;
                let comer = self.links.get_mut(id).context("an event of nobody")?;
                self.through += usize::from(comer.advance(readiness).context("a client's connection")?);
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        let stream = connect_nonblocking(self.to, None).context("connect")?;
        self.poll.add(&stream, self.links.len())?;
        self.links.push(Comer { link: Link::over(stream, self.tls)?, sent: false, got: 0 });
        Ok(())
    }
}

impl Comer {
    /// Does what can be done; returns whether the echo is complete with it.
    fn advance(&mut self, readiness: Readiness) -> Result<bool> {
        let before = self.got;
        if readiness.read {
            self.read()?;
        }
        if !self.sent {
            self.sent = echo::now(self.link.write(MESSAGE))? == Some(MESSAGE.len());
            self.link.flush()?;
        }
        Ok(before < MESSAGE.len() && self.got == MESSAGE.len())
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 256];
        // Behind the echo there may be an end already.
        while self.got < MESSAGE.len() {
            let Some(n) = echo::now(self.link.read(&mut buffer))? else { return Ok(()) };
            ensure!(n > 0, "the other end is gone");
            ensure!(MESSAGE.get(self.got..self.got + n) == Some(&buffer[..n]), "the echo is another");
            self.got += n;
        }
        Ok(())
    }
}
