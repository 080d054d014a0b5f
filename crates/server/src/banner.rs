//! What an operator sees first: where to go, on what it stands, and what is open.

use std::net::SocketAddr;

use tidegate_core::config::NamespaceOptions;

use crate::config::Config;

/// Logs it, one screen at most.
pub fn log(config: &Config, address: SocketAddr) {
    tracing::info!(
        "Tidegate {} listens on {address}, {} shards, node {}",
        env!("CARGO_PKG_VERSION"),
        config.shards,
        config.core.node_name
    );
    tracing::info!("log: {}", config.broker.url_text);
    for line in namespaces(config) {
        tracing::info!("{line}");
    }
    let (ws, http) = if config.tls.is_some() { ("wss", "https") } else { ("ws", "http") };
    tracing::info!("clients: {ws}://{address}/connection/websocket, {}", clients(config));
    tracing::info!("without a library: {http}://{address}/sse?channel=NAME");
    tracing::info!("server API: {http}://{address}/api/publish, {}", api(config));
    if config.dev {
        tracing::warn!(
            "development mode: anybody on this machine may subscribe, publish and call the API; not for production"
        );
    }
    if config.demo {
        tracing::info!("demo: {http}://{address}/");
    }
}

/// Namespaces named one by one; the others are counted.
const NAMESPACES_SHOWN: usize = 12;

fn namespaces(config: &Config) -> Vec<String> {
    let default = config.core.default_namespace.iter().map(|o| ("without namespace", o));
    let named = config.core.namespaces.iter().map(|(name, o)| (name.as_str(), o));
    let all: Vec<_> = default.chain(named).collect();
    if all.is_empty() {
        return vec!["no channel can be used: configure [namespaces.NAME] or [channel.without_namespace]".to_owned()];
    }
    let mut lines: Vec<_> = all.iter().take(NAMESPACES_SHOWN).map(|(name, o)| namespace(name, o)).collect();
    if all.len() > NAMESPACES_SHOWN {
        lines.push(format!("and {} namespaces more", all.len() - NAMESPACES_SHOWN));
    }
    lines
}

fn namespace(name: &str, o: &NamespaceOptions) -> String {
    let log = o.log.as_deref().map(|log| format!(" on {log}")).unwrap_or_default();
    let history = match o.has_history() {
        true => format!("history {} x {}", o.history_size, humantime::format_duration(o.history_ttl)),
        false => "no history".to_owned(),
    };
    let read_only = if o.read_only { ", read-only" } else { "" };
    format!("channels {name}{log}: {history}{read_only}")
}

fn clients(config: &Config) -> &'static str {
    match (config.core.client.allow_anonymous, config.core.token.has_keys()) {
        (true, true) => "with or without token",
        (true, false) => "without token",
        (false, true) => "with token",
        (false, false) => "nobody may connect: set a key in client.token, or client.allow_anonymous",
    }
}

fn api(config: &Config) -> &'static str {
    match (config.api.insecure, config.api.keys.is_empty()) {
        (true, _) => "without key",
        (false, false) => "with key",
        (false, true) => "off: set api.keys",
    }
}
