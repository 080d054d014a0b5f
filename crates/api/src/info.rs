//! `info`: the nodes and how they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_core::Report;

#[derive(Deserialize)]
struct Request {}

/// Nothing is asked: no body, or an object.
pub(crate) fn read(body: &[u8]) -> serde_json::Result<()> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    crate::read::request(body).map(|Request {}| ())
}

#[derive(Serialize)]
struct Info<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    uid: &'a str,
    name: &'a str,
    version: &'a str,
    num_clients: u64,
    /// Of a node whose version does not count them its sessions, which are no fewer.
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    uptime: u64,
}

/// `{"nodes":[...]}`. What other nodes say of themselves is a few seconds old.
pub(crate) fn write(nodes: &[(Arc<str>, Report)], out: &mut Vec<u8>) {
    fn node((uid, report): &(Arc<str>, Report)) -> Node<'_> {
        Node {
            uid,
            name: &report.name,
            version: &report.version,
            num_clients: report.clients,
            num_users: report.users.unwrap_or(report.clients),
            num_subs: report.subscriptions,
            num_channels: report.channels,
            uptime: report.uptime_seconds,
        }
    }
    let info = Info { nodes: nodes.iter().map(node).collect() };
    serde_json::to_writer(out, &info).expect("plain values serialise into memory");
}
