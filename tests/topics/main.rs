//! Topics that a team has already, on a real Kafka: what other people's producers write, and what becomes of the topics
//! themselves, as subscribers of one node see it.

mod changes;
mod producers;
mod recovery;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::client::Client;
use tidegate_tests::output_dir;

/// One Kafka for all tests that run at the same time.
fn kafka() -> Result<Arc<Kafka>> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(Kafka::start()?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

/// A node and topics of its own, each bound to the namespace of the same name.
struct Rig {
    node: Node,
    topics: Vec<String>,
    // After the node: it ends before it.
    kafka: Arc<Kafka>,
}

impl Rig {
    /// `fill` is called when the topics are there and the node is not. `settings` go into its configuration.
    fn start(
        name: &str,
        namespaces: &[(&str, u32)],
        settings: &str,
        fill: impl FnOnce(&Kafka, &[String]) -> Result<()>,
    ) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let kafka = kafka()?;
        let number = COUNT.fetch_add(1, Relaxed);
        let mut config = format!("dev = true\n[control]\nenabled = false\n[rules]\nenabled = false\n{settings}\n");
        let mut topics = Vec::new();
        for (namespace, partitions) in namespaces {
            let topic = format!("{namespace}-{number}");
            kafka.tools().create_topic(&Topic::new(&topic, *partitions))?;
            config.push_str(&format!(
                "[namespaces.{namespace}]\nlog = \"{topic}\"\nhistory_size = 100000\nhistory_ttl = \"1h\"\n\
                 force_recovery = true\nallow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true\n"
            ));
            topics.push(topic);
        }
        fill(&kafka, &topics)?;
        let output = output_dir(&format!("topics-{name}"))?;
        let file: PathBuf = output.join("tidegate.toml");
        std::fs::write(&file, config)?;
        let broker = format!("kafka://{}/default-{number}", kafka.bootstrap());
        let arguments = vec!["--config".into(), file.into()];
        let node = Node::start(Options { arguments, dev: false, ..Options::dev("node", &broker, &output) })?;
        Ok(Self { node, topics, kafka })
    }

    fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.node.log()).context("the node's log")
    }

    fn connect(&self) -> Result<Client> {
        Client::connect(self.node.port(), "")
    }
}

/// Subscribes; the result.
fn subscribe(client: &mut Client, channel: &str, since: Option<(u64, &str)>) -> Result<Value> {
    let mut request = json!({ "channel": channel });
    if let Some((offset, epoch)) = since {
        request["recover"] = json!(true);
        request["offset"] = json!(offset);
        request["epoch"] = json!(epoch);
    }
    let mut answer = client.ask("subscribe", request)?;
    ensure!(answer["error"].is_null(), "{channel}: {answer}");
    Ok(answer["subscribe"].take())
}
