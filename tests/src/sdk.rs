//! The official JavaScript library, run against a server.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

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
    /// Users present, sorted, before and after one of them left.
    present: Vec<Vec<String>>,
    /// Joins and leaves that the first of them was told of.
    changes: Vec<String>,
    /// Numbers that came as a stream of deltas.
    deltas: Vec<u64>,
    /// The code with which a backend closed a connection.
    closed: u32,
}

/// A configuration with what the library's script needs. Its token key is `secret`.
pub const CONFIG: &str = r#"
[client]
allow_anonymous = true

[client.token]
hmac_secret_key = "secret"

[channel.without_namespace]
history_size = 1000
history_ttl = "10m"
force_recovery = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
allow_history_for_client = true
allow_history_for_anonymous = true
presence = true
join_leave = true
allow_presence_for_client = true
allow_presence_for_anonymous = true
allowed_delta_types = ["fossil"]
delta_publish = true
"#;

/// Runs the script over one transport against whatever answers at `url`, and checks what it saw.
///
/// # Errors
/// When something was lost, duplicated, reordered or otherwise not as the protocol has it; the text says what.
pub fn run(url: &str, transport: &str, protobuf: bool) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
    ensure!(dir.join("node_modules").is_dir(), "the library is missing: run cargo xtask test, or npm ci in {dir:?}");
    let options = serde_json::json!({ "url": url, "transport": transport, "protobuf": protobuf, "secret": "secret" });
    let run = Command::new("node").arg("sdk.mjs").arg(options.to_string()).current_dir(dir).output();
    let run = run.context("start node")?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let seen: Seen = serde_json::from_slice(&run.stdout)?;
    ensure!(seen.transport == transport, "connected over {}", seen.transport);
    let numbers: Vec<u64> = seen.seen.iter().map(|(n, _)| *n).collect();
    ensure!(numbers == (1..=80).collect::<Vec<_>>(), "lost, duplicated or reordered: {:?}", seen.seen);
    ensure!(seen.seen.is_sorted_by(|a, b| a.1 < b.1), "offsets do not grow: {:?}", seen.seen);
    ensure!(seen.recovered && seen.was_recovering, "what was missed was not recovered");
    ensure!(seen.history == [80, 79, 78], "history: {:?}", seen.history);
    ensure!(seen.refused == 108, "rpc: {}", seen.refused);
    ensure!(seen.present == [vec!["ann", "bob"], vec!["ann"]], "presence: {:?}", seen.present);
    ensure!(seen.changes == ["join ann", "join bob", "leave bob"], "changes: {:?}", seen.changes);
    ensure!(seen.deltas == (1..=20).collect::<Vec<_>>(), "deltas: {:?}", seen.deltas);
    ensure!(seen.closed == 3503, "closed by a backend: {}", seen.closed);
    Ok(())
}
