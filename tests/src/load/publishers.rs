//! Publishers over HTTP: every channel counts 1, 2, 3, …; each number is published through a random node, and again through
//! another with the same idempotency key until it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const PUBLISHERS: u64 = 20;
const ANSWER_MAX: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A publication that is not acknowledged by then fails the test: longer than any fault lasts.
const ATTEMPTS_MAX: u32 = 600;

/// Running publishers.
#[derive(Debug)]
pub struct Publishers {
    stop: Arc<AtomicBool>,
    retryable: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Publishers {
    /// Starts at so many publications per second through these nodes. The channels' numbers go on where they are.
    pub fn start(ports: &[u16], channels: &Arc<[Channel]>, per_second: u64) -> Self {
        let (stop, retryable) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for index in 0..PUBLISHERS {
            let publisher = Publisher {
                nodes: ports.iter().map(|port| (*port, None)).collect(),
                channels: channels.clone(),
                stop: stop.clone(),
                retryable: retryable.clone(),
            };
            let every = Duration::from_secs(PUBLISHERS) / per_second as u32;
            tasks.spawn(publisher.run(index as usize, every));
        }
        Self { stop, retryable, tasks }
    }

    /// Answers so far with an error that may pass.
    pub fn retryable(&self) -> u64 {
        self.retryable.load(Ordering::Relaxed)
    }

    /// Ends them, each after the acknowledgement of what it has begun.
    ///
    /// # Errors
    /// When something was refused for good, or not acknowledged at all.
    pub async fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a publisher panicked")??;
        }
        Ok(())
    }
}

/// A channel, and how often it was published to.
#[derive(Debug)]
pub struct Channel {
    name: String,
    count: AtomicU64,
}

impl Channel {
    /// A channel that nobody published to.
    pub fn new(name: String) -> Self {
        Self { name, count: AtomicU64::new(0) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The highest number that was acknowledged; all below it were as well.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

struct Publisher {
    nodes: Vec<(u16, Option<SendRequest<Full<Bytes>>>)>,
    channels: Arc<[Channel]>,
    stop: Arc<AtomicBool>,
    retryable: Arc<AtomicU64>,
}

impl Publisher {
    /// Publishes to every `PUBLISHERS`th channel in turn.
    async fn run(mut self, first: usize, every: Duration) -> Result<()> {
        let channels = self.channels.clone();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for channel in channels.iter().skip(first).step_by(PUBLISHERS as usize).cycle() {
            ticks.tick().await;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let number = channel.count.load(Ordering::Relaxed) + 1;
            self.publish(&channel.name, number).await?;
            channel.count.store(number, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn publish(&mut self, channel: &str, number: u64) -> Result<()> {
        let body = serde_json::json!({
            "channel": channel,
            "data": { "number": number },
            "idempotency_key": format!("{channel}-{number}"),
        });
        let body = Bytes::from(body.to_string());
        for _ in 0..ATTEMPTS_MAX {
            let node = random_below(self.nodes.len())?;
            // A node that was killed, or says that its broker is away: another one, or later.
            if let Ok(Ok(answer)) = timeout(ANSWER_MAX, self.post(node, &body)).await
                && self.is_acknowledged(&answer)?
            {
                return Ok(());
            }
            sleep(RETRY_AFTER).await;
        }
        bail!("{channel} {number} was not acknowledged by any node")
    }

    fn is_acknowledged(&self, answer: &Bytes) -> Result<bool> {
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        if answer["result"]["offset"].is_u64() {
            return Ok(true);
        }
        ensure!(answer["error"]["temporary"] == true, "a publication was refused for good: {answer}");
        self.retryable.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }

    async fn post(&mut self, node: usize, body: &Bytes) -> Result<Bytes> {
        let (port, kept) = &mut self.nodes[node];
        let mut connection = match kept.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(*port).await?,
        };
        let request = hyper::Request::post("/api/publish")
            .header("Host", format!("127.0.0.1:{port}"))
            .header("Content-Type", "application/json")
            .body(Full::new(body.clone()))?;
        let answer = connection.send_request(request).await?.into_body().collect().await?.to_bytes();
        *kept = Some(connection);
        Ok(answer)
    }
}

async fn connect(port: u16) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows in the sender.
    tokio::spawn(connection);
    Ok(sender)
}

fn random_below(count: usize) -> Result<usize> {
    Ok(getrandom::u32()? as usize % count)
}
