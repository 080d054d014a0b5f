//! `cargo xtask bench`: builds the server, starts a Kafka for the cases that need one, then runs the suite of
//! `tidegate-loadgen`, which does all the work.
//!
//! The load and the limit probe are measured with, so they are optimised too: the command starts itself again in a
//! release build, with the feature `bench`, which alone needs librdkafka.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tidegate_loadgen::suite::SuiteCommand;
use tidegate_testkit::kafka::{Jit, Kafka, Options};

/// Options of `cargo xtask bench`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bench {
    /// Measure what `target/release` holds, without building it first
    #[arg(long)]
    no_build: bool,
    #[command(flatten)]
    suite: SuiteCommand,
}

impl Bench {
    /// Builds and measures.
    pub(crate) fn run(&self) -> Result<()> {
        if !cfg!(feature = "bench") {
            let again = ["run", "--quiet", "--release", "--package", "xtask", "--features", "bench", "--"];
            return cargo(again.map(OsString::from).into_iter().chain(std::env::args_os().skip(1)));
        }
        if self.suite.part.is_some() {
            return self.suite.run(&["bench"]);
        }
        if !self.no_build {
            cargo(["build", "--release", "--bin", "tidegate"])?;
        }
        let mut command = self.suite.clone();
        // One broker, run as where figures matter. It ends with this function.
        let kafka = match command.suite.misses_kafka()? {
            true => Some(Kafka::start_with(Options { jit: Jit::Full, ..Options::default() })?),
            false => None,
        };
        if let Some(kafka) = &kafka {
            command.suite.kafka = Some(kafka.bootstrap().parse().context("Kafka's address")?);
        }
        command.run(&["bench"])
    }
}

fn cargo(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).status().context("start cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}
