//! Published packages on two nodes over a real Kafka, behind a balancer that takes another node for every request:
//! connections that hear on one node and say on the other, presence and orders across both. And clients that move between
//! the nodes at a bad moment, or say something to one that was killed.

mod expiring;
mod moving;
mod orphaned;
mod rules;

use std::time::Instant;

use anyhow::{Context as _, Result};
use tidegate_testkit::haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_testkit::proxy::Proxy;
use tidegate_tests::{output_dir, packages, sdk};

const TOPIC: &str = "main";

struct Cluster {
    balancer: Proxy,
    nodes: [Node; 2],
    // After the nodes: they end before it.
    _kafka: Kafka,
}

impl Cluster {
    fn start(name: &str, dev: bool, config: &str) -> Result<Self> {
        let output = output_dir(name)?;
        let file = output.join("tidegate.toml");
        std::fs::write(&file, config)?;
        let kafka = Kafka::start()?;
        kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
        kafka.tools().create_topic(&Topic::new(&format!("{TOPIC}.control"), 1))?;
        let kept = [("cleanup.policy", "compact,delete"), ("retention.ms", "31622400000")];
        kafka.tools().create_topic(&Topic { config: &kept, ..Topic::new(&format!("{TOPIC}.rules"), 1) })?;
        let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
        let start = |number: u32| {
            let arguments = vec!["--config".into(), file.clone().into()];
            Node::start(Options { arguments, dev, ..Options::dev(&format!("node-{number}"), &broker, &output) })
        };
        let nodes = [start(1)?, start(2)?];
        let balancer = haproxy::start(&nodes.each_ref().map(Node::port), "/ready")?;
        Ok(Self { balancer, nodes, _kafka: kafka })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.balancer.port())
    }
}

#[test]
fn every_transport_works_without_affinity() -> Result<()> {
    let cluster = Cluster::start("cluster", true, sdk::CONFIG)?;
    for (transport, protobuf) in
        [("websocket", false), ("http_stream", false), ("http_stream", true), ("sse", false), ("websocket", true)]
    {
        let encoding = if protobuf { "Protobuf" } else { "JSON" };
        let begun = Instant::now();
        sdk::run(&cluster.url(), transport, protobuf).with_context(|| format!("{transport} in {encoding}"))?;
        eprintln!("{transport} in {encoding}: {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn packages_of_other_languages_move_between_nodes() -> Result<()> {
    // One copy of everything is enough here.
    let config = format!("{}\n[kafka]\nallow_unsafe_topics = true\n[rules]\nenabled = true\n", packages::CONFIG);
    let cluster = Cluster::start("cluster-packages", false, &config)?;
    packages::run_all(&cluster.url(), &cluster.nodes.each_ref().map(Node::port))
}
