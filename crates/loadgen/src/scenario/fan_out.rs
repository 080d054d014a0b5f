//! One channel, many subscribers.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Opening, add_cpu, delivery, finish, one_channel};
use crate::Report;
use crate::clients::Clients;
use crate::clock::seconds;
use crate::publish::Schedule;
use crate::target::Checked;
use crate::usage::{Usage, kernel_bytes};

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct FanOut {
    /// Subscribers of the channel
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Publications per second
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Publications that are due at the same moment; the mean rate stays
    #[arg(long, default_value_t = 1)]
    pub burst: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
    /// Seconds between the last subscribe and the first publish
    #[arg(long, default_value_t = 1.0)]
    pub settle: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// Publish a JSON document of many fields, of which about 25 bytes change, instead of padding
    #[arg(long)]
    pub document: bool,
    /// Subscribe with deltas, and publish for them; every publication is made whole again and compared
    #[arg(long)]
    pub delta: bool,
    /// Poll and nap so many microseconds instead of sleeping until something arrives: the server then pays no wake-ups
    /// of the load generator. Not for latency
    #[arg(long, default_value_t = 0)]
    pub nap_us: u64,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl FanOut {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(!(self.delta && self.opening.protobuf), "deltas are looked at in JSON only");
        let mut clients = Clients::new(target.clone(), self.size)?;
        if self.document {
            clients.shared.marker = clients.shared.marker.documents(self.size);
        }
        let (before, kernel) = (Usage::of(target.pid), kernel_bytes());
        let mut plans = one_channel(self.clients);
        plans.iter_mut().for_each(|plan| plan.subscribe.delta = self.delta);
        self.opening.open(&mut clients, plans)?;
        clients.run_for(seconds(self.settle))?;
        let opened = Usage::of(target.pid);
        report.add("clients", self.clients as f64);
        report.add("rate", self.rate);
        add_cpu(report, "cpu_us_per_connect", target, (&before, &opened), self.clients as f64);
        report.add("kernel_bytes_per_pair", (kernel_bytes() - kernel) as f64 / self.clients.max(1) as f64);
        clients.nap = (self.nap_us > 0).then(|| Duration::from_micros(self.nap_us));
        let paced = Schedule::paced(self.rate, self.seconds + self.warm, vec![self.clients as u64]);
        let schedule = Schedule { burst: self.burst.max(1), nap: clients.nap, delta: self.delta, ..paced };
        delivery::run(&mut clients, &schedule, self.warm, report)?;
        report.add("deltas", clients.shared.deltas as f64);
        finish(&mut clients, report);
        Ok(())
    }
}
