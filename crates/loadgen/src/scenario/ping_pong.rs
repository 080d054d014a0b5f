//! Each client publishes on its own channel as soon as it got its last publication: round trips through a publish.

use anyhow::Result;

use super::{Opening, add_cpu, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::{now_ns, seconds};
use crate::target::Checked;
use crate::usage::Usage;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct PingPong {
    /// Clients, each with its own channel
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl PingPong {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let mut clients = Clients::new(target.clone(), self.size)?;
        let plan = |n: usize| Plan { channels: vec![n as u32], ..Plan::default() };
        self.opening.open(&mut clients, (0..self.clients).map(plan).collect())?;
        clients.shared.measure_from_ns = now_ns() + seconds(self.warm).as_nanos() as u64;
        let (before, start) = (Usage::of(target.pid), now_ns());
        clients.start_ping_pong();
        clients.run_for(seconds(self.seconds + self.warm))?;
        let (after, wall) = (Usage::of(target.pid), (now_ns() - start) as f64 / 1e9);
        let tally = clients.shared.tally.clone();
        let trips = tally.unique() as f64;
        report.add("clients", self.clients as f64);
        report.add("round_trips", trips);
        report.add("round_trips_per_s", trips / wall);
        report.add("duplicated", tally.duplicated as f64);
        report.add("reordered", tally.reordered as f64);
        report.add("corrupted", tally.corrupted as f64);
        report.add_histogram("round_trip", &clients.shared.latency_us);
        add_cpu(report, "cpu_us_per_round_trip", target, (&before, &after), trips);
        // The next publish waits for the last delivery, so a client that lost one stands still.
        let stuck = clients.sessions().filter(|s| s.received == 0).count();
        report.add("lost", stuck as f64);
        finish(&mut clients, report);
        Ok(())
    }
}
