//! Connect and subscribe, all at once.

use anyhow::Result;

use super::{Opening, add_cpu, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::seconds;
use crate::target::Checked;
use crate::usage::{Usage, syn_retransmits};

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Storm {
    /// Connections, each with one subscription
    #[arg(long, default_value_t = 5_000)]
    pub clients: usize,
    /// Channels that they are spread over
    #[arg(long, default_value_t = 1_250)]
    pub channels: usize,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl Storm {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let mut clients = Clients::new(target.clone(), 0)?;
        let (before, retransmits) = (Usage::of(target.pid), syn_retransmits());
        let plan = |n: usize| Plan { channels: vec![(n % self.channels.max(1)) as u32], ..Plan::default() };
        let took = self.opening.open(&mut clients, (0..self.clients).map(plan).collect())?;
        let after = Usage::of(target.pid);
        let n = self.clients.max(1) as f64;
        report.add("clients", n);
        report.add("connects_per_s", n / took.as_secs_f64());
        report.add("syn_retransmits", (syn_retransmits() - retransmits) as f64);
        add_cpu(report, "cpu_us_per_connect", target, (&before, &after), n);
        report.add_histogram("connect", &clients.shared.connect_us);
        // Whoever was let in must stay.
        clients.run_for(seconds(1.0))?;
        finish(&mut clients, report);
        Ok(())
    }
}
