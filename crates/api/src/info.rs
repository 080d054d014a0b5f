//! `info`: this node. Other nodes are not known yet.

use serde::Serialize;
use tidegate_core::NodeInfo;

#[derive(Serialize)]
struct Info<'a> {
    nodes: [Node<'a>; 1],
}

#[derive(Serialize)]
struct Node<'a> {
    uid: &'a str,
    name: &'a str,
    version: &'a str,
    num_clients: u64,
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    uptime: u64,
}

/// `{"nodes":[...]}`.
pub(crate) fn write(info: &NodeInfo, out: &mut Vec<u8>) {
    let node = Node {
        uid: &info.uid,
        name: &info.name,
        version: info.version,
        num_clients: info.num_clients,
        num_users: info.num_users,
        num_subs: info.num_subs,
        num_channels: info.num_channels,
        uptime: info.uptime_seconds,
    };
    serde_json::to_writer(out, &Info { nodes: [node] }).expect("plain values serialise into memory");
}
