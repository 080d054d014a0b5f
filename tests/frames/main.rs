//! Published WebSocket peers against the server: `ws` (npm), `websockets` (PyPI) and `tungstenite` (crates.io).
//!
//! All play the same sessions, so what one library would hide another shows. The codec by itself is tested in
//! `crates/framing/tests/rfc6455`; here it is the whole way from a foreign encoder through the socket and back.

mod scenario;
mod tungstenite;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use scenario::{Seen, Session, Step};
use tidegate_testkit::install::python;
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::output_dir;

/// Has `play` play the sessions on a node of its own, and names every session in which it saw something else.
fn run(name: &str, sessions: &[Session], play: impl FnOnce(u16) -> Result<Vec<Seen>>) -> Result<()> {
    let node = Node::start(Options::dev("node-1", "memory:", &output_dir(name)?))?;
    let seen = play(node.port())?;
    ensure!(seen.len() == sessions.len(), "{} of {} sessions", seen.len(), sessions.len());
    let check =
        |(session, seen): (&Session, &Seen)| Some(format!("{}: {:#}", session.name, session.check(seen).err()?));
    let failed: Vec<String> = sessions.iter().zip(&seen).filter_map(check).collect();
    ensure!(failed.is_empty(), "{} of {} sessions:\n{}", failed.len(), sessions.len(), failed.join("\n"));
    Ok(())
}

/// Gives the sessions to a script and reads what it saw.
fn script(command: &mut Command, port: u16, sessions: &[Session]) -> Result<Vec<Seen>> {
    let url = format!("ws://127.0.0.1:{port}/connection/websocket");
    let plan = serde_json::json!({ "url": url, "sessions": sessions }).to_string();
    command.current_dir(folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
    // It reads all before it writes, and dropping the pipe ends it.
    child.stdin.take().context("a pipe")?.write_all(plan.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("frames")
}

#[test]
fn ws_of_npm() -> Result<()> {
    ensure!(folder().join("node_modules").is_dir(), "ws is missing: run cargo xtask test, or npm ci in {:?}", folder());
    let sessions = scenario::sessions();
    run("frames-ws", &sessions, |port| script(Command::new("node").arg("ws.mjs"), port, &sessions))
}

#[test]
fn websockets_of_pypi() -> Result<()> {
    ensure!(python().is_file(), "websockets is missing: run cargo xtask test");
    // This library sends neither unmasked frames nor closes without a code.
    let cannot = |step: &Step| matches!(step, Step::Unmasked { .. } | Step::Close { code: None, .. });
    let sessions: Vec<Session> = scenario::sessions().into_iter().filter(|s| !s.steps.iter().any(cannot)).collect();
    run("frames-websockets", &sessions, |port| script(Command::new(python()).arg("peer.py"), port, &sessions))
}

#[test]
fn tungstenite_of_crates_io() -> Result<()> {
    let sessions = scenario::sessions();
    run("frames-tungstenite", &sessions, |port| sessions.iter().map(|s| tungstenite::play(port, s)).collect())
}
