//! The official JavaScript library over every transport and encoding, on one node; and what browsers and proxies do with
//! connections that they keep.

mod kept;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::output_dir;

/// What the library saw.
#[derive(Deserialize)]
struct Seen {
    transport: String,
    /// Numbers published, with their offsets.
    seen: Vec<(u64, u64)>,
    recovered: bool,
    was_recovering: bool,
    history: Vec<u64>,
    refused: u32,
}

fn run(transport: &str, protobuf: bool) -> Result<()> {
    let output = output_dir(&format!("sdk-{transport}{}", if protobuf { "-protobuf" } else { "" }))?;
    let node = Node::start(Options::dev("node-1", "memory:", &output))?;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
    ensure!(dir.join("node_modules").is_dir(), "the library is missing: run cargo xtask test, or npm ci in {dir:?}");
    let options = serde_json::json!({ "url": node.url(), "transport": transport, "protobuf": protobuf });
    let run = Command::new("node").arg("sdk.mjs").arg(options.to_string()).current_dir(dir).output();
    let run = run.context("start node")?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let seen: Seen = serde_json::from_slice(&run.stdout)?;
    ensure!(seen.transport == transport, "connected over {}", seen.transport);
    let expected: Vec<(u64, u64)> = (1..=80).map(|n| (n, n)).collect();
    ensure!(seen.seen == expected, "lost, duplicated or reordered: {:?}", seen.seen);
    ensure!(seen.recovered && seen.was_recovering, "what was missed was not recovered");
    ensure!(seen.history == [80, 79, 78], "history: {:?}", seen.history);
    ensure!(seen.refused == 108, "rpc: {}", seen.refused);
    Ok(())
}

#[test]
fn websocket() -> Result<()> {
    run("websocket", false)
}

#[test]
fn websocket_protobuf() -> Result<()> {
    run("websocket", true)
}

#[test]
fn http_stream() -> Result<()> {
    run("http_stream", false)
}

#[test]
fn http_stream_protobuf() -> Result<()> {
    run("http_stream", true)
}

#[test]
fn sse() -> Result<()> {
    run("sse", false)
}
