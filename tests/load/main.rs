//! A load on the rig: three nodes, one real Kafka and `HAProxy`, 2,000 clients that come back wherever the balancer sends
//! them, publishers that use any node, and one fault after the other.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::haproxy;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options, get};
use tidegate_testkit::process::run;
use tidegate_testkit::proxy::Proxy;
use tidegate_tests::load::{Board, Channel, Client, Publishers};
use tidegate_tests::output_dir;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

const TOPIC: &str = "load";
const CLIENTS: usize = 2_000;
const CHANNELS: usize = 400;
const EACH: usize = 5;
const PER_SECOND: u64 = 200;
/// How long each fault's load goes on.
const PHASE: Duration = Duration::from_secs(60);
/// From the cut to the last subscription of a client, for 99 of 100.
const RESUMED_P99_MAX: Duration = Duration::from_secs(5);
/// After the last acknowledgement: until everybody has everything.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(30);
const KAFKA_AWAY: Duration = Duration::from_secs(10);

/// A node is killed, all are restarted in turn, Kafka goes away: 200 publications/s for a minute each, and no client
/// misses one, sees one twice or waits long.
#[test]
fn clients_lose_nothing_whatever_fails() -> Result<()> {
    raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut rig = spawn_blocking(Rig::start).await??;
        rig.connect_clients().await?;
        rig.node_killed().await.context("a node is killed")?;
        rig.rolling_restart().await.context("rolling restart")?;
        rig.kafka_away().await.context("Kafka is away")?;
        rig.finish().await
    })
}

/// 0 closed, 1 half-open, 2 open.
fn breaker(node: &Node) -> Result<u32> {
    let metrics = get(node.port(), "/metrics")?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("tidegate_broker_breaker "));
    Ok(value.context("the breaker's metric")?.parse()?)
}

struct Rig {
    // In the order in which they end.
    balancer: Proxy,
    nodes: Vec<Node>,
    kafka: Kafka,
    board: Arc<Board>,
    channels: Arc<[Channel]>,
    /// Each client's running total, and what it waits for.
    clients: Vec<(Arc<AtomicU64>, Vec<usize>)>,
    running: JoinSet<()>,
}

impl Rig {
    fn start() -> Result<Self> {
        let output = output_dir("load")?;
        let kafka = Kafka::start()?;
        kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
        let nodes = start_nodes(&kafka, &output)?;
        let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
        let balancer = haproxy::start(&ports, "/ready")?;
        let channels = (0..CHANNELS).map(|index| Channel::new(format!("c{index}"))).collect();
        Ok(Self {
            balancer,
            nodes,
            kafka,
            board: Arc::default(),
            channels,
            clients: Vec::new(),
            running: JoinSet::new(),
        })
    }

    async fn connect_clients(&mut self) -> Result<()> {
        let url: Arc<str> = format!("ws://127.0.0.1:{}/connection/websocket", self.balancer.port()).into();
        for index in 0..CLIENTS {
            let channels: Vec<usize> = (0..EACH).map(|n| (index + n * CHANNELS / EACH) % CHANNELS).collect();
            let names = channels.iter().map(|c| self.channels[*c].name().to_owned());
            let client = Client::new(&url, &self.board, names);
            self.clients.push((client.total(), channels));
            self.running.spawn(client.run());
            sleep(Duration::from_millis(2)).await;
        }
        self.board.until_live(CLIENTS as u64, CAUGHT_UP_MAX).await
    }

    /// `kill -9` of one of three, which comes back when its clients are elsewhere.
    async fn node_killed(&mut self) -> Result<()> {
        let publishers = self.publish();
        sleep(PHASE / 4).await;
        self.nodes[0].kill_9()?;
        sleep(PHASE / 2).await;
        let node = restarted(self.nodes.remove(0)).await?;
        self.nodes.push(node);
        sleep(PHASE / 4).await;
        publishers.finish().await?;
        self.settled("kill -9", CLIENTS / 4..=CLIENTS / 2).await
    }

