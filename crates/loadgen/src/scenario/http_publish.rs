//! Publishes by HTTP on keep-alive connections, one subscriber per channel: what a publish costs, its delivery included.

use std::time::Duration;

use anyhow::Result;

use super::{Opening, delivery, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::seconds;
use crate::publish::Schedule;
use crate::target::Checked;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpPublish {
    /// Keep-alive connections that publish, one request at a time each
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Channels, each with one subscriber
    #[arg(long, default_value_t = 64)]
    pub channels: usize,
    /// Publishes per second over all connections; 0 = the next as soon as the last was answered
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// As with fan-out
    #[arg(long, default_value_t = 0)]
    pub nap_us: u64,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl HttpPublish {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let mut clients = Clients::new(target.clone(), self.size)?;
        let plan = |n: usize| Plan { channels: vec![n as u32], ..Plan::default() };
        self.opening.open(&mut clients, (0..self.channels).map(plan).collect())?;
        clients.run_for(seconds(0.5))?;
        clients.nap = (self.nap_us > 0).then(|| Duration::from_micros(self.nap_us));
        report.add("connections", self.connections as f64);
        report.add("channels", self.channels as f64);
        let paced = Schedule::paced(self.rate, self.seconds + self.warm, vec![1; self.channels]);
        let schedule = Schedule { connections: self.connections, nap: clients.nap, ..paced };
        delivery::run(&mut clients, &schedule, self.warm, report)?;
        finish(&mut clients, report);
        Ok(())
    }
}
