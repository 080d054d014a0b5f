//! `tidegate bench` by itself, for a server of another kind.

use clap::Parser as _;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    bench: tidegate_loadgen::Bench,
}

fn main() -> anyhow::Result<()> {
    Cli::parse().bench.run()
}
