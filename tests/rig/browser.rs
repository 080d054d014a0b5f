//! Progress on every page while nodes are killed under it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::haproxy::Haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_testkit::ports::poll_until;
use tidegate_testkit::producer::Producer;
use tidegate_tests::{Chromium, Page, Watch, output_dir};

use crate::foreign::Foreign;

const TOPIC: &str = "progress";
const STEPS: u32 = 100;
/// Pages; more than nodes, so that each node has one.
const PAGES: usize = 4;
/// 20 s for the whole job: time to kill two nodes and see them come back.
const STEP: Duration = Duration::from_millis(200);

/// 100 steps in order on every page, while two of three nodes are killed with SIGKILL in turn and come back. In the same
/// partitions is 1 MB/s of foreign keys.
#[test]
fn two_nodes_are_killed_and_every_page_sees_every_step_once() -> Result<()> {
    let output = output_dir("rig")?;
    let kafka = Kafka::start()?;
    kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
    let foreign = Foreign::start(&kafka.bootstrap(), TOPIC, 1_000_000)?;
    // A node that starts looks at the records that are there to find out where producers put their keys.
    poll_until("records of others", Duration::from_secs(20), || {
        ensure!(foreign.bytes() >= 1_000_000, "{} bytes so far", foreign.bytes());
        Ok(())
    })?;
    let mut nodes = start_nodes(&kafka, &output)?;
    let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
    let balancer = Haproxy::start(&ports, "/ready")?;

    let url = format!("http://127.0.0.1:{}/?job=job-rig", balancer.port());
    let mut browser = Chromium::open(&Watch {
        pages: vec![Page { url, start: false }; PAGES],
        steps: STEPS as usize,
        seconds: 120,
        screenshot: output.join("rig").to_string_lossy().into_owned(),
    })?;
    publish_while_nodes_die(&kafka, &mut nodes, &mut browser)?;
    let pages = browser.finish()?;
    let (bytes, ()) = (foreign.bytes(), foreign.finish()?);

    for (number, page) in pages.iter().enumerate() {
        eprintln!(
            "page {}: {} reconnects, {} recovered, at the end on {:?}",
            number + 1,
            page.reconnects,
            page.recovered,
            page.node
        );
        page.check(STEPS, STEP * STEPS * 3 / 4).with_context(|| format!("page {}", number + 1))?;
    }
    let reconnects: u64 = pages.iter().map(|page| page.reconnects).sum();
    ensure!(pages[0].reconnects == 2, "page 1 hung on both killed nodes, but came back {} times", pages[0].reconnects);
    ensure!(bytes >= 10_000_000, "only {bytes} foreign bytes");
    eprintln!("{reconnects} reconnects, {bytes} foreign bytes; lost, duplicated, reordered: 0");
    Ok(())
}

fn start_nodes(kafka: &Kafka, output: &Path) -> Result<Vec<Node>> {
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    (1..=3).map(|number| Node::start(Options::dev(&format!("node-{number}"), &broker, output))).collect()
}

/// The job, a plain Kafka producer. From step 20 to 40 the node of page 1 is away, from 55 to 75 the one it came to.
fn publish_while_nodes_die(kafka: &Kafka, nodes: &mut [Node], browser: &mut Chromium) -> Result<()> {
    let job = Producer::new(&kafka.bootstrap(), TOPIC, &[]);
    let mut away: Option<&mut Node> = None;
    for step in 1..=STEPS {
        let value = serde_json::json!({ "step": step, "total": STEPS, "message": format!("part {step}") });
        job.send("progress:job-rig", &value.to_string())?;
        match step {
            20 | 55 => {
                let name = browser.nodes()?.swap_remove(0);
                let node = nodes.iter_mut().find(|node| node.name() == name);
                let node = node.with_context(|| format!("page 1 hangs on {name:?}"))?;
                eprintln!("step {step}: kill -9 {name}");
                node.kill_9()?;
                away = Some(node);
            }
            40 | 75 => away.take().context("a node is away")?.restart()?,
            _ => {}
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
