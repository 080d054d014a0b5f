//! The node's counters as Prometheus reads them. Labels are shards and partitions; never a channel or a user.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tidegate_broker::Breaker;
use tidegate_core::Hub;
use tidegate_core::metrics::{Histogram, NodeMetrics, ShardMetrics};

/// A registry that reads everything anew each time it is encoded.
pub(super) fn registry(hub: Arc<Hub>, http2: Http2Connections) -> Registry {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Node { hub, http2 }));
    registry
}

/// The exposition.
pub(super) fn text(registry: &Registry) -> String {
    let mut out = String::with_capacity(16 << 10);
    text::encode(&mut out, registry).expect("writing to a string cannot fail");
    out
}

/// How many there are.
pub(super) type Http2Connections = Box<dyn Fn() -> usize + Send + Sync>;

struct Node {
    hub: Arc<Hub>,
    http2: Http2Connections,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Collector for Node {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        shards(self.hub.shard_metrics(), &mut encoder)?;
        node(self.hub.metrics(), &mut encoder)?;
        gauge("http2_connections", "Connections that speak HTTP/2", (self.http2)(), &mut encoder)?;
        partitions(&self.hub, &mut encoder)?;
        broker(&self.hub, &mut encoder)
    }
}

type ShardGauge = (&'static str, &'static str, fn(&ShardMetrics) -> i64);
type ShardCounter = (&'static str, &'static str, fn(&ShardMetrics) -> u64);
type NodeCounter = (&'static str, &'static str, fn(&NodeMetrics) -> u64);

const SHARD_GAUGES: &[ShardGauge] = &[
    ("connections", "Open connections, handshakes included", |m| m.connections.get()),
    ("clients", "Open sessions", |m| m.clients.get()),
    ("subscriptions", "Subscriptions", |m| m.subscriptions.get()),
    ("channels", "Channels with a subscription, counted once per shard", |m| m.channels.get()),
    ("behind", "Subscriptions that are behind the live stream", |m| m.behind.get()),
];

const SHARD_COUNTERS: &[ShardCounter] = &[
    ("deliveries", "Publications handed to a socket", |m| m.deliveries.get()),
    ("sent_bytes", "Bytes handed to sockets", |m| m.sent_bytes.get()),
    ("commands", "Commands of clients", |m| m.commands.get()),
    ("accepted", "Connections accepted", |m| m.accepted.get()),
    ("closed_no_pong", "Connections closed because they did not answer a ping", |m| m.closed_no_pong.get()),
    ("closed_slow", "Connections closed because they were too slow", |m| m.closed_slow.get()),
    ("closed_stale", "Handshakes and connects that did not come in time", |m| m.closed_stale.get()),
    ("closed_protocol", "Connections closed because they broke a protocol", |m| m.closed_protocol.get()),
    ("tls_handshakes", "TLS handshakes that were completed", |m| m.tls_handshakes.get()),
    ("tls_handshakes_failed", "TLS handshakes that began and led to nothing", |m| m.tls_handshakes_failed.get()),
    ("insufficient_state", "Subscriptions ended because their stream has a hole", |m| m.insufficient_state.get()),
    ("inbox_overflows", "Times a shard read from the window because its inbox was full", |m| m.inbox_overflows.get()),
];

const NODE_COUNTERS: &[NodeCounter] = &[
    ("publishes", "Publishes that the log accepted", |m| m.publishes.get()),
    ("publish_errors", "Publishes that failed", |m| m.publish_errors.get()),
    ("records", "Records read from the log", |m| m.records.get()),
    ("duplicates", "Records left out as duplicates of an idempotency key", |m| m.duplicates.get()),
    ("old_versions", "Records left out as old versions", |m| m.old_versions.get()),
    ("misplaced_records", "Records in another partition than their key's", |m| m.misplaced.get()),
    ("undecodable_records", "Records without a usable key, headers or payload", |m| m.undecodable.get()),
    ("recovered", "Recoveries that brought everything", |m| m.recovered.get()),
    ("unrecovered", "Recoveries that could not", |m| m.unrecovered.get()),
    ("tls_reloads", "Times a TLS certificate was taken into use while the node ran", |m| m.tls_reloads.get()),
    ("tls_reloads_failed", "Times a changed TLS certificate could not be used", |m| m.tls_reloads_failed.get()),
    ("log_reads", "Recoveries, catch-ups and history reads that had to read the log", |m| m.log_reads.get()),
];

