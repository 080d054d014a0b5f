//! The official JavaScript library on two nodes over a real Kafka, behind a balancer that takes another node for every
//! request: connections that hear on one node and say on the other, presence and orders across both.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tidegate_testkit::haproxy::Haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::{output_dir, sdk};

const TOPIC: &str = "main";

#[test]
fn every_transport_works_without_affinity() -> Result<()> {
    let output = output_dir("cluster")?;
    let file = output.join("tidegate.toml");
    std::fs::write(&file, sdk::CONFIG)?;
    let kafka = Kafka::start()?;
    kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    let start = |number: u32| {
        let mut options = Options::dev(&format!("node-{number}"), &broker, &output);
        options.arguments = vec!["--config".into(), file.clone().into()];
        Node::start(options)
    };
    let nodes = [start(1)?, start(2)?];
    let balancer = Haproxy::start(&nodes.each_ref().map(Node::port), "/ready")?;
    let url = format!("http://127.0.0.1:{}", balancer.port());
    for (transport, protobuf) in
        [("websocket", false), ("http_stream", false), ("http_stream", true), ("sse", false), ("websocket", true)]
    {
        let encoding = if protobuf { "Protobuf" } else { "JSON" };
        let begun = Instant::now();
        sdk::run(&url, transport, protobuf).with_context(|| format!("{transport} in {encoding}"))?;
        eprintln!("{transport} in {encoding}: {:?}", begun.elapsed());
    }
    Ok(())
}
