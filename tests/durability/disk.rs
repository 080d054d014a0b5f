//! A disk that is full, as a node and its clients see it: a limit on the size of files stands for it, which needs no disk
//! of its own and can be lifted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tidegate_testkit::node::{Node, Options, get, post};
use tidegate_tests::client::Client;
use tidegate_tests::output_dir;

/// Some hundred publications fit.
const FILE_BYTES_MAX: u64 = 4 << 20;
const PADDING_BYTES: usize = 8 << 10;
const HEALED_MAX: Duration = Duration::from_secs(10);

/// What the node answers to a publication.
fn publish(node: &Node, number: u64) -> Result<Value> {
    let data = json!({ "number": number, "padding": "x".repeat(PADDING_BYTES) });
    let body = json!({ "channel": "news", "data": data }).to_string();
    let response = post(node.port(), "/api/publish", &body)?;
    let (_, body) = response.split_once("\r\n\r\n").context("a response")?;
    serde_json::from_str(body).with_context(|| body.to_owned())
}

/// No file of the node may become larger than `bytes`.
fn limit_files(node: &Node, bytes: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(node.pid().context("it runs")?)?).context("a process id")?;
    let old = prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
    ensure!(old.maximum.is_none(), "files are limited already");
    Ok(())
}

/// While nothing can be stored, publications are answered with an error that says to retry, and nobody is disconnected;
/// when there is room, all goes on, and every acknowledged publication is delivered once.
#[test]
fn a_full_disk_refuses_publications_and_disconnects_nobody() -> Result<()> {
    let (output, data) = (output_dir("durability-disk")?, tempfile::tempdir()?);
    let broker = format!("embedded:{}", data.path().join("log").display());
    let node = Node::start(Options::dev("node-disk", &broker, &output))?;
    let mut client = Client::connect(node.port(), "")?;
    client.ask("subscribe", json!({ "channel": "news" }))?;
    limit_files(&node, Some(FILE_BYTES_MAX))?;
    let mut acknowledged = 0;
    let refused = loop {
        let answer = publish(&node, acknowledged + 1)?;
        if !answer["error"].is_null() {
            break answer;
        }
        acknowledged += 1;
        ensure!(acknowledged < 1_000, "the limit is never met");
    };
    ensure!(acknowledged > 0, "nothing fits: {refused}");
    ensure!(refused["error"]["temporary"] == true, "{refused}");
    for _ in 0..5 {
        ensure!(publish(&node, 0)?["error"]["temporary"] == true, "it stays full");
    }
    ensure!(get(node.port(), "/health")?.starts_with("HTTP/1.1 200 "), "it is alive");
    ensure!(client.ask("history", json!({ "channel": "news", "limit": 0 }))?["error"].is_null(), "clients stay");
    limit_files(&node, None)?;
    let begun = Instant::now();
    while !publish(&node, acknowledged + 1)?["error"].is_null() {
        ensure!(begun.elapsed() < HEALED_MAX, "there is room, and nothing is stored");
        std::thread::sleep(Duration::from_millis(50));
    }
    for n in 1..=acknowledged + 1 {
        let push = client.wait_for_push()?;
        ensure!(push["pub"]["data"]["number"] == n && push["pub"]["offset"] == n, "{push} at {n}");
    }
    Ok(())
}
