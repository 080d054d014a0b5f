//! `info`: the nodes and how they are.

use std::sync::Arc;

use serde::Serialize;
use tidegate_core::{Hub, Report};

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
    /// Of another node its sessions, which are no fewer: its report has no users.
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    uptime: u64,
}

/// `{"nodes":[...]}`. What other nodes say of themselves is a few seconds old.
pub(crate) fn write(hub: &Hub, out: &mut Vec<u8>) {
    let nodes = hub.nodes();
    // This node is the first.
    let users = std::iter::once(hub.users().distinct() as u64).map(Some).chain(std::iter::repeat(None));
    let info = Info { nodes: nodes.iter().zip(users).map(|(node, users)| shown(node, users)).collect() };
    serde_json::to_writer(out, &info).expect("plain values serialise into memory");
}

fn shown((uid, report): &(Arc<str>, Report), users: Option<u64>) -> Node<'_> {
    Node {
        uid,
        name: &report.name,
        version: &report.version,
        num_clients: report.clients,
        num_users: users.unwrap_or(report.clients),
        num_subs: report.subscriptions,
        num_channels: report.channels,
        uptime: report.uptime_seconds,
    }
}
