//! Streams over HTTP/2 in Chromium, which opens six connections to a host over HTTP/1.1 and no more.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::{driver, output_dir};

/// What a page saw.
#[derive(Debug, Deserialize)]
struct Seen {
    opened: usize,
    got: usize,
    published: String,
    socket: bool,
    errors: Vec<String>,
    protocols: Vec<String>,
}

fn watch(options: Options, seconds: u64) -> Result<Seen> {
    let node = Node::start(options)?;
    let options = json!({"url": node.url(), "sources": 12, "streams": 4, "seconds": seconds});
    let output = driver("streams.mjs", options)?.output().context("start node")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_page_has_more_streams_than_connections() -> Result<()> {
    let output = output_dir("browser-http2")?;
    let seen = watch(Options { tls: true, ..Options::dev("node-1", "memory:", &output) }, 20)?;
    ensure!(seen.opened == 16 && seen.got == 16 && seen.errors.is_empty(), "{seen:?}");
    ensure!(seen.published.contains("offset") && seen.socket && seen.protocols == ["h2"], "{seen:?}");
    Ok(())
}

/// That the test above means something: without HTTP/2 such a page has six streams, and its publish waits behind them.
#[test]
fn without_http_2_it_has_not() -> Result<()> {
    let (output, dir) = (output_dir("browser-http1")?, tempfile::tempdir()?);
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, "[http2]\nenabled = false\n")?;
    let arguments = vec!["--config".into(), config.into()];
    let seen = watch(Options { tls: true, arguments, ..Options::dev("node-1", "memory:", &output) }, 3)?;
    ensure!(seen.opened == 6 && seen.got == 0 && seen.published.is_empty(), "{seen:?}");
    Ok(())
}