    /// SIGTERM and a new start, one node after the other.
    async fn rolling_restart(&mut self) -> Result<()> {
        let publishers = self.publish();
        let began = Instant::now();
        for _ in 0..self.nodes.len() {
            sleep(PHASE / 8).await;
            let node = restarted(self.nodes.remove(0)).await?;
            self.nodes.push(node);
        }
        sleep(PHASE.saturating_sub(began.elapsed())).await;
        publishers.finish().await?;
        // Who comes to a node that is yet to be restarted is cut again.
        self.settled("rolling restart", CLIENTS..=2 * CLIENTS).await
    }

    /// Kafka stops and comes back with what it had.
    async fn kafka_away(&mut self) -> Result<()> {
        let publishers = self.publish();
        let began = Instant::now();
        sleep(PHASE / 4).await;
        self.kafka.stop(0)?;
        sleep(KAFKA_AWAY).await;
        let refused = publishers.retryable();
        ensure!(refused > 0, "no publication was answered while Kafka was away");
        for node in &self.nodes {
            let ready = get(node.port(), "/ready")?;
            ensure!(ready.starts_with("HTTP/1.1 200 "), "{} is not ready without Kafka: {ready}", node.name());
            let breaker = breaker(node)?;
            ensure!(breaker > 0, "{}: Kafka is away and the breaker is closed", node.name());
        }
        self.kafka.restart(0)?;
        sleep(PHASE.saturating_sub(began.elapsed())).await;
        publishers.finish().await?;
        eprintln!("Kafka away: {refused} publications answered with a retryable error");
        for node in &self.nodes {
            ensure!(breaker(node)? == 0, "{}: Kafka is back and the breaker is not closed", node.name());
        }
        self.settled("Kafka away", 0..=0).await
    }

    async fn finish(mut self) -> Result<()> {
        self.board.stop();
        self.running.abort_all();
        for node in &mut self.nodes {
            node.check_alive()?;
        }
        let mut groups = self.kafka.tools().command("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        let groups = run(groups.arg("--list"))?;
        ensure!(groups.trim().is_empty(), "three nodes have read everything without a group, and there are: {groups}");
        self.board.check()
    }

    fn publish(&self) -> Publishers {
        let ports: Vec<u16> = self.nodes.iter().map(Node::port).collect();
        Publishers::start(&ports, &self.channels, PER_SECOND)
    }

    /// Everybody is there, has everything, and was back in time.
    async fn settled(&self, fault: &str, cut: RangeInclusive<usize>) -> Result<()> {
        self.board.until_live(CLIENTS as u64, CAUGHT_UP_MAX).await?;
        let began = Instant::now();
        loop {
            let behind = self.clients.iter().filter(|(total, channels)| {
                let due: u64 = channels.iter().map(|c| self.channels[*c].count()).sum();
                total.load(Ordering::Relaxed) < due
            });
            let behind = behind.count();
            if behind == 0 {
                break;
            }
            self.board.check()?;
            ensure!(began.elapsed() < CAUGHT_UP_MAX, "{behind} clients did not get everything");
            sleep(Duration::from_millis(100)).await;
        }
        self.board.check()?;
        let mut resumed = self.board.take_resumed();
        ensure!(cut.contains(&resumed.len()), "{} clients were cut, not {cut:?}", resumed.len());
        resumed.sort_unstable();
        let at = |percent: usize| resumed.get((resumed.len() * percent / 100).min(resumed.len().saturating_sub(1)));
        let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
        let published: u64 = self.channels.iter().map(|channel| channel.count()).sum();
        eprintln!(
            "{fault}: {} clients resumed, p50 {p50:.0?}, p99 {p99:.0?}, max {max:.0?}; {published} published so far, {} recovered; \
             lost, duplicated, reordered: 0",
            resumed.len(),
            self.board.recovered(),
        );
        ensure!(p99 <= RESUMED_P99_MAX, "clients were back too late: p99 {p99:?}");
        Ok(())
    }
}

fn start_nodes(kafka: &Kafka, output: &Path) -> Result<Vec<Node>> {
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    (1..=3).map(|number| Node::start(Options::dev(&format!("node-{number}"), &broker, output))).collect()
}

/// Ends a node, if it runs, and starts it again, without holding up the clients.
async fn restarted(mut node: Node) -> Result<Node> {
    spawn_blocking(move || node.restart().map(|()| node)).await?
}

/// The clients' sockets, and the balancer's, which inherits the limit and has two for each.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raise the limit of open files")
}
