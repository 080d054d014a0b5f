//! `cargo xtask bench`: builds the server, then runs the suite of `tidegate-loadgen`, which does all the work.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tidegate_loadgen::suite::SuiteCommand;

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
        if self.suite.part.is_none() && !self.no_build {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args(["build", "--release", "--bin", "tidegate"])
                .status()
                .context("start cargo")?;
            ensure!(status.success(), "the server could not be built");
        }
        self.suite.run(&["bench"])
    }
}
