//! Clients leave, miss publications and come back all at once.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Opening, add_cpu, finish};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::seconds;
use crate::publish::{self, Progress, Schedule};
use crate::target::Checked;
use crate::usage::Usage;
use crate::wire::SubscribeOptions;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Recover {
    /// Subscribers of one channel
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Publications that each misses
    #[arg(long, default_value_t = 100)]
    pub publications: u64,
    /// Bytes of published data
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// How clients come
    #[command(flatten)]
    pub opening: Opening,
}

impl Recover {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        let mut clients = Clients::new(target.clone(), self.size)?;
        let subscribe = SubscribeOptions { recoverable: true, ..SubscribeOptions::default() };
        let plan = Plan { channels: vec![0], subscribe, ..Plan::default() };
        self.opening.open(&mut clients, vec![plan; self.clients])?;
        let plans: Vec<Plan> = clients
            .sessions()
            .map(|session| Plan {
                channels: vec![0],
                subscribe: SubscribeOptions {
                    recoverable: true,
                    from: Some(session.position.clone()),
                    ..SubscribeOptions::default()
                },
                ..Plan::default()
            })
            .collect();
        clients.drop_all();
        std::thread::sleep(Duration::from_millis(500));
        let published = self.publish(&clients, report)?;

        clients.shared.connect_us.reset();
        let before = Usage::of(target.pid);
        let took = self.opening.open(&mut clients, plans)?;
        let opened = Usage::of(target.pid);
        clients.run_for(seconds(1.0))?;
        self.describe(&clients, published, report);
        report.add("reconnects_per_s", self.clients as f64 / took.as_secs_f64());
        report.add_histogram("reconnect", &clients.shared.connect_us);
        add_cpu(report, "cpu_us_per_recovery", target, (&before, &opened), self.clients as f64);
        finish(&mut clients, report);
        Ok(())
    }

    fn publish(&self, clients: &Clients, report: &mut Report) -> Result<u64> {
        let progress = Progress::default();
        let paced = Schedule::paced(0.0, 60.0, vec![0]);
        let schedule = Schedule { count_max: self.publications, ..paced };
        publish::run(&clients.shared.target, &clients.shared.marker, &schedule, &progress)?;
        let published = Progress::get(&progress.acknowledged);
        report.add("publish_errors", Progress::get(&progress.errors) as f64);
        ensure!(published == self.publications, "only {published} of {} publications were taken", self.publications);
        Ok(published)
    }

    fn describe(&self, clients: &Clients, published: u64, report: &mut Report) {
        let tally = &clients.shared.tally;
        let recovered = clients.sessions().filter(|s| s.recovered).count();
        let missed: u64 = clients.sessions().map(|s| published.saturating_sub(s.received)).sum();
        report.add("clients", self.clients as f64);
        report.add("publications", published as f64);
        report.add("recovered", recovered as f64);
        report.add("lost", missed as f64);
        report.add("duplicated", tally.duplicated as f64);
        report.add("reordered", tally.reordered as f64);
        report.add("corrupted", tally.corrupted as f64);
    }
}
