//! Joins of one channel on several nodes, beside a steady trickle of deliveries on other channels.
//!
//! Every node folds every join, whichever node the client is on. So the cost is a node's CPU divided by all joins, not by
//! its own. Clients have to come before they can join: the same clients come to a channel without presence first, and
//! what that costs is taken off. CPU of the trickle is taken off both by the rate of a quiet span before each.
//!
//! Joins come on a thread of their own, so that the trickle is delayed by the servers and not by its own load. That thread
//! answers pings until the last join was told, which is about when the trickle ends.

use std::net::SocketAddrV4;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Opening, delivery};
use crate::Report;
use crate::clients::{Clients, Plan};
use crate::clock::{Deadline, now_ns, seconds};
use crate::publish::Schedule;
use crate::target::Checked;
use crate::usage::Usage;
use crate::wire::SubscribeOptions;

/// How long the last join may take to be told.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another node than the target.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    address: SocketAddrV4,
    pid: u32,
}

impl FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, pid) = text.split_once('=').context("a node is 127.0.0.1:PORT=PID")?;
        let address: SocketAddrV4 = address.parse().context("a node's address")?;
        ensure!(address.ip().is_loopback(), "{address} is not a loopback address");
        Ok(Self { address, pid: pid.parse().context("a node's pid")? })
    }
}

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct PresenceJoins {
    /// Clients that join one channel
    #[arg(long, default_value_t = 10_000)]
    pub clients: usize,
    /// Joins per second over all nodes
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Publications per second on other channels, each with one subscriber on every node
    #[arg(long, default_value_t = 200.0)]
    pub trickle: f64,
    /// Those other channels
    #[arg(long, default_value_t = 64)]
    pub channels: usize,
    /// Seconds of the trickle alone
    #[arg(long, default_value_t = 10.0)]
    pub quiet: f64,
    /// Seconds between one span and the next, in which clients leave
    #[arg(long, default_value_t = 6.0)]
    pub settle: f64,
    /// What the name of the channel with presence starts with
    #[arg(long, default_value = "joins:x")]
    pub joined: String,
    /// A node beside the target, 127.0.0.1:PORT=PID; as often as there are more
    #[arg(long = "node")]
    pub nodes: Vec<Node>,
}

/// What all nodes have used by now.
struct Moment {
    nodes: Vec<Usage>,
    at_ns: u64,
}

/// What one span cost and how its deliveries went.
struct Span {
    /// CPU of each node, in microseconds.
    cpu_us: Vec<f64>,
    wall_s: f64,
    deliveries: Report,
}

impl PresenceJoins {
    pub(super) fn run(&self, target: &Checked, report: &mut Report) -> Result<()> {
        ensure!(target.pid.is_some(), "without --pid there is nothing to report");
        report.add("clients", self.clients as f64);
        report.add("rate", self.rate);
        report.add("nodes", self.nodes.len() as f64 + 1.0);
        let (plain, _, _) = self.joins(target, &format!("{}plain", target.prefix), false)?;
        let (joins, quiet, busy) = self.joins(target, &self.joined, true)?;
        let net: Vec<f64> = joins.iter().zip(&plain).map(|(joins, plain)| joins - plain).collect();
        // Of all clients too, of which a node lets in its share.
        report.add("cpu_us_per_plain_join", worst(&plain));
        report.add("cpu_us_per_join", worst(&joins));
        report.add("cpu_us_per_join_net", worst(&net));
        for (n, (joins, plain)) in (1..).zip(joins.iter().zip(&plain)) {
            report.add(&format!("node{n}_cpu_us_per_join"), *joins);
            report.add(&format!("node{n}_cpu_us_per_plain_join"), *plain);
        }
        for (name, figure) in [("p50", "latency_p50_us"), ("p99", "latency_p99_us")] {
            let (quiet, busy) = (quiet.get(figure).unwrap_or(0.0), busy.get(figure).unwrap_or(0.0));
            report.add(&format!("quiet_latency_{name}_us"), quiet);
            report.add(figure, busy);
            report.add(&format!("latency_{name}_by_quiet"), busy / quiet.max(1.0));
        }
        for figure in ["delivered", "lost", "duplicated", "reordered", "corrupted", "foreign", "publish_errors"] {
            report.add(figure, quiet.get(figure).unwrap_or(0.0) + busy.get(figure).unwrap_or(0.0));
        }
        report.first_error = quiet.first_error.or(busy.first_error);
        Ok(())
    }

