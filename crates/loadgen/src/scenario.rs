//! The workloads. Each is a set of options, which is also its command line, and a run that fills a report.

mod deliver;
mod delivery;
mod fan_out;
mod handshake_bare;
mod http2_streams;
mod http_publish;
mod idle;
#[cfg(feature = "kafka")]
mod kafka_bare;
#[cfg(feature = "kafka")]
mod kafka_warm_up;
mod many_channels;
pub(crate) mod overhead;
mod ping_pong;
mod presence_joins;
mod recover;
mod slow_readers;
mod storm;

use std::time::Duration;

use anyhow::{Result, ensure};

pub use deliver::Deliver;
pub use fan_out::FanOut;
pub use handshake_bare::HandshakeBare;
pub use http_publish::HttpPublish;
pub use http2_streams::Http2Streams;
pub use idle::Idle;
#[cfg(feature = "kafka")]
pub use kafka_bare::KafkaBare;
#[cfg(feature = "kafka")]
pub use kafka_warm_up::KafkaWarmUp;
pub use many_channels::ManyChannels;
pub use overhead::Overhead;
pub use ping_pong::PingPong;
pub use presence_joins::PresenceJoins;
pub use recover::Recover;
pub use slow_readers::SlowReaders;
pub use storm::Storm;

use crate::Report;
use crate::clients::{Clients, Plan, Speech, Transport};
use crate::clock::seconds;
use crate::target::Checked;
use crate::usage::Usage;

/// A workload with its options.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Scenario {
    /// One channel, many subscribers: paced or in bursts
    FanOut(FanOut),
    /// Many channels with a few subscribers each, published to at random
    ManyChannels(ManyChannels),
    /// Connections that do nothing: memory of each, CPU of pings
    Idle(Idle),
    /// Connect and subscribe, as many at a time as wanted
    Storm(Storm),
    /// Clients leave, miss publications and come back
    Recover(Recover),
    /// Fan-out while some subscribers never read
    SlowReaders(SlowReaders),
    /// Each client publishes on its own channel as soon as it got its last publication
    PingPong(PingPong),
    /// Clients join one channel on several nodes, beside deliveries on other channels
    PresenceJoins(PresenceJoins),
    /// Publishes by HTTP on keep-alive connections, one subscriber per channel
    HttpPublish(HttpPublish),
    /// Publishes by HTTP at a steady rate: how long until each is delivered, through whatever broker the server has
    Deliver(Deliver),
    /// Server-sent events over HTTP/2, many on a connection
    Http2Streams(Http2Streams),
    /// TLS handshakes without a server: what `storm` over TLS compares with
    HandshakeBare(HandshakeBare),
    /// Bytes of a delivery on the socket, by transport and encoding
    Overhead(Overhead),
    /// Kafka without a server: how long from a producer to a consumer, which `deliver` through Kafka compares with
    #[cfg(feature = "kafka")]
    KafkaBare(KafkaBare),
    /// The first subscription in a partition of Kafka that many records come into
    #[cfg(feature = "kafka")]
    KafkaWarmUp(KafkaWarmUp),
}