fn shards(all: &[Arc<ShardMetrics>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, read) in SHARD_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (shard, metrics) in all.iter().enumerate() {
            ConstGauge::new(read(metrics)).encode(family.encode_family(&[("shard", shard)])?)?;
        }
    }
    for (name, help, read) in SHARD_COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (shard, metrics) in all.iter().enumerate() {
            ConstCounter::new(read(metrics)).encode(family.encode_family(&[("shard", shard)])?)?;
        }
    }
    let help = "From a record's entry into the window to the last of its first sends";
    let histograms = all.iter().map(|m| &m.window_to_socket);
    durations("window_to_socket", help, histograms, encoder)
}

fn node(metrics: &NodeMetrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, read) in NODE_COUNTERS {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(read(metrics)).encode(metric)?;
    }
    let help = "From a publish call to the log's acknowledgement";
    durations("publish_to_ack", help, std::iter::once(&metrics.publish_to_ack), encoder)
}

/// Several histograms as one, in seconds.
fn durations<'a>(
    name: &str,
    help: &str,
    parts: impl Iterator<Item = &'a Histogram>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut buckets: Vec<(f64, u64)> = (0..Histogram::BUCKETS).map(|i| ((1u64 << i) as f64 / 1e6, 0)).collect();
    let mut sum_us = 0;
    for part in parts {
        let (counts, sum) = part.snapshot();
        sum_us += sum;
        for (total, (_, count)) in buckets.iter_mut().zip(counts) {
            total.1 += count;
        }
    }
    if let Some(last) = buckets.last_mut() {
        // It has no upper bound.
        last.0 = f64::INFINITY;
    }
    let count = buckets.iter().map(|(_, n)| n).sum();
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum_us as f64 / 1e6, count, &buckets, None)
}

fn partitions(hub: &Hub, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let all = hub.partitions();
    let help = "Records that a partition's tail has not read yet; tailed partitions only";
    let mut family = encoder.encode_descriptor("tail_lag", help, None, MetricType::Gauge)?;
    for partition in all.iter().filter(|p| p.warm) {
        let lag = i64::try_from(partition.end - partition.next).unwrap_or(i64::MAX);
        ConstGauge::new(lag).encode(family.encode_family(&[("partition", partition.name.as_str())])?)?;
    }
    let warm = all.iter().filter(|p| p.warm).count();
    gauge("partitions_warm", "Partitions that are tailed and can serve", warm, encoder)?;
    gauge("partitions", "Partitions of all logs", all.len(), encoder)?;
    let held = all.iter().map(|p| p.held_bytes).sum();
    gauge("window_payload_bytes", "Payload bytes held in the window", held, encoder)
}

fn broker(hub: &Hub, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let health = hub.broker_health();
    let breaker = match health.breaker {
        Breaker::Closed => 0,
        Breaker::HalfOpen => 1,
        Breaker::Open => 2,
    };
    gauge("broker_breaker", "Circuit breaker of the backbone: 0 closed, 1 half-open, 2 open", breaker, encoder)?;
    let trouble = usize::from(!health.trouble.is_empty());
    gauge(
        "broker_trouble",
        "1 while the backbone reports trouble, such as damage; the log says what",
        trouble,
        encoder,
    )?;
    if let Some(control) = hub.control() {
        gauge("nodes", "Nodes that this one knows, itself among them", control.nodes().len(), encoder)?;
        gauge("present", "Clients present in all channels of all nodes", control.present(), encoder)?;
        let help = "Joins and leaves that a shard with too much to do was not told of";
        let metric = encoder.encode_descriptor("presence_untold", help, None, MetricType::Counter)?;
        ConstCounter::new(control.untold()).encode(metric)?;
    }
    if let Some(rules) = hub.rules() {
        gauge("rules", "Tokens and users that are revoked", rules.count(), encoder)?;
    }
    let uptime = usize::try_from(hub.report().uptime_seconds).unwrap_or(usize::MAX);
    gauge("uptime_seconds", "Since the node started", uptime, encoder)
}

fn gauge(name: &str, help: &str, value: usize, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
}
