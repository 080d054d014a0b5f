//! Progress on every page while nodes are killed under it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_testkit::ports::{free, poll_until};
use tidegate_testkit::producer::Producer;
use tidegate_testkit::{haproxy, nginx};
use tidegate_tests::{Chromium, Page, Watch, output_dir};

use crate::foreign::Foreign;

const TOPIC: &str = "progress";
const STEPS: u32 = 100;
const HAPROXY: &str = "haproxy";
const NGINX: &str = "nginx";
/// What each page is behind, and how it hears. Those that change take another way after every break.
const PAGES: [(&str, &str); 9] = [
    (HAPROXY, "change"),
    (NGINX, "change"),
    (HAPROXY, "events"),
    (NGINX, "http_stream"),
    (HAPROXY, "sse"),
    (NGINX, "websocket"),
    (HAPROXY, "http_stream"),
    (NGINX, "sse"),
    (HAPROXY, "websocket"),
];
/// 20 s for the whole job: time to kill nodes and see them come back.
const STEP: Duration = Duration::from_millis(200);
/// After these steps a node is killed: that of the page that lost the fewest so far.
const KILLS: [u32; 6] = [10, 25, 40, 55, 70, 85];
/// It comes back so many steps later.
const AWAY: u32 = 9;

/// 100 steps in order on every page, whatever it hears by and is behind, while nodes are killed with SIGKILL in turn and come
/// back. In the same partitions is 1 MB/s of foreign keys.
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
    let ports: [u16; 3] = free()?;
    let nginx = nginx::start(&ports)?;
    let mut nodes = start_nodes(&kafka, ports, &format!("http://127.0.0.1:{}", nginx.port()), &output)?;
    let haproxy = haproxy::start(&ports, "/ready")?;

    let page = |(balancer, transport)| {
        let port = if balancer == NGINX { nginx.port() } else { haproxy.port() };
        let url = format!("http://127.0.0.1:{port}/?job=job-rig&transport={transport}");
        Page { name: format!("{balancer}-{transport}"), url, start: false }
    };
    let mut browser = Chromium::open(&Watch {
        pages: PAGES.map(page).to_vec(),
        steps: STEPS as usize,
        seconds: 120,
        screenshot: output.join("rig").to_string_lossy().into_owned(),
    })?;
    let lost_nodes = publish_while_nodes_die(&kafka, &mut nodes, &mut browser)?;
    let pages = browser.finish()?;
    let (bytes, ()) = (foreign.bytes(), foreign.finish()?);

    for (((balancer, transport), page), lost) in PAGES.iter().zip(&pages).zip(lost_nodes) {
        let (back, recovered, node) = (page.reconnects, page.recovered, &page.node);
        eprintln!(
            "{balancer}, {transport}: {lost} nodes lost, {back} reconnects, {recovered} recovered, at the end on {node:?}"
        );
        page.check(STEPS, STEP * STEPS * 3 / 4).with_context(|| format!("{transport} behind {balancer}"))?;
        ensure!(
            (1..=back).contains(&lost),
            "{transport} behind {balancer} lost {lost} nodes and came back {back} times"
        );
    }
    let reconnects: u64 = pages.iter().map(|page| page.reconnects).sum();
    ensure!(bytes >= 10_000_000, "only {bytes} foreign bytes");
    eprintln!("{reconnects} reconnects, {bytes} foreign bytes; lost, duplicated, reordered: 0");
    Ok(())
}

/// Pages of `origin` are let in by name: nginx with its defaults tells a node a `Host` that is not theirs.
fn start_nodes(kafka: &Kafka, ports: [u16; 3], origin: &str, output: &Path) -> Result<Vec<Node>> {
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    let file = output.join("tidegate.toml");
    std::fs::write(&file, format!("[client]\nallowed_origins = [{origin:?}]\n"))?;
    let start = |(number, port)| {
        let arguments = vec!["--config".into(), file.clone().into()];
        Node::start_at(port, Options { arguments, ..Options::dev(&format!("node-{number}"), &broker, output) })
    };
    (1..).zip(ports).map(start).collect()
}

/// The job, a plain Kafka producer. How many nodes each page lost.
fn publish_while_nodes_die(kafka: &Kafka, nodes: &mut [Node], browser: &mut Chromium) -> Result<[u64; PAGES.len()]> {
    let job = Producer::new(&kafka.bootstrap(), TOPIC, &[]);
    let mut lost = [0; PAGES.len()];
    let mut away: Option<&mut Node> = None;
    for step in 1..=STEPS {
        let value = serde_json::json!({ "step": step, "total": STEPS, "message": format!("part {step}") });
        job.send("progress:job-rig", &value.to_string())?;
        match step {
            _ if KILLS.contains(&step) => {
                let names = browser.nodes()?;
                let connected = (0..names.len()).filter(|page| !names[*page].is_empty());
                let page = connected.min_by_key(|page| lost[*page]).context("no page is connected")?;
                let node = nodes.iter_mut().find(|node| node.name() == names[page]);
                let node = node.with_context(|| format!("{:?} hangs on {:?}", PAGES[page], names[page]))?;
                eprintln!("step {step}: kill -9 {}", node.name());
                node.kill_9()?;
                for (lost, _) in lost.iter_mut().zip(&names).filter(|(_, name)| *name == node.name()) {
                    *lost += 1;
                }
                away = Some(node);
            }
            _ if step.checked_sub(AWAY).is_some_and(|step| KILLS.contains(&step)) => {
                away.take().context("a node is away")?.restart()?
            }
            _ => {}
        }
        std::thread::sleep(STEP);
    }
    Ok(lost)
}
