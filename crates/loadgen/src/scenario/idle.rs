//! Connections that do nothing.

use anyhow::Result;

use super::{Opening, add_cpu, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::seconds;
use crate::target::Checked;
use crate::usage::{Usage, kernel_bytes};
use crate::wire::SubscribeOptions;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Idle {
    /// Connections, each with one recoverable subscription
    #[arg(long, default_value_t = 10_000)]
    pub clients: usize,
    /// Channels that they are spread over
    #[arg(long, default_value_t = 2_500)]
    pub channels: usize,
    /// Seconds of idleness that are measured
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds before memory is read
    #[arg(long, default_value_t = 2.0)]
    pub settle: f64,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl Idle {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let mut clients = Clients::new(target.clone(), 0)?;
        let (before, kernel) = (Usage::of(target.pid), kernel_bytes());
        let plan = |n: usize| Plan {
            channels: vec![(n % self.channels.max(1)) as u32],
            subscribe: SubscribeOptions { recoverable: true, ..SubscribeOptions::default() },
            ..Plan::default()
        };
        let took = self.opening.open(&mut clients, (0..self.clients).map(plan).collect())?;
        clients.run_for(seconds(self.settle))?;
        let opened = Usage::of(target.pid);
        let n = self.clients.max(1) as f64;
        report.add("clients", n);
        report.add("connects_per_s", n / took.as_secs_f64());
        report.add("kernel_bytes_per_pair", (kernel_bytes() - kernel) as f64 / n);
        clients.run_for(seconds(self.seconds))?;
        let after = Usage::of(target.pid);
        if target.pid.is_some() {
            report.add("rss_start_bytes", before.rss_bytes as f64);
            report.add("rss_bytes_per_connection", (opened.rss_bytes - before.rss_bytes) as f64 / n);
            report.add("rss_end_bytes_per_connection", (after.rss_bytes - before.rss_bytes) as f64 / n);
        }
        add_cpu(report, "idle_cpu_us_per_connection_s", target, (&opened, &after), n * self.seconds.max(0.001));
        finish(&mut clients, report);
        Ok(())
    }
}
