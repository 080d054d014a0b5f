//! A real Kafka (`KRaft`) on loopback: one node or three, plain or with SASL and TLS, from Maven's jars.
//!
//! Everything lies in a temporary folder and goes with the value. A node that was killed or stopped starts again on
//! its data.

mod config;
mod jars;
mod ready;
mod security;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

pub use jars::{Jars, Jit, VERSION};
pub use security::Passwords;
pub use tools::{Tools, Topic};

use crate::ports::{free, poll_until};
use crate::process::{Process, run};
use config::Ports;

/// Any id will do; every test cluster has this one.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";
/// A start takes 2 s, 9 s were seen on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// What kind of cluster to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Three nodes with three copies of everything, instead of one.
    pub three_nodes: bool,
    /// How the virtual machines run.
    pub jit: Jit,
    /// Also listen for SASL and TLS, with these users.
    pub security: Option<Passwords>,
    /// More lines of `server.properties`.
    pub properties: Vec<(String, String)>,
}

/// A running cluster.
#[derive(Debug)]
pub struct Kafka {
    jars: Jars,
    options: Options,
    nodes: Vec<Node>,
    // After the nodes: they end before their folder goes.
    dir: TempDir,
}

#[derive(Debug)]
struct Node {
    dir: PathBuf,
    ports: Ports,
    process: Option<Process>,
}

impl Kafka {
    /// One plain node for functional tests.
    ///
    /// # Errors
    /// When something is missing or the node does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// Downloads what is missing, formats, starts and waits until every node knows all the others.
    ///
    /// # Errors
    /// When something is missing or a node does not come up; the text has its last words.
    pub fn start_with(options: Options) -> Result<Self> {
        let jars = Jars::ensure()?;
        let dir = tempfile::Builder::new().prefix("tidegate-kafka-").tempdir()?;
        let count = if options.three_nodes { 3 } else { 1 };
        let ports = (0..count).map(|_| Ports::find()).collect::<Result<Vec<_>>>()?;
        let mut kafka = Self { jars, options, nodes: Vec::new(), dir };
        for index in 0..count {
            let node = kafka.format(index, &ports)?;
            kafka.nodes.push(node);
        }
        for index in 0..count {
            kafka.launch(index)?;
        }
        kafka.wait_ready(count)?;
        Ok(kafka)
    }

    fn format(&self, index: usize, ports: &[Ports]) -> Result<Node> {
        let dir = self.dir.path().join((index + 1).to_string());
        std::fs::create_dir(&dir)?;
        let security = self.options.security.as_ref();
        if security.is_some() {
            security::make_certificates(&dir)?;
        }
        let file = dir.join("server.properties");
        std::fs::write(&file, config::properties(index, ports, &dir, security, &self.options.properties))?;
        let mut command = self.jars.command("kafka.tools.StorageTool", Jit::Quick);
        command.args(["format", "-t", CLUSTER_ID, "-c"]).arg(&file);
        if ports.len() == 1 {
            command.arg("--standalone");
        }
        if let Some(passwords) = security {
            command.args(passwords.format_args());
        }
        run(&mut command).context("format Kafka's storage")?;
        Ok(Node { dir, ports: ports[index], process: None })
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let mut command = self.jars.command("kafka.Kafka", self.options.jit);
        let node = &mut self.nodes[index];
        command.arg(node.dir.join("server.properties")).current_dir(&node.dir);
        node.process = Some(Process::start(&format!("kafka {}", index + 1), &mut command, &node.dir.join("log"))?);
        Ok(())
    }

    /// Waits until `count` brokers are known to every node that runs.
    fn wait_ready(&mut self, count: usize) -> Result<()> {
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            let port = node.ports.plain;
            let up = poll_until("kafka", START_MAX, || {
                let up = ready::brokers_up(port)?;
                ensure!(up as usize >= count, "{up} of {count} brokers are up");
                Ok(())
            });
            if up.is_err() {
                process.check_alive()?;
            }
            up.with_context(|| process.log_tail())?;
        }
        Ok(())
    }

    /// `HOST:PORT` of every node's plaintext listener.
    pub fn bootstrap(&self) -> String {
        self.listeners(|ports| ports.plain)
    }

    /// The listeners for SASL without TLS. Nobody listens unless [`Options::security`] was set.
    pub fn sasl_bootstrap(&self) -> String {
        self.listeners(|ports| ports.sasl)
    }

    /// The listeners for TLS. Nobody listens unless [`Options::security`] was set.
    pub fn tls_bootstrap(&self) -> String {
        self.listeners(|ports| ports.tls)
    }

    /// The listeners for SASL over TLS. Nobody listens unless [`Options::security`] was set.
    pub fn sasl_tls_bootstrap(&self) -> String {
        self.listeners(|ports| ports.sasl_tls)
    }

    fn listeners(&self, port: impl Fn(&Ports) -> u16) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(&node.ports))).collect::<Vec<_>>().join(",")
    }

    /// The certificate to trust for node `index` (from 0).
    pub fn ca_file(&self, index: usize) -> PathBuf {
        self.nodes[index].dir.join("ca.pem")
    }

    /// Where everything of this cluster lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id of node `index` (from 0) while it runs.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].process.as_ref().map(Process::pid)
    }

    /// Ends node `index` (from 0) with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_9(&mut self, index: usize) -> Result<()> {
        match self.nodes[index].process.take() {
            Some(mut process) => process.kill_9(),
            None => Ok(()),
        }
    }

    /// Ends node `index` (from 0) with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self, index: usize) -> Result<()> {
        match self.nodes[index].process.take() {
            Some(mut process) => process.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Stops node `index` (from 0) in its tracks: its connections stay open and nothing answers. [`Kafka::resume`] lets
    /// it go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn pause(&mut self, index: usize) -> Result<()> {
        self.nodes[index].process.as_mut().map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn resume(&mut self, index: usize) -> Result<()> {
        self.nodes[index].process.as_mut().map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// Starts node `index` (from 0) again on its data and waits until all that run know each other.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.stop(index)?;
        self.launch(index)?;
        let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
        self.wait_ready(running)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // All at once: one after the other would cost 2 s each. A cluster that loses its quorum ignores SIGTERM.
        let signal = if self.nodes.len() > 1 { Signal::KILL } else { Signal::TERM };
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            // What cannot be signalled has ended. One that is paused must go on to hear it.
            let _ = process.signal(signal);
            let _ = process.signal(Signal::CONT);
        }
    }
}

impl Ports {
    fn find() -> Result<Self> {
        let [plain, controller, sasl, tls, sasl_tls] = free()?;
        Ok(Self { plain, controller, sasl, tls, sasl_tls })
    }
}
