//! Subscribers on WebSockets of another implementation. Each comes back after every cut with the position it had, and
//! checks that every channel counts 1, 2, 3, … whatever happened in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than a node's ping interval, 25 s.
const SILENCE_MAX: Duration = Duration::from_secs(40);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Delays before the attempts to come back: the official client's first is up to 500 ms.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
const COMPLAINTS_MAX: usize = 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What all clients report to.
#[derive(Debug, Default)]
pub struct Board {
    live: AtomicU64,
    recovered: AtomicU64,
    stop: AtomicBool,
    resumed: Mutex<Vec<Duration>>,
    complaints: Mutex<Vec<String>>,
    /// Why the last attempt to connect failed.
    last_failure: Mutex<String>,
}

impl Board {
    /// Clients with all their subscriptions.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Publications that came in a recovery.
    pub fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Relaxed)
    }

    /// From each cut until all subscriptions were back, since the last call.
    pub fn take_resumed(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.resumed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fails with what clients saw that must not be.
    ///
    /// # Errors
    /// With the first complaints.
    pub fn check(&self) -> Result<()> {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(complaints.is_empty(), "clients complain:\n{}", complaints.join("\n"));
        Ok(())
    }

    /// Waits until so many clients have all their subscriptions.
    ///
    /// # Errors
    /// When that takes too long, or a client complains.
    pub async fn until_live(&self, clients: u64, within: Duration) -> Result<()> {
        let began = Instant::now();
        while self.live() < clients {
            self.check()?;
            let (live, late) = (self.live(), began.elapsed() > within);
            ensure!(!late, "only {live} of {clients} clients are live: {}", self.last_failure());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Lets every client end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Why the last attempt to connect failed.
    pub fn last_failure(&self) -> String {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn complain(&self, text: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(text);
        }
    }
}

/// A subscriber.
#[derive(Debug)]
pub struct Client {
    url: Arc<str>,
    board: Arc<Board>,
    channels: HashMap<String, Seen>,
    total: Arc<AtomicU64>,
}

/// What it saw of a channel.
#[derive(Debug, Default)]
struct Seen {
    number: u64,
    offset: u64,
    epoch: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Frame {
    #[serde(default)]
    id: u32,
    push: Option<Push>,
    subscribe: Option<Subscribed>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Push {
    channel: String,
    #[serde(rename = "pub")]
    publication: Option<Publication>,
}

#[derive(Debug, Deserialize)]
struct Publication {
    data: Numbered,
    offset: u64,
}

/// What publishers publish.
#[derive(Debug, Deserialize)]
struct Numbered {
    number: u64,
}

#[derive(Debug, Deserialize)]
struct Subscribed {
    epoch: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    recovered: bool,
    #[serde(default)]
    publications: Vec<Publication>,
}

impl Client {
    /// A client of the WebSocket at `url` with these subscriptions.
    pub fn new(url: &Arc<str>, board: &Arc<Board>, channels: impl Iterator<Item = String>) -> Self {
        let channels = channels.map(|channel| (channel, Seen::default())).collect();
        Self { url: url.clone(), board: board.clone(), channels, total: Arc::default() }
    }

    /// The publications that it has, of all its channels together; goes on counting.
    pub fn total(&self) -> Arc<AtomicU64> {
        self.total.clone()
    }

    /// Follows its channels until the board says stop.
    pub async fn run(mut self) {
        let mut cut: Option<Instant> = None;
        let mut backoff = BACKOFF.0;
        while !self.board.stop.load(Ordering::Relaxed) {
            let resumed = match self.resume().await {
                Ok(socket) => socket,
                Err(error) => {
                    *self.board.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:#}");
                    sleep(backoff.mul_f64(jitter())).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                    continue;
                }
            };
            backoff = BACKOFF.0;
            if let Some(cut) = cut {
                self.board.resumed.lock().unwrap_or_else(PoisonError::into_inner).push(cut.elapsed());
            }
            self.board.live.fetch_add(1, Ordering::Relaxed);
            self.follow(resumed).await;
            self.board.live.fetch_sub(1, Ordering::Relaxed);
            cut = Some(Instant::now());
            sleep(BACKOFF.0.mul_f64(jitter())).await;
        }
    }

    /// Connects and has every subscription, from the position it had.
    async fn resume(&mut self) -> Result<Socket> {
        let (mut socket, _) = timeout(ANSWER_MAX, tokio_tungstenite::connect_async(&*self.url)).await??;
        socket.send(Message::text(r#"{"id":1,"connect":{}}"#)).await?;
        let names: Vec<String> = self.channels.keys().cloned().collect();
        let mut pending = names.len() + 1;
        while pending > 0 {
            let text = timeout(ANSWER_MAX, receive(&mut socket)).await.context("no answer")??;
            for line in text.lines() {
                let frame: Frame = serde_json::from_str(line).with_context(|| line.to_owned())?;
                if let Some(error) = frame.error {
                    bail!("answer {}: {error}", frame.id);
                }
                if frame.id == 1 {
                    socket.send(Message::text(self.subscribe_commands(&names))).await?;
                    pending -= 1;
                } else if let Some(subscribed) = frame.subscribe {
                    let name = names.get(frame.id as usize - 2).context("answer to nothing")?;
                    self.subscribed(name, subscribed);
                    pending -= 1;
                } else if let Some(push) = frame.push {
                    self.pushed(push);
                } else if line == "{}" {
                    socket.send(Message::text("{}")).await?;
                }
            }
        }
        Ok(socket)
    }

    fn subscribe_commands(&self, names: &[String]) -> String {
        let command = |(index, name): (usize, &String)| {
            let mut subscribe = serde_json::json!({ "channel": name, "recoverable": true });
            if let Some((epoch, offset)) = self.channels.get(name).and_then(|c| Some((c.epoch.as_ref()?, c.offset))) {
                subscribe["recover"] = true.into();
                subscribe["epoch"] = epoch.as_str().into();
                subscribe["offset"] = offset.into();
            }
            serde_json::json!({ "id": index + 2, "subscribe": subscribe }).to_string()
        };
        names.iter().enumerate().map(command).collect::<Vec<_>>().join("\n")
    }

    fn subscribed(&mut self, name: &str, subscribed: Subscribed) {
        let Some(seen) = self.channels.get_mut(name) else { return };
        match &seen.epoch {
            None => seen.offset = subscribed.offset,
            Some(epoch) if !subscribed.recovered || *epoch != subscribed.epoch => {
                let at = (seen.number, seen.offset);
                self.board.complain(format!("{name} was not recovered from {at:?} of epoch {epoch}: {subscribed:?}"));
            }
            Some(_) => {}
        }
        seen.epoch = Some(subscribed.epoch);
        self.board.recovered.fetch_add(subscribed.publications.len() as u64, Ordering::Relaxed);
        for publication in subscribed.publications {
            self.publication(name, &publication);
        }
    }

    fn pushed(&mut self, push: Push) {
        match push.publication {
            Some(publication) => self.publication(&push.channel, &publication),
            None => self.board.complain(format!("an unexpected push on {}", push.channel)),
        }
    }

    fn publication(&mut self, name: &str, publication: &Publication) {
        let Some(seen) = self.channels.get_mut(name) else {
            return self.board.complain(format!("a publication of a channel that was not asked for: {name}"));
        };
        let number = publication.data.number;
        if number != seen.number + 1 || publication.offset <= seen.offset {
            let (before, after) = ((seen.number, seen.offset), (number, publication.offset));
            self.board.complain(format!("{name} went from number and offset {before:?} to {after:?}"));
        }
        seen.number = seen.number.max(number);
        seen.offset = publication.offset;
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what comes until the connection is cut.
    async fn follow(&mut self, mut socket: Socket) {
        while !self.board.stop.load(Ordering::Relaxed) {
            let Ok(Ok(text)) = timeout(SILENCE_MAX, receive(&mut socket)).await else { return };
            for line in text.lines() {
                match serde_json::from_str::<Frame>(line) {
                    Ok(Frame { push: Some(push), .. }) => self.pushed(push),
                    // A node that leaves says so, then closes.
                    Ok(_) if line != "{}" => {}
                    Ok(_) => {
                        if socket.send(Message::text("{}")).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => self.board.complain(format!("{error} in {line}")),
                }
            }
        }
    }
}

async fn receive(socket: &mut Socket) -> Result<String> {
    loop {
        match socket.next().await.context("hung up")?? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Close(frame) => return Err(anyhow!("closed: {frame:?}")),
            _ => {}
        }
    }
}

/// A random number from 0.5 to 1.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    // Without a random number all come back at the same time, which is only harder.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 512.0 + 0.5
}
