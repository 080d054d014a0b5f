//! The whole suite by itself: what `cargo xtask bench` runs.

use clap::Parser as _;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    suite: tidegate_loadgen::suite::SuiteCommand,
}

fn main() -> anyhow::Result<()> {
    Cli::parse().suite.run(&[])
}
