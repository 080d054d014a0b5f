//! A topic is made anew, or gets more partitions, while clients watch it and while nobody does. Clients of another topic
//! notice nothing.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::post;
use tidegate_tests::client::Client;

use crate::{Rig, subscribe};

/// A topic that was made anew is looked at every two seconds, and may refuse for a moment.
const NOTICED_MAX: Duration = Duration::from_secs(20);

/// Publishes until it works; every refusal on the way says that trying again helps.
fn publish(rig: &Rig, channel: &str, data: &Value) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let response = post(rig.node.port(), "/api/publish", &json!({ "channel": channel, "data": data }).to_string())?;
        let (_, body) = response.split_once("\r\n\r\n").context("a response")?;
        let mut answer: Value = serde_json::from_str(body)?;
        if answer["error"].is_null() {
            return Ok(answer["result"].take());
        }
        ensure!(begun.elapsed() < NOTICED_MAX, "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The next publication.
fn hear(client: &mut Client) -> Result<Value> {
    let mut push = client.wait_for_push()?;
    ensure!(push["pub"].is_object(), "{push}");
    Ok(push["pub"].take())
}

fn until_told(client: &mut Client, channel: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < NOTICED_MAX {
        if let Some(push) = client.push()? {
            ensure!(push["channel"] == channel && push["unsubscribe"]["code"] == 2500, "{push}");
            return Ok(());
        }
    }
    bail!("the client was not told")
}

fn make_anew(kafka: &Kafka, topic: &str) -> Result<()> {
    kafka.tools().delete_topic(topic)?;
    // Its deletion goes on for a moment after the answer.
    let begun = Instant::now();
    while let Err(error) = kafka.tools().create_topic(&Topic::new(topic, 2)) {
        ensure!(begun.elapsed() < NOTICED_MAX, "{error:#}");
    }
    Ok(())
}

/// What `change` does to the first topic is told to its subscriber, who then starts anew; a witness on the second gets
/// everything and nothing else.
fn watched(name: &str, change: impl FnOnce(&Kafka, &str) -> Result<()>) -> Result<()> {
    let rig = Rig::start(name, &[("own", 2), ("other", 2)], "", |_, _| Ok(()))?;
    let (mut client, mut witness) = (rig.connect()?, rig.connect()?);
    subscribe(&mut client, "own:a", None)?;
    subscribe(&mut witness, "other:a", None)?;
    let before = publish(&rig, "own:a", &json!(1))?;
    ensure!(hear(&mut client)?["data"] == 1);
    publish(&rig, "other:a", &json!(1))?;
    change(&rig.kafka, &rig.topics[0])?;
    until_told(&mut client, "own:a")?;
    let old = (before["offset"].as_u64().context("an offset")?, before["epoch"].as_str().context("an epoch")?);
    let result = subscribe(&mut client, "own:a", Some(old))?;
    ensure!(result["recovered"] != true && result["epoch"] != old.1, "{result}");
    let after = publish(&rig, "own:a", &json!(2))?;
    ensure!(after["epoch"] == result["epoch"], "{after} {result}");
    ensure!(hear(&mut client)?["data"] == 2);
    publish(&rig, "other:a", &json!(2))?;
    for n in 1..=2 {
        ensure!(hear(&mut witness)?["data"] == n, "the witness notices nothing");
    }
    ensure!(rig.log()?.contains("older positions cannot be recovered"), "{}", rig.log()?);
    Ok(())
}

#[test]
fn a_topic_made_anew_is_told_to_its_subscribers_and_to_nobody_else() -> Result<()> {
    watched("anew", make_anew)
}

#[test]
fn a_topic_that_grows_is_told_to_its_subscribers_and_to_nobody_else() -> Result<()> {
    watched("grown", |kafka, topic| kafka.tools().set_partitions(topic, 6))
}

/// The same while nobody watches: every channel can be published to and read, and an old position is no position.
fn unwatched(name: &str, change: impl FnOnce(&Kafka, &str) -> Result<()>) -> Result<()> {
    let rig = Rig::start(name, &[("own", 2)], "", |_, _| Ok(()))?;
    let before = publish(&rig, "own:0", &json!("old"))?;
    change(&rig.kafka, &rig.topics[0])?;
    let begun = Instant::now();
    while publish(&rig, "own:0", &json!("new"))?["epoch"] == before["epoch"] {
        ensure!(begun.elapsed() < NOTICED_MAX, "nobody noticed");
        std::thread::sleep(Duration::from_millis(100));
    }
    let old = (before["offset"].as_u64().context("an offset")?, before["epoch"].as_str().context("an epoch")?);
    let mut client = rig.connect()?;
    let result = subscribe(&mut client, "own:0", Some(old))?;
    ensure!(result["recovered"] != true && result["epoch"] != old.1, "{result}");
    for n in 1..20 {
        let channel = format!("own:{n}");
        subscribe(&mut client, &channel, None)?;
        publish(&rig, &channel, &json!(n))?;
        ensure!(hear(&mut client).context(channel.clone())?["data"] == n, "{channel}");
    }
    Ok(())
}

#[test]
fn a_topic_made_anew_while_nobody_watches_is_another_one() -> Result<()> {
    unwatched("anew-unwatched", make_anew)
}

#[test]
fn partitions_added_while_nobody_watches_are_used() -> Result<()> {
    unwatched("grown-unwatched", |kafka, topic| kafka.tools().set_partitions(topic, 6))
}
