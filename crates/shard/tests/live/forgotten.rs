//! Subscribers of channels that the log forgets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_broker::{Broker, Log, LogPurpose, LogSpec};
use tidegate_broker_embedded::Embedded;
use tidegate_core::ReadAfter;
use tidegate_core::config::CoreOptions;
use tidegate_store::Options;
use tidegate_types::{ChannelName, Offset};

use crate::rig::{Node, open_namespace, options};

/// A node whose log keeps next to nothing, for a second, and forgets then; and that log.
fn forgetful(directory: &std::path::Path) -> (Node, Arc<dyn Log>) {
    let store = Options { segment_bytes: 10_000, history_meta_ttl: Duration::ZERO, ..Options::default() };
    let broker = Arc::new(Embedded::new(directory.to_owned(), store));
    let mut namespace = open_namespace();
    (namespace.history_size, namespace.history_ttl) = (1, Duration::from_millis(1));
    let mut options = CoreOptions { default_namespace: Some(namespace), ..options() };
    // Whatever is not new gives way.
    options.window.payload_bytes_max = 2_000;
    let node = Node::on_broker(broker.clone(), options);
    let spec = LogSpec { name: "main".into(), read_only: false, purpose: LogPurpose::Publications };
    let log = node.wait_for(broker.open(&spec)).unwrap();
    (node, log)
}

/// Publishes elsewhere until the log has forgotten a channel, and is above some number.
fn until_forgotten(node: &Node, log: &Arc<dyn Log>, channel: &str, above: u64) -> u64 {
    let begun = Instant::now();
    loop {
        let (top, never) = (log.channel_top(channel).unwrap(), log.channel_top("never").unwrap());
        if top == never && top.last >= above {
            return top.last;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{channel} is forgotten within 20 s: {top:?}");
        node.publish("noise", &format!(r#""{}""#, "x".repeat(500)));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_is_subscribed_to_a_forgotten_channel_gets_the_next_publication_once() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = forgetful(directory.path());
    let (mut client, mut quiet) = (node.connect(), node.connect());
    client.subscribe(2, "job", None);
    assert_eq!(quiet.subscribe(2, "never-used", None)["offset"].as_u64().unwrap_or(0), 0);
    for n in 1..=3 {
        assert_eq!(node.publish("job", &n.to_string()).offset, Offset(n));
        assert_eq!(client.publication(), json!(n));
    }
    for n in 0..40 {
        node.publish("busy", &n.to_string());
    }
    let forgotten = until_forgotten(&node, &log, "job", 40);
    // What a slow one does, and everybody after an overflow.
    for (name, cursor) in [("job", 3), ("never-used", 0)] {
        let channel = node.hub.channel(&ChannelName::parse(name).unwrap()).unwrap();
        let read = |after| node.hub.read_after(&channel, Offset(after), 1_000);
        assert_eq!(read(cursor), ReadAfter::Publications(Vec::new()), "{name}");
        assert!(cursor == 0 || read(cursor - 1) == ReadAfter::NeedsLog, "{name}");
    }
    for (name, client) in [("job", &mut client), ("never-used", &mut quiet)] {
        for n in 1..=2 {
            assert_eq!(node.publish(name, &format!("{n}0")).offset, Offset(forgotten + n), "{name}");
            assert_eq!(client.publication(), json!(n * 10), "{name}");
        }
    }
    assert_eq!(node.hub.metrics().log_reads.get(), 0);
}

#[test]
fn who_comes_back_to_a_forgotten_channel_is_told_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = forgetful(directory.path());
    let mut client = node.connect();
    let epoch = client.subscribe(2, "job", None)["epoch"].as_str().unwrap().to_owned();
    for n in 0..3 {
        node.publish("job", &n.to_string());
        client.publication();
    }
    for n in 0..40 {
        node.publish("busy", &n.to_string());
    }
    drop(client);
    let forgotten = until_forgotten(&node, &log, "job", 40);
    let mut client = node.connect();
    for (id, since, recovered) in [(2, 3, json!(null)), (3, forgotten, json!(true)), (4, forgotten + 9, json!(null))] {
        let result = client.subscribe(id, "job", Some((since, &epoch)));
        assert_eq!((&result["recovered"], &result["offset"]), (&recovered, &json!(forgotten)), "{since}: {result}");
        client.say(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"job"}}}}"#, id + 10));
        client.reply(id + 10);
    }
    client.subscribe(5, "job", Some((forgotten, &epoch)));
    assert_eq!(node.publish("job", "7").offset, Offset(forgotten + 1));
    assert_eq!(client.publication(), json!(7));
}
