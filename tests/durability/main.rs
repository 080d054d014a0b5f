//! A node on the embedded log, killed with SIGKILL fifty times while it takes and delivers publications; and one whose disk
//! is full.

mod disk;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate_testkit::node::{Node, Options, post};
use tidegate_tests::load::{Board, Channel, Client, Publishers};
use tidegate_tests::output_dir;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

const KILLS: u32 = 50;
const CHANNELS: usize = 40;
const CLIENTS: usize = 40;
const EACH: usize = 5;
const PER_SECOND: u64 = 4_000;
const CAUGHT_UP_MAX: Duration = Duration::from_secs(30);
const PAGE: u64 = 1_000;

/// The settings of a node whose log begins a new segment every few seconds, so that kills hit that as well. A slow disk may
/// keep a node down for seconds, and what was published meanwhile must not be more than a recovery may bring.
const CONFIG: &str = r#"
dev = true
[embedded]
segment_bytes = "1MiB"
[client]
history_max = 1000
[client.recovery]
publications_max = 100000
bytes_max = "64MiB"
[channel.without_namespace]
history_size = 1000000
history_ttl = "1h"
"#;

/// No acknowledged publication is lost, no number is used twice, none is delivered twice to a client that comes back.
#[test]
fn fifty_kills_under_load_lose_nothing() -> Result<()> {
    let (output, data) = (output_dir("durability")?, tempfile::tempdir()?);
    let config = data.path().join("tidegate.toml");
    std::fs::write(&config, CONFIG)?;
    let broker = format!("embedded:{}", data.path().join("log").display());
    let options = Options {
        arguments: vec!["--config".into(), config.into()],
        dev: false,
        ..Options::dev("node-1", &broker, &output)
    };
    let node = Node::start(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(kill_under_load(node, &data.path().join("log")))
}

async fn kill_under_load(mut node: Node, log: &Path) -> Result<()> {
    let channels: Arc<[Channel]> = (0..CHANNELS).map(|index| Channel::new(format!("c{index}"))).collect();
    let board = Arc::<Board>::default();
    let url: Arc<str> = format!("ws://127.0.0.1:{}/connection/websocket", node.port()).into();
    let mut running = JoinSet::new();
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let followed: Vec<usize> = (0..EACH).map(|n| (index + n * CHANNELS / EACH) % CHANNELS).collect();
        let client = Client::new(&url, &board, followed.iter().map(|c| channels[*c].name().to_owned()));
        clients.push((client.total(), followed));
        running.spawn(client.run());
    }
    board.until_live(CLIENTS as u64, CAUGHT_UP_MAX).await?;
    let publishers = Publishers::start(&[node.port()], &channels, PER_SECOND);
    for kill in 1..=KILLS {
        // Anywhere from the first requests after a start to a full load.
        sleep(Duration::from_millis(u64::from(getrandom::u32()? % 500))).await;
        node = spawn_blocking(move || {
            node.kill_9()?;
            node.restart().with_context(|| format!("start {kill}")).map(|()| node)
        })
        .await??;
        board.check()?;
    }
    publishers.finish().await?;
    until_all_have_all(&board, &clients, &channels).await?;
    board.stop();
    running.abort_all();
    for channel in channels.iter() {
        check_history(&node, channel)?;
    }
    let published: u64 = channels.iter().map(Channel::count).sum();
    let segments = segments(log)?;
    ensure!(segments > 1, "the log never began a second segment");
    eprintln!(
        "{KILLS} kills, {published} acknowledged, {} recovered, {segments} segments; lost, duplicated: 0",
        board.recovered()
    );
    board.check()
}

/// Segments of all logs of the broker.
fn segments(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for log in std::fs::read_dir(dir)?.flatten().filter(|entry| entry.path().is_dir()) {
        let files = std::fs::read_dir(log.path())?.flatten();
        count += files.filter(|file| file.path().extension().is_some_and(|e| e == "log")).count();
    }
    Ok(count)
}

async fn until_all_have_all(
    board: &Board,
    clients: &[(Arc<AtomicU64>, Vec<usize>)],
    channels: &[Channel],
) -> Result<()> {
    let began = Instant::now();
    loop {
        board.check()?;
        let due = |followed: &[usize]| followed.iter().map(|c| channels[*c].count()).sum::<u64>();
        let behind = clients.iter().filter(|(total, followed)| total.load(Ordering::Relaxed) < due(followed)).count();
        if behind == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < CAUGHT_UP_MAX, "{behind} clients did not get everything: {}", board.last_failure());
        sleep(Duration::from_millis(50)).await;
    }
}

/// The channel holds 1, 2, 3, … up to what was acknowledged, each at the offset of its number.
fn check_history(node: &Node, channel: &Channel) -> Result<()> {
    let (mut after, mut epoch) = (0, String::new());
    while after < channel.count() {
        let since = serde_json::json!({ "offset": after, "epoch": epoch });
        let body = serde_json::json!({ "channel": channel.name(), "limit": PAGE, "since": since });
        let response = post(node.port(), "/api/history", &body.to_string())?;
        let (_, body) = response.split_once("\r\n\r\n").context("a response")?;
        let history: serde_json::Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
        epoch = history["result"]["epoch"].as_str().with_context(|| body.to_owned())?.to_owned();
        let publications = history["result"]["publications"].as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(!publications.is_empty(), "{} ends at {after}, not at {}", channel.name(), channel.count());
        for publication in publications {
            let at = (publication["offset"].as_u64(), publication["data"]["number"].as_u64());
            ensure!(at == (Some(after + 1), Some(after + 1)), "{} has {at:?} after {after}", channel.name());
            after += 1;
        }
    }
    ensure!(after == channel.count(), "{} holds {after}, {} were acknowledged", channel.name(), channel.count());
    Ok(())
}
