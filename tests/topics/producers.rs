//! Records of producers that have never heard of the server reach the subscribers of their keys.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidegate_testkit::producer::Producer;
use tidegate_tests::client::Client;

use crate::{Rig, subscribe};

const KEYS: usize = 200;

fn records(word: &str) -> Vec<(String, String)> {
    (0..KEYS).map(|n| (format!("job{n}"), format!("{word} {n}"))).collect()
}

/// Every subscription gets its record, as text, and nothing else.
fn hear_all(client: &mut Client, namespace: &str, word: &str) -> Result<()> {
    let mut heard = BTreeMap::new();
    while heard.len() < KEYS {
        let push = client.wait_for_push().with_context(|| format!("{} of {KEYS}", heard.len()))?;
        let channel = push["channel"].as_str().context("a channel")?.to_owned();
        ensure!(heard.insert(channel, push["pub"]["data"].clone()).is_none(), "{push} twice");
    }
    for (key, value) in records(word) {
        ensure!(heard[&format!("{namespace}:{key}")] == value, "{key}: {heard:?}");
    }
    Ok(())
}

/// A Java producer's keys and those of `kcat` lie by different hashes: each is found without a setting, what was there
/// before and what comes later.
#[test]
fn keys_of_java_and_of_kcat_are_found_and_delivered() -> Result<()> {
    let rig =
        Rig::start("producers", &[("java", 8), ("kcat", 8)], "[client]\nchannel_limit = 500\n", |kafka, topics| {
            kafka.tools().console_produce(&topics[0], &records("old"))?;
            kafka.tools().kcat_produce(&topics[1], &records("old"))
        })?;
    for (namespace, at) in [("java", 0), ("kcat", 1)] {
        let mut client = rig.connect()?;
        for (key, value) in records("old") {
            let result = subscribe(&mut client, &format!("{namespace}:{key}"), Some((0, "")))?;
            let publications = result["publications"].as_array().context("publications")?;
            ensure!(publications.len() == 1 && publications[0]["data"] == value, "{key}: {result}");
        }
        let tools = rig.kafka.tools();
        match at {
            0 => tools.console_produce(&rig.topics[at], &records("new"))?,
            _ => tools.kcat_produce(&rig.topics[at], &records("new"))?,
        }
        hear_all(&mut client, namespace, "new").context(namespace)?;
    }
    ensure!(!rig.log()?.contains("set kafka.partitioner"), "nothing was wrong: {}", rig.log()?);
    Ok(())
}

/// Several namespaces, each with its topic; JSON comes as it is, text as a string.
#[test]
fn a_record_of_kcat_reaches_the_channel_of_its_topic() -> Result<()> {
    let rig = Rig::start("namespaces", &[("progress", 8), ("chat", 2)], "", |_, _| Ok(()))?;
    let mut client = rig.connect()?;
    for channel in ["progress:job42", "chat:job42"] {
        subscribe(&mut client, channel, None)?;
    }
    // An empty topic says nothing of its producers: the first records may lie elsewhere, and what tells is on its way.
    let bootstrap = rig.kafka.bootstrap();
    let send = |at: usize, value| {
        Producer::new(&bootstrap, &rig.topics[at], &["partitioner=murmur2_random"]).send("job42", value)
    };
    send(0, r#"{"done": 7}"#)?;
    let push = client.wait_for_push()?;
    ensure!((&push["channel"], &push["pub"]["data"]) == (&json!("progress:job42"), &json!({ "done": 7 })), "{push}");
    send(1, "half of it")?;
    let push = client.wait_for_push()?;
    ensure!((&push["channel"], &push["pub"]["data"]) == (&json!("chat:job42"), &json!("half of it")), "{push}");
    Ok(())
}

/// The wrong setting is named, with the right one; and so is a record that lies where its key does not belong.
#[test]
fn a_wrong_partitioner_is_named_in_the_log() -> Result<()> {
    let settings = "[kafka]\npartitioner = \"murmur2\"\n";
    let rig = Rig::start("partitioner", &[("kcat", 8)], settings, |kafka, topics| {
        kafka.tools().kcat_produce(&topics[0], &records("old"))
    })?;
    let log = rig.log()?;
    ensure!(log.contains("set kafka.partitioner = \"crc32\""), "{log}");
    let mut client = rig.connect()?;
    // Keys enough for a record in a partition that is read and is not its own.
    for n in 0..20 {
        subscribe(&mut client, &format!("kcat:job{n}"), None)?;
    }
    rig.kafka.tools().kcat_produce(&rig.topics[0], &records("new"))?;
    let begun = std::time::Instant::now();
    while !rig.log()?.contains("a record lies in another partition than murmur2 puts its key (it fits crc32") {
        ensure!(begun.elapsed().as_secs() < 10, "{}", rig.log()?);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}
