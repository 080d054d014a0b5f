//! What a case of the suite is, and what it has to reach.

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::limit::Writer;
use crate::scenario::Scenario;

/// A case of the suite.
#[derive(Debug)]
pub struct Case {
    /// Its short name.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// The scenario, as `tidegate bench` takes it, with {kafka} and {nodes} to fill in.
    pub scenario: &'static str,
    /// Options of the limit probe that runs beside it.
    pub probe: Option<&'static str>,
    /// The broker of our server, with {dir} and {kafka} to fill in. Without one no server is started.
    pub broker: Option<&'static str>,
    /// Partitions of the topic that the case needs in Kafka; 0 = it needs no Kafka.
    pub partitions: i32,
    /// So many of our servers share the broker, and the CPU. The first one is the target.
    pub nodes: u16,
    /// Configuration of our server beside what its command says, in TOML.
    pub config: &'static str,
    /// The shards of our server.
    pub shards: &'static str,
    /// It runs in no fewer rounds than these, however few are asked for.
    pub rounds_min: usize,
    /// Whether our server speaks TLS.
    pub tls: bool,
    /// Whether other servers take part.
    pub for_all: bool,
    /// What our server has to reach.
    pub bars: &'static [Bar],
}

/// A bar: a figure, what it is divided by, and where the quotient has to lie.
#[derive(Debug)]
pub struct Bar {
    /// The figure of the report.
    pub figure: &'static str,
    /// What it is divided by, in the same round.
    pub by: By,
    /// Where the quotient has to lie.
    pub wanted: Wanted,
    /// What would be better still.
    pub stretch: Option<f64>,
}

/// What a figure is divided by.
#[derive(Debug, Clone, Copy)]
pub enum By {
    /// A plain write of the limit probe in this case.
    Write,
    /// The same figure of our server in another case.
    Case(&'static str),
    /// The same figure in two other cases, added.
    Sum(&'static str, &'static str),
    /// Nothing, and the same figure of our server in another case is taken off first.
    Above(&'static str),
    /// The same figure of our server in another case is taken off first, and the rest divided by the floor: a figure of a
    /// case without a server.
    AboveByFloor {
        /// What is taken off.
        other: &'static str,
        /// The case without a server, and its figure.
        floor: (&'static str, &'static str),
    },
    /// Nothing.
    One,
}

/// A bound of a bar.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Wanted {
    /// Whether a value is within.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Case {
    /// Whether it can run only beside a Kafka.
    pub fn needs_kafka(&self) -> bool {
        self.partitions > 0
    }

    /// The scenario with everything filled in.
    pub(super) fn filled(&self, kafka: &str, nodes: &[String]) -> String {
        self.scenario.replace("{kafka}", kafka).replace("{nodes}", &nodes.join(" "))
    }

    /// The scenario as somebody types it: PID stands for the process id of a server, TOPIC for a topic.
    pub(super) fn typed(&self) -> String {
        let nodes: Vec<_> = (1..self.nodes).map(|n| format!("--node 127.0.0.1:{}=PID", 8_000 + n)).collect();
        self.filled("--kafka 127.0.0.1:9092 --topic TOPIC", &nodes)
    }
}

/// Reads a scenario's command line.
pub(super) fn parse_scenario(text: &str) -> Result<Scenario> {
    #[derive(clap::Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(subcommand)]
        scenario: Scenario,
    }
    let line = Line::try_parse_from(text.split_whitespace()).with_context(|| format!("scenario {text:?}"))?;
    Ok(line.scenario)
}

/// Reads the options of the limit probe.
pub(super) fn parse_writer(text: &str) -> Result<Writer> {
    #[derive(clap::Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        writer: Writer,
    }
    let line = Line::try_parse_from(text.split_whitespace()).with_context(|| format!("limit probe {text:?}"))?;
    Ok(line.writer)
}
