//! `tidegate demo-worker`, hidden: a job of the demo, started by the server as a process of its own.

use tidegate_demo::worker;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A node
    #[arg(long)]
    url: String,
    /// Where the steps are published
    #[arg(long)]
    channel: String,
    /// How many
    #[arg(long)]
    steps: u32,
    /// Work for each
    #[arg(long)]
    interval_ms: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { url, channel, steps, interval_ms } = args;
    Ok(worker::run(&worker::Args { url, channel, steps, interval_ms })?)
}
