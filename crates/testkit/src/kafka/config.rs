//! What goes into `server.properties`.

use std::fmt::Write as _;
use std::path::Path;

use super::security::Passwords;

/// Ports of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    pub(crate) sasl: u16,
    pub(crate) tls: u16,
    pub(crate) sasl_tls: u16,
}

/// The whole file for node `index` (from 0) of `nodes`.
pub(crate) fn properties(
    index: usize,
    nodes: &[Ports],
    dir: &Path,
    security: Option<&Passwords>,
    extra: &[(String, String)],
) -> String {
    let own = nodes[index];
    let count = nodes.len().min(3);
    let min_isr = if count > 1 { count - 1 } else { 1 };
    let mut text = format!(
        "process.roles=broker,controller\nnode.id={}\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
         offsets.topic.num.partitions=1\ntransaction.state.log.num.partitions=1\n\
         share.coordinator.state.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\nbroker.heartbeat.interval.ms=500\n",
        index + 1,
        dir.join("data").display(),
    );
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        let _ = writeln!(text, "{topic}.replication.factor={count}");
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        let _ = writeln!(text, "{topic}.min.isr={min_isr}");
    }
    if nodes.len() == 1 {
        let _ = writeln!(text, "controller.quorum.bootstrap.servers=127.0.0.1:{}", own.controller);
        text.push_str("broker.session.timeout.ms=2000\n");
    } else {
        let voters: Vec<_> =
            nodes.iter().enumerate().map(|(i, p)| format!("{}@127.0.0.1:{}", i + 1, p.controller)).collect();
        let _ = writeln!(text, "controller.quorum.voters={}", voters.join(","));
        let _ = writeln!(text, "default.replication.factor={count}\nmin.insync.replicas={min_isr}");
        text.push_str("broker.session.timeout.ms=3000\n");
    }
    listeners(&mut text, own, dir, security);
    for (key, value) in extra {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

fn listeners(text: &mut String, own: Ports, dir: &Path, security: Option<&Passwords>) {
    let mut clients = vec![("PLAIN", own.plain, "PLAINTEXT")];
    if security.is_some() {
        clients.extend([
            ("SASL", own.sasl, "SASL_PLAINTEXT"),
            ("SSL", own.tls, "SSL"),
            ("SASLSSL", own.sasl_tls, "SASL_SSL"),
        ]);
    }
    let list = clients.iter().map(|(name, port, _)| format!("{name}://127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let map = clients.iter().map(|(name, _, kind)| format!("{name}:{kind}")).collect::<Vec<_>>().join(",");
    let _ = write!(
        text,
        "listeners={list},CONTROLLER://127.0.0.1:{}\nadvertised.listeners={list}\n\
         listener.security.protocol.map={map},CONTROLLER:PLAINTEXT\ninter.broker.listener.name=PLAIN\n",
        own.controller,
    );
    let Some(passwords) = security else { return };
    let module = "org.apache.kafka.common.security";
    text.push_str("sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n");
    for listener in ["sasl", "saslssl"] {
        let _ = write!(
            text,
            "listener.name.{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{}=\"{}\";\n\
             listener.name.{listener}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n",
            passwords.plain.0, passwords.plain.1,
        );
    }
    let _ = write!(
        text,
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         ssl.client.auth=none\n",
        dir.join("node.keystore.pem").display(),
        dir.join("ca.pem").display(),
    );
}
