//! `cargo xtask js-suite`: the test suite of the official JavaScript library, `centrifuge-js`, against the server. First on
//! one node with the memory broker, then several times on two nodes over a real Kafka, behind a balancer that picks one of
//! them by chance for every request.
//!
//! The library is neither part of this repository nor fetched: who runs this has a checkout. Its tests have one port
//! written into them, which is used only while they run.

mod jest;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};

use self::jest::{Counts, Jest};
use crate::steps::{cargo, root, step, target_dir, timed};

/// Where the library's tests look for a server.
const PORT: u16 = 8000;
const CONFIG: &str = include_str!("js_suite/tidegate.toml");
/// One copy of everything is enough here. Development mode would allow that too, and more than the configuration says.
const ON_KAFKA: &str = "\n[kafka]\nallow_unsafe_topics = true\n";
const TOPIC: &str = "main";

/// Options of `cargo xtask js-suite`.
#[derive(Debug, clap::Args)]
pub(crate) struct JsSuite {
    /// A checkout of centrifuge-js in which `npm ci` was run
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// How often on two nodes; with 0 on one node alone, without Kafka
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
}

impl JsSuite {
    /// Runs the suite everywhere and prints how many of its tests passed; fails when one did not.
    pub(crate) fn run(&self) -> Result<()> {
        let output = output_dir()?;
        let jest = Jest::find(&self.path, &output)?;
        ensure_free()?;
        step("build the server", &mut cargo(&["build", "--release", "--bin", "tidegate"]))?;
        let mut table = vec![("one node".to_owned(), on_one_node(&jest, &output)?)];
        if self.runs > 0 {
            let counts = on_two_nodes(&jest, &output, self.runs)?;
            table.extend((1..).zip(counts).map(|(run, counts)| (format!("two nodes, run {run}"), counts)));
        }
        println!("\n| run | passed | failed |\n| --- | --- | --- |");
        for (run, Counts { passed, failed }) in &table {
            println!("| {run} | {passed} | {} |", failed.len());
        }
        for (run, counts) in &table {
            counts.failed.iter().for_each(|test| println!("\nfailed on {run}: {test}"));
        }
        let whole = table.iter().all(|(_, counts)| counts.failed.is_empty());
        ensure!(whole, "tests failed; what was printed lies in {}", output.display());
        Ok(())
    }
}

fn on_one_node(jest: &Jest, output: &Path) -> Result<Counts> {
    let _node = Node::start_at(PORT, options("one", "memory:", CONFIG, output)?)?;
    timed("one node", || jest.run("one-node"))
}

fn on_two_nodes(jest: &Jest, output: &Path, runs: usize) -> Result<Vec<Counts>> {
    let kafka = timed("start kafka", Kafka::start)?;
    kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
    kafka.tools().create_topic(&Topic::new(&format!("{TOPIC}.control"), 1))?;
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    let nodes = timed("start two nodes", || {
        let config = format!("{CONFIG}{ON_KAFKA}");
        let start = |name| Node::start(options(name, &broker, &config, output)?);
        ["node-1", "node-2"].into_iter().map(start).collect::<Result<Vec<_>>>()
    })?;
    let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
    let _balancer = haproxy::start_random(PORT, &ports, "/ready")?;
    (1..=runs)
        .map(|run| timed(&format!("two nodes, run {run} of {runs}"), || jest.run(&format!("two-nodes-{run}"))))
        .collect()
}

fn options(name: &str, broker: &str, config: &str, output: &Path) -> Result<Options> {
    let file = output.join(format!("{name}.toml"));
    std::fs::write(&file, config)?;
    Ok(Options {
        dev: false,
        arguments: vec!["--config".into(), file.into()],
        binary: Some(target_dir().join("release/tidegate")),
        ..Options::dev(name, broker, output)
    })
}

/// An empty folder for logs and reports, kept after the runs.
fn output_dir() -> Result<PathBuf> {
    let dir = root().join("test-output/js-suite");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Fails when somebody else would be tested.
fn ensure_free() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT));
    listener.map(drop).with_context(|| format!("the suite needs port {PORT} of loopback"))
}
