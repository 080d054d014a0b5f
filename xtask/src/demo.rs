//! `cargo xtask demo`: the demo page on a real Kafka, with three nodes behind `HAProxy` round robin, without any affinity.
//!
//! Its jobs are plain Kafka producers. A node that is killed comes back after a few seconds; Ctrl-C ends everything.

mod backend;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegate_testkit::haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tokio::signal::ctrl_c;
use tokio::time::{sleep, timeout};

use self::backend::Backend;
use crate::steps::{cargo, step, target_dir, timed};

const TOPIC: &str = "progress";
const NODES: usize = 3;
/// How long a killed node stays away, so that one sees what happens without it.
const AWAY: Duration = Duration::from_secs(6);

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Port of the balancer
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// End by itself after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

impl Demo {
    /// Starts everything and keeps it up until Ctrl-C.
    pub(crate) fn run(&self) -> Result<()> {
        step("build the server", &mut cargo(&["build", "--release", "--bin", "tidegate"]))?;
        let dir = tempfile::Builder::new().prefix("tidegate-demo-").tempdir()?;
        let kafka = timed("start kafka", Kafka::start)?;
        kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
        let mut nodes = timed("start three nodes", || {
            let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
            (1..=NODES).map(|number| start(number, &broker, dir.path())).collect::<Result<Vec<_>>>()
        })?;
        let backend = Backend::start(&kafka.bootstrap(), TOPIC)?;
        let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
        let _balancer = haproxy::start_routed(self.port, &ports, "/ready", (backend::PATH, backend.port()))?;
        self.explain(&nodes, &kafka.bootstrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.supervise(&mut nodes))?;
        eprintln!("==> ending");
        Ok(())
    }

    fn explain(&self, nodes: &[Node], bootstrap: &str) {
        println!("\n  Open  http://127.0.0.1:{}/  and start a job.\n", self.port);
        println!("  The page shows which node it hangs on. Kill it, with kill -9, and nothing is lost:\n");
        for node in nodes {
            println!("    {}", kill_line(node));
        }
        println!("\n  Or be a job yourself, in another terminal:\n");
        println!(
            "    for i in $(seq 100); do echo \"progress:me|{{\\\"step\\\":$i,\\\"total\\\":100,\\\"message\\\":\\\"by hand\\\"}}\"; \
             sleep 0.1; done \\\n      | kcat -P -b {bootstrap} -t {TOPIC} -K '|' -X topic.{}",
            backend::PARTITIONER
        );
        println!("    and watch it at  http://127.0.0.1:{}/?job=me\n\n  Ctrl-C ends everything.\n", self.port);
    }

    /// Brings back what was killed, until Ctrl-C.
    async fn supervise(&self, nodes: &mut [Node]) -> Result<()> {
        let end = ctrl_c();
        tokio::pin!(end);
        let over = async {
            match self.seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                heard = &mut end => return heard.context("hear Ctrl-C"),
                () = &mut over => return Ok(()),
                () = sleep(Duration::from_millis(300)) => {}
            }
            for node in nodes.iter_mut().filter_map(|node| node.check_alive().is_err().then_some(node)) {
                println!("  {} is gone, back in {} s", node.name(), AWAY.as_secs());
                if let Ok(heard) = timeout(AWAY, &mut end).await {
                    return heard.context("hear Ctrl-C");
                }
                node.restart()?;
                println!("  it is back: {}", kill_line(node));
            }
        }
    }
}

fn kill_line(node: &Node) -> String {
    format!("kill -9 {:<8} # {}", node.pid().unwrap_or_default(), node.name())
}

fn start(number: usize, broker: &str, dir: &Path) -> Result<Node> {
    let mut options = Options::dev(&format!("node-{number}"), broker, dir);
    options.binary = Some(target_dir().join("release/tidegate"));
    Node::start(options)
}
