//! Every scenario in turns with the limit probe, a fresh server for each measurement, and the page of results.
//!
//! Figures in microseconds mean little on a shared machine; ratios to W, taken in the same round, repeat. So a round runs
//! the probe beside the servers for every case, and medians are taken over the ratios of the rounds. The server is on
//! CPU 0, the load on CPU 1.

mod case;
mod cases;
mod kafka;
mod page;
mod results;
mod server;

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

pub use cases::CASES;

use crate::Report;
use crate::cpus::{pin, pinned};
use crate::limit::{self, Costs};
use crate::scenario::Scenario;
use crate::target::Target;
use case::Case;
use kafka::{Kafka, Topic};
use results::Results;
use server::Server;

/// The server's CPU and that of the load.
const CPUS: (usize, usize) = (0, 1);

/// The suite's command line. [`SuiteCommand::run`] is all that a caller needs.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SuiteCommand {
    /// The processes that the suite starts
    #[command(subcommand)]
    pub part: Option<Part>,
    /// The suite
    #[command(flatten)]
    pub suite: Suite,
}

/// What runs in a process of its own.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Part {
    /// The limit probe's writing side
    #[command(hide = true)]
    LimitWriter(limit::Writer),
}

/// Options of the suite.
#[derive(Debug, Clone, clap::Args)]
pub struct Suite {
    /// Cases to run; all when none is named
    #[arg(long, value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Rounds over all of them; latency through Kafka takes 5 at least, comparisons and what lies near its bar 7
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// How Tidegate is started. {port}, {broker}, {shards} and {dir} are filled in
    #[arg(
        long,
        default_value = "target/release/tidegate serve --listen 127.0.0.1:{port} --broker {broker} --shards {shards} --dev"
    )]
    pub server: String,
    /// One more server that speaks the same protocol: name|command with {port}
    #[arg(long = "add", value_name = "NAME|COMMAND")]
    pub others: Vec<String>,
    /// Key of the servers' API
    #[arg(long, default_value = "bench", hide_env_values = true)]
    pub api_key: String,
    /// Ports begin behind this one; every server gets the next
    #[arg(long, default_value_t = 8_300)]
    pub port: u16,
    /// A Kafka on this machine for the cases that need one; without it they are skipped
    #[arg(long, value_name = "127.0.0.1:PORT")]
    pub kafka: Option<SocketAddrV4>,
    /// Let server and load run on any CPU
    #[arg(long)]
    pub no_pin: bool,
    /// The page of results; written when all cases ran, or when it is named
    #[arg(long)]
    pub page: Option<PathBuf>,
    /// Every single report, one JSON object per line
    #[arg(long)]
    pub raw: Option<PathBuf>,
}

impl SuiteCommand {
    /// Runs the suite, or the part of it that this process is. `own_args` are the arguments that lead to this command in
    /// the calling program, such as `["bench"]`: it is started again for the probe.
    ///
    /// # Errors
    /// When something could not be run at all, a delivery was lost, doubled, out of order or changed, or a bar was missed.
    pub fn run(&self, own_args: &[&str]) -> Result<()> {
        match &self.part {
            Some(Part::LimitWriter(writer)) => writer.run(),
            None => self.suite.run(own_args),
        }
    }
}

/// A server that is measured: its name, and its command with places to fill.
#[derive(Debug, Clone)]
struct Contender {
    name: String,
    command: String,
    ours: bool,
}

/// What the rounds share.
struct Course<'a> {
    own_args: &'a [&'a str],
    kafka: Kafka,
    /// The last server's.
    port: u16,
    results: Results,
}

/// The name of our own server in the results.
const OURS: &str = "tidegate";

impl Suite {
    fn run(&self, own_args: &[&str]) -> Result<()> {
        ensure!(self.rounds > 0, "--rounds must be at least 1");
        crate::bench::raise_file_limit();
        let cases = self.cases()?;
        let contenders = self.contenders()?;
        if !self.no_pin {
            pin(CPUS.1).context("--no-pin does without")?;
        }
        let page = self.page()?;
        let kafka = Kafka::connect(self.kafka, &cases)?;
        let possible = kafka.possible(&cases);
        let results = Results::new(self.raw.as_deref())?;
        let mut course = Course { own_args, kafka, port: self.port, results };
        let last = possible.iter().map(|case| case.rounds_min.max(self.rounds)).max().unwrap_or(0);
        for round in 0..last {
            for case in possible.iter().filter(|case| round < case.rounds_min.max(self.rounds)) {
                self.round(case, round, &contenders, &mut course)?;
            }
        }
        let results = course.results;
        print!("{}", page::text(&cases, &results));
        if let Some(path) = page {
            let text = page::markdown(&cases, &results, self.rounds);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        results.verdict(&cases, self.scenarios.is_empty())
    }

    /// Where the page goes. Looked at before the suite has run for half an hour.
    fn page(&self) -> Result<Option<PathBuf>> {
        let page = self.page.clone().or_else(|| self.scenarios.is_empty().then(|| "docs/benchmarks.md".into()));
        if let Some(folder) = page.as_deref().and_then(Path::parent) {
            let there = folder.as_os_str().is_empty() || folder.is_dir();
            ensure!(
                there,
                "the page's folder {} is not there: run this at the root of the workspace",
                folder.display()
            );
        }
        Ok(page)
    }

    /// Whether a case that was asked for needs a Kafka, and none was named.
    ///
    /// # Errors
    /// When a case is not known.
    pub fn misses_kafka(&self) -> Result<bool> {
        Ok(self.kafka.is_none() && self.cases()?.iter().any(|case| case.needs_kafka()))
    }

    fn cases(&self) -> Result<Vec<&'static Case>> {
        if self.scenarios.is_empty() {
            return Ok(CASES.iter().collect());
        }
        let find = |name: &String| {
            let names = || CASES.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
            CASES.iter().find(|c| c.name == *name).with_context(|| format!("no case {name:?}; there are {}", names()))
        };
        self.scenarios.iter().map(find).collect()
    }

