//! Many channels with a few subscribers each.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Opening, delivery, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::seconds;
use crate::publish::{Random, Schedule};
use crate::target::Checked;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct ManyChannels {
    /// Connections
    #[arg(long, default_value_t = 2_000)]
    pub clients: usize,
    /// Channels that each subscribes to
    #[arg(long, default_value_t = 10)]
    pub each: usize,
    /// Channels that there are
    #[arg(long, default_value_t = 5_000)]
    pub channels: usize,
    /// Publications per second, over all channels
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// HTTP connections that publish
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
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

impl ManyChannels {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(self.each <= self.channels, "--each is more than --channels");
        let (plans, subscribers) = self.plans();
        let mut clients = Clients::new(target.clone(), self.size)?;
        self.opening.open(&mut clients, plans)?;
        clients.run_for(seconds(1.0))?;
        clients.nap = (self.nap_us > 0).then(|| Duration::from_micros(self.nap_us));
        report.add("clients", self.clients as f64);
        report.add("channels", self.channels as f64);
        report.add("rate", self.rate);
        let paced = Schedule::paced(self.rate, self.seconds + self.warm, subscribers);
        let schedule = Schedule { connections: self.connections, nap: clients.nap, ..paced };
        delivery::run(&mut clients, &schedule, self.warm, report)?;
        finish(&mut clients, report);
        Ok(())
    }

    /// Who subscribes to what (the same in every run), and how many each channel has.
    fn plans(&self) -> (Vec<Plan>, Vec<u64>) {
        let (mut random, mut subscribers) = (Random::new(2), vec![0; self.channels]);
        let mut plan = || {
            let mut channels: Vec<u32> = Vec::with_capacity(self.each);
            while channels.len() < self.each {
                let channel = random.below(self.channels);
                if !channels.contains(&(channel as u32)) {
                    channels.push(channel as u32);
                    subscribers[channel] += 1;
                }
            }
            Plan { channels, ..Plan::default() }
        };
        let plans = (0..self.clients).map(|_| plan()).collect();
        (plans, subscribers)
    }
}
