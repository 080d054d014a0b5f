//! Server-sent events over HTTP/2, so many on each connection: what a delivery costs, and what a stream takes.
//!
//! By prior knowledge, without TLS. The client is the library's, with one thread for all connections; publications come from
//! another one, and every delivery is checked as elsewhere.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

use super::add_cpu;
use crate::Report;
use crate::clock::{Deadline, now_ns, seconds};
use crate::mark::Marker;
use crate::publish::{self, Progress, Schedule};
use crate::target::Checked;
use crate::usage::Usage;
use crate::verify::{Subscription, Tally};
use crate::wire::{self, Line, Reply, SubscribeOptions};

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Http2Streams {
    /// Streams, all of one channel
    #[arg(long, default_value_t = 1_000)]
    pub streams: usize,
    /// Streams on a connection
    #[arg(long, default_value_t = 20)]
    pub per_connection: usize,
    /// Publications per second
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Seconds between the last subscribe and the first publish
    #[arg(long, default_value_t = 1.0)]
    pub settle: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// As with fan-out
    #[arg(long, default_value_t = 0)]
    pub nap_us: u64,
}

/// How long opening, and deliveries after the last publish, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at how far all streams are.
const LOOK: Duration = Duration::from_millis(5);
/// What a client takes before it says that it did.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

impl Http2Streams {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(target.tls.is_none(), "HTTP/2 is spoken by prior knowledge: use ws://");
        ensure!(self.streams > 0 && self.per_connection > 0, "--streams and --per-connection must be above zero");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
        LocalSet::new().block_on(&runtime, self.load(target, report))
    }

    async fn load(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let marker = Marker::new((now_ns() >> 20) as u16, self.size);
        let seen = Rc::new(RefCell::new(Seen::new(marker.clone())));
        let before = Usage::of(target.pid);
        let connections = self.open(target, &seen).await?;
        sleep(seconds(self.settle)).await;
        let opened = Usage::of(target.pid);
        let streams = self.streams as f64;
        report.add("streams", streams);
        report.add("connections", connections.len() as f64);
        add_cpu(report, "cpu_us_per_connect", target, (&before, &opened), streams);
        if target.pid.is_some() {
            report.add("rss_bytes_per_stream", (opened.rss_bytes - before.rss_bytes) as f64 / streams);
        }
        let nap = (self.nap_us > 0).then(|| Duration::from_micros(self.nap_us));
        if let Some(nap) = nap {
            // The thread then never waits for the server, which would pay for waking it.
            spawn_local(async move {
                loop {
                    std::thread::sleep(nap);
                    yield_now().await;
                }
            });
        }
        let paced = Schedule::paced(self.rate, self.seconds, vec![self.streams as u64]);
        let schedule = Schedule { nap, ..paced };
        let progress = deliver(target, &marker, schedule, &seen).await?;
        let after = Usage::of(target.pid);
        describe(&seen.borrow(), &progress, report);
        add_cpu(report, "cpu_us_per_delivery", target, (&opened, &after), seen.borrow().tally.delivered as f64);
        Ok(())
    }

    /// Opens all streams, each subscribed to the channel.
    async fn open(&self, target: &Checked, seen: &Rc<RefCell<Seen>>) -> Result<Vec<SendRequest<Bytes>>> {
        let mut connections = Vec::new();
        let mut left = self.streams;
        while left > 0 {
            let socket =
                TcpStream::connect(target.address).await.with_context(|| format!("connect to {}", target.address))?;
            socket.set_nodelay(true)?;
            let mut builder = Builder::new();
            builder.initial_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
            let (mut requests, connection) = builder.handshake(socket).await.context("HTTP/2")?;
            spawn_local(async move {
                // What ends it is seen by its streams.
                let _ = connection.await;
            });
            for _ in 0..left.min(self.per_connection) {
                requests = requests.ready().await.context("another stream")?;
                let body = open_stream(target, &mut requests).await?;
                spawn_local(listen(body, seen.clone()));
            }
            left -= left.min(self.per_connection);
            connections.push(requests);
        }
        let deadline = Deadline::after(PATIENCE);
        while seen.borrow().subscribed < self.streams {
            ensure!(!deadline.is_past(), "{} of {} streams are subscribed", seen.borrow().subscribed, self.streams);
            seen.borrow().check()?;
            sleep(LOOK).await;
        }
        Ok(connections)
    }
}

