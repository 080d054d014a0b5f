//! A client that says one thing after the other, so that a test sees every answer and its code; and a backend that does.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tidegate_testkit::node::post;
use tidegate_testkit::ports::connect;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client};

/// How long an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long one read may take: what looks whether it is to go on looks so often.
const READ_MAX: Duration = Duration::from_millis(20);

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token with the key `secret`.
///
/// # Errors
/// When the claims are none.
pub fn token(claims: &Value) -> Result<String> {
    Ok(encode(&Header::default(), claims, &EncodingKey::from_secret(b"secret"))?)
}

/// The result of a call of the server API.
///
/// # Errors
/// When nobody answers, or with an error.
pub fn call(port: u16, method: &str, request: &Value) -> Result<Value> {
    let response = post(port, &format!("/api/{method}"), &request.to_string())?;
    let (_, body) = response.split_once("\r\n\r\n").context("a response")?;
    let mut answer: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
    ensure!(answer["error"].is_null(), "{method}: {answer}");
    Ok(answer["result"].take())
}

/// One connection to a node. Dropped without a word, as one that breaks.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<TcpStream>,
    commands: u64,
    heard: VecDeque<Value>,
}

impl Client {
    /// Opens one that has not said anything.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn open(port: u16) -> Result<Self> {
        let stream = connect(port)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let (socket, _) = client(format!("ws://127.0.0.1:{port}/connection/websocket"), stream)?;
        socket.get_ref().set_read_timeout(Some(READ_MAX))?;
        Ok(Self { socket, commands: 0, heard: VecDeque::new() })
    }

    /// Opens one and connects as somebody; as nobody with an empty token.
    ///
    /// # Errors
    /// When it is refused.
    pub fn connect(port: u16, token: &str) -> Result<Self> {
        let mut client = Self::open(port)?;
        let answer = client.ask("connect", json!({ "token": token }))?;
        ensure!(answer["connect"]["client"].is_string(), "{answer}");
        Ok(client)
    }

    /// The answer to a command. Pushes that come before it are kept.
    ///
    /// # Errors
    /// When the connection ends, or none comes within [`ANSWER_MAX`].
    pub fn ask(&mut self, method: &str, request: Value) -> Result<Value> {
        self.commands += 1;
        let command = json!({ "id": self.commands, method: request });
        self.socket.send(Message::text(command.to_string()))?;
        let begun = Instant::now();
        loop {
            ensure!(begun.elapsed() < ANSWER_MAX, "no answer to {method}");
            self.receive().with_context(|| method.to_owned())?;
            let is_it = |reply: &Value| reply["id"] == self.commands;
            if let Some(at) = self.heard.iter().position(is_it) {
                return self.heard.remove(at).context("it is there");
            }
        }
    }

    /// The next push, where one comes before long.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn push(&mut self) -> Result<Option<Value>> {
        if self.heard.is_empty() {
            self.receive()?;
        }
        Ok(self.heard.pop_front().map(|mut message| message["push"].take()))
    }

    /// The next push, whenever it comes.
    ///
    /// # Errors
    /// When the connection has ended, or none comes within [`ANSWER_MAX`].
    pub fn wait_for_push(&mut self) -> Result<Value> {
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_MAX {
            if let Some(push) = self.push()? {
                return Ok(push);
            }
        }
        bail!("nothing came")
    }

    fn receive(&mut self) -> Result<()> {
        let message = match self.socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        match message {
            Message::Text(text) => {
                for line in text.lines() {
                    match line {
                        "{}" => self.socket.send(Message::text("{}"))?,
                        line => self.heard.push_back(serde_json::from_str(line)?),
                    }
                }
            }
            Message::Close(why) => bail!("closed: {why:?}"),
            _ => {}
        }
        Ok(())
    }
}
