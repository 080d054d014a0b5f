//! The official JavaScript library over every transport and encoding, on one node; and what browsers and proxies do with
//! connections that they keep.

mod kept;
mod packages;
mod smuggling;

use anyhow::Result;
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::{output_dir, sdk};

fn run(transport: &str, protobuf: bool) -> Result<()> {
    let output = output_dir(&format!("sdk-{transport}{}", if protobuf { "-protobuf" } else { "" }))?;
    let file = output.join("tidegate.toml");
    std::fs::write(&file, sdk::CONFIG)?;
    let mut options = Options::dev("node-1", "memory:", &output);
    options.arguments = vec!["--config".into(), file.into()];
    let node = Node::start(options)?;
    sdk::run(&node.url(), transport, protobuf)
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