    /// A quiet span, then one in which clients join. Returns the CPU of each node per join, and both spans' deliveries.
    fn joins(&self, target: &Checked, channel: &str, presence: bool) -> Result<(Vec<f64>, Report, Report)> {
        let quiet = self.span(target, self.quiet, |done| {
            let _ = done.recv();
            Ok(self.moment(target))
        })?;
        let joined = Checked { prefix: channel.to_owned(), ..target.clone() };
        let busy = self.span(target, self.clients as f64 / self.rate, |done| {
            let mut clients = Clients::new(joined, 0)?;
            self.join(target, &mut clients, presence)?;
            let moment = self.moment(target);
            // Leaving is not measured.
            let _ = done.recv();
            Ok(moment)
        })?;
        std::thread::sleep(seconds(self.settle));
        let cpu = busy.cpu_us.iter().zip(&quiet.cpu_us);
        let extra = |(busy_us, quiet_us): (&f64, &f64)| busy_us - quiet_us / quiet.wall_s * busy.wall_s;
        let per_join = cpu.map(|cpu| extra(cpu) / self.clients.max(1) as f64).collect();
        Ok((per_join, quiet.deliveries, busy.deliveries))
    }

    /// Lets clients join at the rate. One that is there before hears of every join, if there is presence.
    fn join(&self, target: &Checked, clients: &mut Clients, presence: bool) -> Result<()> {
        if presence {
            let subscribe = SubscribeOptions { join_leave: true, ..SubscribeOptions::default() };
            one_at_a_time().open(clients, vec![Plan { channels: vec![0], subscribe, ..Plan::default() }])?;
        }
        let opening = Opening { window: usize::MAX, pace: self.rate, ..one_at_a_time() };
        let plan = |n: usize| Plan { channels: vec![0], address: self.address(target, n), ..Plan::default() };
        opening.open(clients, (0..self.clients).map(plan).collect())?;
        let deadline = Deadline::after(PATIENCE);
        while presence && clients.shared.joins < self.clients as u64 {
            ensure!(!deadline.is_past(), "told of {} joins of {}", clients.shared.joins, self.clients);
            clients.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// The trickle for some time. What is beside it ends with a look at the nodes; whether the trickle has ended, it
    /// learns when the channel has.
    fn span(
        &self,
        target: &Checked,
        span_s: f64,
        beside: impl FnOnce(Receiver<()>) -> Result<Moment> + Send,
    ) -> Result<Span> {
        let mut listeners = Clients::new(target.clone(), 128)?;
        let nodes = self.nodes.len() + 1;
        let channels: Vec<u32> = (0..self.channels as u32).collect();
        let plan = |n: usize| Plan { channels: channels.clone(), address: self.address(target, n), ..Plan::default() };
        one_at_a_time().open(&mut listeners, (0..nodes).map(plan).collect())?;
        listeners.run_for(seconds(1.0))?;
        let paced = Schedule::paced(self.trickle, span_s, vec![nodes as u64; self.channels]);
        let schedule = Schedule { connections: self.channels, ..paced };
        let mut deliveries = Report::new("trickle");
        let before = self.moment(target);
        let (done_tx, done) = channel();
        let after = std::thread::scope(|scope| {
            let beside = scope.spawn(|| beside(done));
            let delivered = delivery::run(&mut listeners, &schedule, 0.5, &mut deliveries);
            drop(done_tx);
            let moment = beside.join().map_err(|_| anyhow!("the joining thread panicked"))?;
            delivered.and(moment)
        })?;
        let cpu = after.nodes.iter().zip(&before.nodes);
        Ok(Span {
            cpu_us: cpu.map(|(after, before)| after.cpu_us_since(before)).collect(),
            wall_s: (after.at_ns - before.at_ns) as f64 / 1e9,
            deliveries,
        })
    }

    /// The `n`th client's node; `None` = the target itself.
    fn address(&self, target: &Checked, n: usize) -> Option<SocketAddrV4> {
        let nodes = std::iter::once(target.address).chain(self.nodes.iter().map(|node| node.address));
        nodes.cycle().nth(n % (self.nodes.len() + 1))
    }

    fn moment(&self, target: &Checked) -> Moment {
        let pids = std::iter::once(target.pid).chain(self.nodes.iter().map(|node| Some(node.pid)));
        Moment { nodes: pids.map(Usage::of).collect(), at_ns: now_ns() }
    }
}

/// Of clients that are part of no measurement.
fn one_at_a_time() -> Opening {
    Opening { window: 1, open_max: 120.0, ..Opening::default() }
}

fn worst(of_nodes: &[f64]) -> f64 {
    of_nodes.iter().copied().fold(f64::MIN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_addresses_with_pids_on_loopback() {
        let node: Node = "127.0.0.1:8001=77".parse().unwrap();
        assert_eq!((node.address.port(), node.pid), (8_001, 77));
        for text in ["127.0.0.1:8001", "192.0.2.1:80=1", "127.0.0.1=1", "127.0.0.1:1=x"] {
            assert!(text.parse::<Node>().is_err(), "{text}");
        }
    }
}