    fn contenders(&self) -> Result<Vec<Contender>> {
        let ours = Contender { name: OURS.into(), command: self.server.clone(), ours: true };
        let other = |text: &String| match text.split_once('|') {
            Some((name, command)) => Ok(Contender { name: name.into(), command: command.into(), ours: false }),
            None => bail!("--add {text:?} is not NAME|COMMAND"),
        };
        std::iter::once(Ok(ours)).chain(self.others.iter().map(other)).collect()
    }

    /// One round of one case: the probe, then each server, in another order every time.
    fn round(
        &self,
        case: &'static Case,
        round: usize,
        contenders: &[Contender],
        course: &mut Course<'_>,
    ) -> Result<()> {
        if let Some(options) = case.probe {
            eprintln!("round {} {}: limit probe", round + 1, case.name);
            course.results.add_probe(case.name, round, self.probe(options, course.own_args)?);
        }
        for n in 0..contenders.len() {
            let contender = &contenders[(n + round) % contenders.len()];
            if !contender.ours && !case.for_all {
                continue;
            }
            course.port = course.port.checked_add(case.nodes).context("no more ports")?;
            eprintln!("round {} {}: {}", round + 1, case.name, contender.name);
            let first = course.port - case.nodes + 1;
            let outcome = self.measure(case, contender, &course.kafka, first);
            if let Err(error) = &outcome {
                eprintln!("  failed: {error:#}");
            }
            let outcome = outcome.map_err(|error| format!("{error:#}"));
            course.results.add(case.name, &contender.name, round, outcome)?;
        }
        Ok(())
    }

    fn probe(&self, options: &str, own_args: &[&str]) -> Result<Costs> {
        let writer = case::parse_writer(options)?;
        let mut command = Command::new(std::env::current_exe().context("own executable")?);
        command.args(own_args).arg("limit-writer");
        let probe = limit::Probe { writer, nap: Duration::from_micros(200) };
        let writer = self.on_server_cpu(|| probe.spawn(command))?;
        probe.finish(writer)
    }

    fn measure(&self, case: &Case, contender: &Contender, kafka: &Kafka, port: u16) -> Result<Report> {
        let topic = kafka.topic(case, port)?;
        let servers = self.start(case, contender, &topic, port)?;
        let nodes = servers.iter().skip(1).map(|(port, server)| format!("--node 127.0.0.1:{port}={}", server.pid()));
        let scenario: Scenario = case::parse_scenario(&case.filled(&topic.options(), &nodes.collect::<Vec<_>>()))?;
        let target = Target {
            url: format!("{}://127.0.0.1:{port}", if case.tls { "wss" } else { "ws" }),
            api: "/api/publish".into(),
            api_key: Some(self.api_key.clone()),
            token: None,
            pid: servers.first().map(|(_, server)| server.pid()),
            prefix: "bench".into(),
        };
        let report = crate::bench::measure(&scenario, &target);
        report.with_context(|| servers.iter().map(|(_, server)| server.last_words()).collect::<Vec<_>>().join("; "))
    }

    /// Starts the servers of a case, the first one on `port`.
    fn start(&self, case: &Case, contender: &Contender, topic: &Topic, port: u16) -> Result<Vec<(u16, Server)>> {
        let Some(broker) = case.broker else { return Ok(Vec::new()) };
        let broker = broker.replace("{kafka}", &topic.path());
        let tls = if case.tls { " --tls-self-signed" } else { "" };
        let config = if case.config.is_empty() { "" } else { " --config {dir}/config.toml" };
        let command = format!("{}{tls}{config}", contender.command);
        let start = |port| Ok((port, self.on_server_cpu(|| Server::start(&command, &broker, case, port))?));
        (port..port + case.nodes).map(start).collect()
    }

    /// Runs what starts a process, so that the process inherits the server's CPU.
    fn on_server_cpu<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.no_pin { start() } else { pinned(CPUS.0, start) }
    }
}