impl Scenario {
    /// Its name, as on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FanOut(_) => "fan-out",
            Self::ManyChannels(_) => "many-channels",
            Self::Idle(_) => "idle",
            Self::Storm(_) => "storm",
            Self::Recover(_) => "recover",
            Self::SlowReaders(_) => "slow-readers",
            Self::PingPong(_) => "ping-pong",
            Self::PresenceJoins(_) => "presence-joins",
            Self::HttpPublish(_) => "http-publish",
            Self::Deliver(_) => "deliver",
            Self::Http2Streams(_) => "http2-streams",
            Self::HandshakeBare(_) => "handshake-bare",
            Self::Overhead(_) => "overhead",
            #[cfg(feature = "kafka")]
            Self::KafkaBare(_) => "kafka-bare",
            #[cfg(feature = "kafka")]
            Self::KafkaWarmUp(_) => "kafka-warm-up",
        }
    }

    /// Connections that it opens.
    pub(crate) fn clients(&self) -> usize {
        match self {
            Self::FanOut(o) => o.clients,
            Self::ManyChannels(o) => o.clients,
            Self::Idle(o) => o.clients,
            Self::Storm(o) => o.clients,
            Self::Recover(o) => o.clients,
            Self::SlowReaders(o) => o.clients,
            Self::PingPong(o) => o.clients,
            Self::PresenceJoins(o) => o.clients + o.channels,
            Self::HttpPublish(o) => o.channels + o.connections,
            Self::Deliver(o) => 2 * o.channels,
            Self::Http2Streams(o) => o.streams.div_ceil(o.per_connection.max(1)),
            // Both ends are here, and those of a turn before may still be closing.
            Self::HandshakeBare(o) => o.clients,
            Self::Overhead(_) => 2,
            #[cfg(feature = "kafka")]
            Self::KafkaBare(_) => 0,
            #[cfg(feature = "kafka")]
            Self::KafkaWarmUp(_) => 1,
        }
    }

    pub(crate) fn run(&self, target: &Checked) -> Result<Report> {
        let mut report = Report::new(self.name());
        match self {
            Self::FanOut(o) => o.run(target, &mut report),
            Self::ManyChannels(o) => o.run(target, &mut report),
            Self::Idle(o) => o.run(target, &mut report),
            Self::Storm(o) => o.run(target, &mut report),
            Self::Recover(o) => o.run(target, &mut report),
            Self::SlowReaders(o) => o.run(target, &mut report),
            Self::PingPong(o) => o.run(target, &mut report),
            Self::PresenceJoins(o) => o.run(target, &mut report),
            Self::HttpPublish(o) => o.run(target, &mut report),
            Self::Deliver(o) => o.run(target, &mut report),
            Self::Http2Streams(o) => o.run(target, &mut report),
            Self::HandshakeBare(o) => o.run(&mut report),
            Self::Overhead(o) => o.run(target, &mut report),
            #[cfg(feature = "kafka")]
            Self::KafkaBare(o) => o.run(&mut report),
            #[cfg(feature = "kafka")]
            Self::KafkaWarmUp(o) => o.run(target, &mut report),
        }?;
        Ok(report)
    }
}

/// How clients come.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Opening {
    /// Connects on the way at the same time
    #[arg(long, default_value_t = 256)]
    pub window: usize,
    /// Connects per second; 0 = as fast as the window allows
    #[arg(long, default_value_t = 0.0)]
    pub pace: f64,
    /// Seconds after which opening is given up
    #[arg(long, default_value_t = 120.0)]
    pub open_max: f64,
    /// What carries messages. But for a WebSocket, clients answer no pings: keep a run below the server's interval
    #[arg(long, value_enum, default_value_t)]
    pub transport: Transport,
    /// Speak Protobuf instead of JSON; not over server-sent events
    #[arg(long)]
    pub protobuf: bool,
}

impl Opening {
    /// Opens a client per plan; all must become ready.
    fn open(&self, clients: &mut Clients, plans: Vec<Plan>) -> Result<Duration> {
        let speech = Speech { transport: self.transport, protobuf: self.protobuf };
        ensure!(!(speech.protobuf && speech.transport == Transport::Sse), "server-sent events carry text only");
        clients.shared.speech = speech;
        let wanted = clients.ready + plans.len();
        let took = clients.open_all(plans, self.window.max(1), self.pace, seconds(self.open_max))?;
        let (ready, errors) = (clients.ready, clients.errors);
        let first = clients.first_error.as_deref().unwrap_or("none");
        ensure!(ready == wanted, "only {ready} of {wanted} clients became ready, {errors} errors, the first: {first}");
        Ok(took)
    }
}

/// Plans with one channel each: the same for all.
fn one_channel(clients: usize) -> Vec<Plan> {
    vec![Plan { channels: vec![0], ..Plan::default() }; clients]
}

/// Adds what every report ends with.
fn finish(clients: &mut Clients, report: &mut Report) {
    report.add("pings", clients.shared.pings as f64);
    report.add("errors", clients.errors as f64);
    if report.first_error.is_none() {
        report.first_error = clients.first_error.take();
    }
}

/// Adds the CPU of one span, per item, where the server's pid is known.
fn add_cpu(report: &mut Report, name: &str, target: &Checked, span: (&Usage, &Usage), items: f64) {
    if target.pid.is_some() {
        report.add(name, span.1.cpu_us_since(span.0) / items.max(1.0));
    }
}
