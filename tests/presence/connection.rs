//! A client on one connection, subscribed to rooms until it says goodbye or is cut.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const ANSWER_MAX: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Told of every join (`true`) and leave: the room, the client and its user.
pub(crate) type Told = Arc<dyn Fn(bool, &str, &Info) + Send + Sync>;

/// Who somebody is to others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) user: String,
    pub(crate) client: String,
}

#[derive(Default, Deserialize)]
struct Frame {
    #[serde(default)]
    id: u32,
    connect: Option<Connected>,
    push: Option<Push>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Connected {
    client: String,
}

#[derive(Deserialize)]
struct Push {
    channel: String,
    join: Option<Change>,
    leave: Option<Change>,
}

#[derive(Deserialize)]
struct Change {
    info: Info,
}

/// Open and subscribed. Dropping it cuts it: the server sees a connection that broke.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The id that the server gave it.
    pub(crate) client: String,
    goodbye: mpsc::Sender<()>,
    reading: JoinHandle<()>,
}

impl Connection {
    /// Connects to the node at `port` and waits until all subscriptions are there.
    pub(crate) async fn open(port: u16, token: &str, rooms: &[String], told: Option<Told>) -> Result<Self> {
        let url = format!("ws://127.0.0.1:{port}/connection/websocket");
        let (mut socket, _) = timeout(ANSWER_MAX, tokio_tungstenite::connect_async(url)).await??;
        let connect = serde_json::json!({ "id": 1, "connect": { "token": token } }).to_string();
        let subscribe = |(at, room): (usize, &String)| {
            let request = serde_json::json!({ "channel": room, "join_leave": told.is_some() });
            serde_json::json!({ "id": at + 2, "subscribe": request }).to_string()
        };
        let commands: Vec<String> = [connect].into_iter().chain(rooms.iter().enumerate().map(subscribe)).collect();
        socket.send(Message::text(commands.join("\n"))).await?;
        let (mut client, mut pending) = (String::new(), commands.len());
        while pending > 0 {
            let text = timeout(ANSWER_MAX, receive(&mut socket)).await.context("no answer")??;
            for frame in frames(&text) {
                let frame = frame?;
                pending -= usize::from(frame.id > 0);
                if let Some(error) = frame.error {
                    bail!("answer {}: {error}", frame.id);
                }
                tell(frame.push, told.as_ref());
                client = frame.connect.map_or(client, |connected| connected.client);
            }
        }
        let (goodbye, mut asked) = mpsc::channel(1);
        let reading = tokio::spawn(async move {
            // It ends when the server does, or when it said goodbye and was answered.
            while let Ok(text) = tokio::select! {
                text = receive(&mut socket) => text,
                Some(()) = asked.recv() => socket.close(None).await.map(|()| String::new()).map_err(Into::into),
            } {
                for frame in frames(&text).flatten() {
                    tell(frame.push, told.as_ref());
                }
                if text == "{}" && socket.send(Message::text("{}")).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { client, goodbye, reading })
    }

    /// Closes it as a browser does.
    pub(crate) async fn close(mut self) -> Result<()> {
        // One that has ended needs no goodbye.
        let _ = self.goodbye.send(()).await;
        timeout(ANSWER_MAX, &mut self.reading).await.context("the server does not close")??;
        Ok(())
    }

    /// Whether the server still has it.
    pub(crate) fn is_open(&self) -> bool {
        !self.reading.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn frames(text: &str) -> impl Iterator<Item = Result<Frame>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
}

fn tell(push: Option<Push>, told: Option<&Told>) {
    let (Some(push), Some(told)) = (push, told) else { return };
    for (joined, change) in [(true, push.join), (false, push.leave)] {
        if let Some(change) = change {
            told(joined, &push.channel, &change.info);
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
