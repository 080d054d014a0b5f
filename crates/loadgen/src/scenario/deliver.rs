//! Publishes by HTTP at a steady rate, one subscriber per channel: how long from publish to delivery.
//!
//! A publish waits for the acknowledgement of the one before on its connection. So many channels and connections are
//! used that this is rare: what is measured is the way, not the line in front of it.

use anyhow::Result;

use super::{HttpPublish, Opening};
use crate::Report;
use crate::target::Checked;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Deliver {
    /// Publishes per second over all channels
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Channels, each with one subscriber and one publishing connection
    #[arg(long, default_value_t = 256)]
    pub channels: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Seconds before, in which latency is not recorded
    #[arg(long, default_value_t = 2.0)]
    pub warm: f64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl Deliver {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let paced = HttpPublish {
            connections: self.channels,
            channels: self.channels,
            rate: self.rate,
            seconds: self.seconds,
            warm: self.warm,
            size: self.size,
            nap_us: 0,
            opening: self.opening.clone(),
        };
        paced.run(target, report)
    }
}
