//! Progress on every page while nodes are killed under it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_testkit::ports::poll_until;
use tidegate_testkit::producer::Producer;
use tidegate_tests::{Chromium, Page, Watch, output_dir};

use crate::foreign::Foreign;

const TOPIC: &str = "progress";
const STEPS: u32 = 100;
/// How each page hears. The first takes another way after every break.
const TRANSPORTS: [&str; 5] = ["change", "events", "http_stream", "sse", "websocket"];
/// 20 s for the whole job: time to kill nodes and see them come back.
const STEP: Duration = Duration::from_millis(200);
/// After these steps a node is killed: that of the first page, then that of the second, and so on in turn.
const KILLS: [u32; 6] = [10, 25, 40, 55, 70, 85];
/// It comes back so many steps later.
const AWAY: u32 = 9;

/// 100 steps in order on every page, whatever it hears by, while nodes are killed with SIGKILL in turn and come back. In the
/// same partitions is 1 MB/s of foreign keys.
#[test]
fn nodes_are_killed_and_every_page_sees_every_step_once() -> Result<()> {
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
    let balancer = haproxy::start(&ports, "/ready")?;

    let page = |transport| {
        let url = format!("http://127.0.0.1:{}/?job=job-rig&transport={transport}", balancer.port());
        Page { url, start: false }
    };
    let mut browser = Chromium::open(&Watch {
        pages: TRANSPORTS.map(page).to_vec(),
        steps: STEPS as usize,
        seconds: 120,
        screenshot: output.join("rig").to_string_lossy().into_owned(),
    })?;
    publish_while_nodes_die(&kafka, &mut nodes, &mut browser)?;
    let pages = browser.finish()?;
    let (bytes, ()) = (foreign.bytes(), foreign.finish()?);

    for (number, page) in pages.iter().enumerate() {
        eprintln!(
            "page {} ({}): {} reconnects, {} recovered, at the end on {:?}",
            number + 1,
            TRANSPORTS[number],
            page.reconnects,
            page.recovered,
            page.node
        );
        page.check(STEPS, STEP * STEPS * 3 / 4).with_context(|| format!("page {}", number + 1))?;
    }
    let reconnects: u64 = pages.iter().map(|page| page.reconnects).sum();
    for page in &pages[..2] {
        let (back, least) = (page.reconnects, KILLS.len() as u64 / 2);
        ensure!(back >= least, "a page whose node was killed {least} times came back {back} times");
    }
    ensure!(bytes >= 10_000_000, "only {bytes} foreign bytes");
    eprintln!("{reconnects} reconnects, {bytes} foreign bytes; lost, duplicated, reordered: 0");
    Ok(())
}

fn start_nodes(kafka: &Kafka, output: &Path) -> Result<Vec<Node>> {
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    (1..=3).map(|number| Node::start(Options::dev(&format!("node-{number}"), &broker, output))).collect()
}

/// The job, a plain Kafka producer.
fn publish_while_nodes_die(kafka: &Kafka, nodes: &mut [Node], browser: &mut Chromium) -> Result<()> {
    let job = Producer::new(&kafka.bootstrap(), TOPIC, &[]);
    let mut away: Option<&mut Node> = None;
    for step in 1..=STEPS {
        let value = serde_json::json!({ "step": step, "total": STEPS, "message": format!("part {step}") });
        job.send("progress:job-rig", &value.to_string())?;
        match step {
            _ if KILLS.contains(&step) => {
                let page = KILLS.iter().position(|kill| *kill == step).unwrap_or_default() % 2;
                let name = browser.nodes()?.swap_remove(page);
                let node = nodes.iter_mut().find(|node| node.name() == name);
                let node = node.with_context(|| format!("page {} hangs on {name:?}", page + 1))?;
                eprintln!("step {step}: kill -9 {name}");
                node.kill_9()?;
                away = Some(node);
            }
            _ if step.checked_sub(AWAY).is_some_and(|step| KILLS.contains(&step)) => {
                away.take().context("a node is away")?.restart()?
            }
            _ => {}
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
