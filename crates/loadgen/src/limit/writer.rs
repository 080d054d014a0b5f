//! The writing process of the limit probe.

use std::fmt;
use std::io::{BufRead as _, ErrorKind, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tidegate_framing::http::Head;
use tidegate_framing::websocket::{Opcode, handshake, write_frame};

use super::Costs;
use crate::clock::process_cpu_ns;

/// Parts that a variant's deliveries are split into, so that all variants see the same minute of the machine.
const SLICES: usize = 4;

/// Frames joined in one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant(pub usize);

impl FromStr for Variant {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix("concat:") {
            None if s == "write" => Ok(Self(1)),
            Some(n) => {
                n.parse().ok().filter(|n| (2..=1_024).contains(n)).map(Self).ok_or("concat:2 to concat:1024".into())
            }
            None => Err("write or concat:N".into()),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("write"),
            n => write!(f, "concat:{n}"),
        }
    }
}

/// Options of the writing process.
#[derive(Debug, Clone, clap::Args)]
pub struct Writer {
    /// Sockets
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Bytes of payload in a frame
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// Frames that all sockets together get, per variant
    #[arg(long, default_value_t = 40_000)]
    pub deliveries: usize,
    /// Microseconds of rest between two rounds over the sockets: caches get cold, as between two publications
    #[arg(long, default_value_t = 50_000)]
    pub gap_us: u64,
    /// What to measure: write, concat:N
    #[arg(long, value_delimiter = ',', default_value = "write")]
    pub variants: Vec<Variant>,
}

/// What the process prints at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) us_per_delivery: Costs,
    pub(super) bytes: u64,
    /// Writes that found a full socket.
    pub(super) blocked: u64,
}

impl Writer {
    pub(super) fn to_args(&self) -> Vec<String> {
        let variants: Vec<String> = self.variants.iter().map(Variant::to_string).collect();
        let mut args = vec![format!("--variants={}", variants.join(","))];
        args.extend([
            format!("--clients={}", self.clients),
            format!("--size={}", self.size),
            format!("--deliveries={}", self.deliveries),
            format!("--gap-us={}", self.gap_us),
        ]);
        args
    }

    /// Is the writing process: prints its port, accepts, waits for a line, writes, prints the outcome.
    ///
    /// # Errors
    /// When the sockets fail.
    pub fn run(&self) -> Result<()> {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        println!("{}", listener.local_addr()?.port());
        let mut streams = (0..self.clients).map(|_| accept(&listener)).collect::<Result<Vec<_>>>()?;
        std::io::stdin().lock().read_line(&mut String::new())?;
        let outcome = self.measure(&mut streams)?;
        drop(streams);
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(())
    }

    fn measure(&self, streams: &mut [TcpStream]) -> Result<Outcome> {
        let mut outcome = Outcome { us_per_delivery: Costs::new(), bytes: 0, blocked: 0 };
        let mut totals = vec![(0u64, 0u64); self.variants.len()];
        // Slice 0 warms up and does not count.
        for slice in 0..=SLICES {
            for (variant, total) in self.variants.iter().zip(&mut totals) {
                let (cpu, frames) = self.slice(streams, *variant, &mut outcome)?;
                if slice > 0 {
                    *total = (total.0 + cpu, total.1 + frames);
                }
            }
        }
        for (variant, (cpu, frames)) in self.variants.iter().zip(totals) {
            outcome.us_per_delivery.insert(variant.to_string(), cpu as f64 / 1e3 / frames.max(1) as f64);
        }
        Ok(outcome)
    }

    fn slice(&self, streams: &mut [TcpStream], variant: Variant, outcome: &mut Outcome) -> Result<(u64, u64)> {
        let mut frames = Vec::new();
        for _ in 0..variant.0 {
            write_frame(&mut frames, Opcode::Text, &vec![b'x'; self.size]);
        }
        let per_round = streams.len() * variant.0;
        let rounds = (self.deliveries / SLICES / per_round.max(1)).max(1);
        let mut cpu = 0;
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_micros(self.gap_us));
            let start = process_cpu_ns();
            for stream in streams.iter_mut() {
                write_all(stream, &frames, &mut outcome.blocked)?;
            }
            cpu += process_cpu_ns() - start;
        }
        outcome.bytes += (rounds * streams.len() * frames.len()) as u64;
        Ok((cpu, (rounds * per_round) as u64))
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8], blocked: &mut u64) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *blocked += 1;
                let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(&*stream, PollFlags::OUT)], Some(&timeout))?;
            }
            Err(error) => return Err(error).context("write"),
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (mut stream, _) = listener.accept().context("accept")?;
    let (mut request, mut buffer) = (Vec::new(), [0; 1_024]);
    let response = loop {
        let n = stream.read(&mut buffer).context("handshake")?;
        request.extend_from_slice(&buffer[..n]);
        match Head::parse(&request)? {
            Some(head) => break handshake::check(&head)?.response(None),
            None if n == 0 => bail!("the sink went away"),
            None => {}
        }
    };
    stream.write_all(&response)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_read_and_print_alike() {
        for text in ["write", "concat:8", "concat:32"] {
            assert_eq!(text.parse::<Variant>().unwrap().to_string(), text);
        }
        for text in ["", "concat:1", "concat:x", "uring"] {
            assert!(text.parse::<Variant>().is_err(), "{text}");
        }
    }
}