/// Publishes on a thread of its own, until all that was acknowledged is there.
async fn deliver(target: &Checked, marker: &Marker, schedule: Schedule, seen: &Rc<RefCell<Seen>>) -> Result<Progress> {
    let progress = Arc::new(Progress::default());
    let (target, marker, told) = (target.clone(), marker.clone(), progress.clone());
    let publisher = std::thread::spawn(move || publish::run(&target, &marker, &schedule, &told));
    let mut last_call = None;
    loop {
        sleep(LOOK).await;
        seen.borrow().check()?;
        if !progress.done.load(Ordering::Acquire) {
            continue;
        }
        let deadline = *last_call.get_or_insert_with(|| Deadline::after(PATIENCE));
        if seen.borrow().tally.unique() >= Progress::get(&progress.expected) || deadline.is_past() {
            break;
        }
    }
    publisher.join().map_err(|_| anyhow!("the publishing thread panicked"))??;
    Arc::into_inner(progress).context("the publishing thread has ended")
}

/// Asks for a stream that begins with connect and subscribe.
async fn open_stream(target: &Checked, requests: &mut SendRequest<Bytes>) -> Result<RecvStream> {
    let options = SubscribeOptions { recoverable: true, ..SubscribeOptions::default() };
    let commands = [wire::connect(target), wire::subscribe(&target.prefix, [0].into_iter(), &options)].join("\n");
    let uri = format!("http://{}{}", target.address, target.path.replace("/websocket", "/sse"));
    let request = Request::post(uri).header("content-type", "application/json").body(())?;
    let (response, mut body) = requests.send_request(request, false)?;
    body.send_data(commands.into(), true)?;
    let response = response.await.context("no answer to the request for a stream")?;
    ensure!(response.status().is_success(), "status {}", response.status());
    Ok(response.into_body())
}

/// What all streams saw.
struct Seen {
    marker: Marker,
    tally: Tally,
    subscribed: usize,
    bytes: u64,
    pings: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    fn new(marker: Marker) -> Self {
        let tally = Tally::default();
        Self { marker, tally, subscribed: 0, bytes: 0, pings: 0, errors: 0, first_error: None }
    }

    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.errors == 0,
            "{} errors, the first: {}",
            self.errors,
            self.first_error.as_deref().unwrap_or("none")
        );
        Ok(())
    }

    fn take(&mut self, message: &[u8], subscription: &mut Subscription) {
        for line in wire::lines(message) {
            match line {
                Line::Ping => self.pings += 1,
                Line::Push(push) => {
                    let mut at = 0;
                    while let Some(found) = self.marker.find(push, at) {
                        self.tally.take(std::slice::from_mut(subscription), found.mark, found.intact);
                        at = found.end;
                    }
                }
                Line::Reply(reply) => match wire::reply(reply) {
                    Reply::Subscribed { .. } => self.subscribed += 1,
                    Reply::Failed(why) => self.fail(why),
                    Reply::Connected | Reply::Done => {}
                },
            }
        }
    }
}

/// Takes all events of a stream.
async fn listen(mut body: RecvStream, seen: Rc<RefCell<Seen>>) {
    let (mut rest, mut subscription) = (Vec::new(), Subscription::new(0));
    while let Some(data) = body.data().await {
        let data = match data {
            Ok(data) => data,
            Err(error) => return seen.borrow_mut().fail(format!("a stream ended: {error}")),
        };
        // It fails where more is given back than was taken.
        let _ = body.flow_control().release_capacity(data.len());
        let mut seen = seen.borrow_mut();
        seen.bytes += data.len() as u64;
        rest.extend_from_slice(&data);
        let end = memchr::memmem::rfind(&rest, b"\n\n").map_or(0, |at| at + 2);
        for line in rest[..end].split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
            seen.take(line, &mut subscription);
        }
        rest.drain(..end);
    }
    seen.borrow_mut().fail("the server ended a stream".to_owned());
}

fn describe(seen: &Seen, progress: &Progress, report: &mut Report) {
    let tally = &seen.tally;
    report.add("published", Progress::get(&progress.acknowledged) as f64);
    report.add("publish_errors", Progress::get(&progress.errors) as f64);
    report.add("delivered", tally.delivered as f64);
    report.add("lost", Progress::get(&progress.expected) as f64 - tally.unique() as f64);
    report.add("duplicated", tally.duplicated as f64);
    report.add("reordered", tally.reordered as f64);
    report.add("corrupted", tally.corrupted as f64);
    report.add("foreign", tally.foreign as f64);
    report.add("pings", seen.pings as f64);
    report.add("errors", seen.errors as f64);
    report.first_error.clone_from(&seen.first_error);
}
