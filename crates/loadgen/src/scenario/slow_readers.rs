//! Fan-out while some subscribers never read: what that costs the others.
//!
//! Compare a run with `--stalled-percent 0`: same load, nobody stalled.

use anyhow::{Result, ensure};

use super::{Opening, delivery, finish, one_channel};
use crate::Report;
use crate::clients::{Clients, Stage};
use crate::clock::seconds;
use crate::publish::Schedule;
use crate::target::Checked;
use crate::usage::{kernel_bytes, tcp_buffer_bytes};

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct SlowReaders {
    /// Subscribers of the channel
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// How many of a hundred never read
    #[arg(long, default_value_t = 10)]
    pub stalled_percent: usize,
    /// Bytes of kernel buffer that those have
    #[arg(long, default_value_t = 4_096)]
    pub receive_buffer: usize,
    /// Publications per second
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 2.0)]
    pub warm: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 4_096)]
    pub size: usize,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl SlowReaders {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(self.stalled_percent < 100, "somebody has to read");
        let mut clients = Clients::new(target.clone(), self.size)?;
        let mut plans = one_channel(self.clients);
        for (n, plan) in plans.iter_mut().enumerate() {
            // Spread, as they are in life: every tenth, not the first hundred.
            let stalls = (n + 1) * self.stalled_percent / 100 > n * self.stalled_percent / 100;
            plan.stall_with_buffer = stalls.then_some(self.receive_buffer);
        }
        let stalled = plans.iter().filter(|p| p.stall_with_buffer.is_some()).count();
        self.opening.open(&mut clients, plans)?;
        clients.run_for(seconds(1.0))?;
        let (kernel, tcp) = (kernel_bytes(), tcp_buffer_bytes());
        let readers = (self.clients - stalled) as u64;
        report.add("clients", self.clients as f64);
        report.add("stalled", stalled as f64);
        report.add("rate", self.rate);
        let schedule = Schedule::paced(self.rate, self.seconds + self.warm, vec![readers]);
        let span = delivery::run(&mut clients, &schedule, self.warm, report)?;
        report.add("kernel_growth_bytes", (kernel_bytes() - kernel) as f64);
        report.add("tcp_buffers_max_bytes", (span.tcp_buffers_max_bytes - tcp) as f64);
        if target.pid.is_some() {
            report.add("rss_growth_max_bytes", (span.rss_max_bytes - span.before.rss_bytes) as f64);
        }
        let still =
            clients.sessions().filter(|s| s.plan.stall_with_buffer.is_some() && s.stage == Stage::Ready).count();
        report.add("stalled_still_connected", still as f64);
        finish(&mut clients, report);
        Ok(())
    }
}
