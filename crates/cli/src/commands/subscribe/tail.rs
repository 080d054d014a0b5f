//! The watcher: connect, print, and go on after whatever cuts the connection.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::value::RawValue;
use tidegate_types::codes::{Disconnect, ErrorCode};

use super::protocol::{self, Publication, Reply, Subscribed};
use super::{Args, Position};
use crate::client::{Closed, Message, WebSocket};

const PATH: &str = "/connection/websocket";
/// Pause before the first reconnect; doubles up to [`PAUSE_MAX`], and a random part of it is waited.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// How much later than announced a ping may come.
const PING_SLACK: Duration = Duration::from_secs(10);
/// How long the answers to connect and subscribe may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why one connection is over.
enum End {
    /// Enough was printed.
    Done,
    /// Another connection may help.
    Lost(String),
}

pub(super) struct Tail<'a> {
    args: &'a Args,
    /// The last position known; what follows it was not printed yet.
    position: Option<Position>,
    printed: u64,
    /// A subscription was up at least once.
    was_up: bool,
    /// Connections in a row that brought no subscription.
    failures: u32,
}

/// One connection.
struct Session {
    socket: WebSocket,
    patience: Duration,
    pong: bool,
}

impl<'a> Tail<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        Self { args, position: args.since.clone(), printed: 0, was_up: false, failures: 0 }
    }

    pub(super) fn run(mut self) -> anyhow::Result<()> {
        loop {
            let reason = match self.connection() {
                Ok(End::Done) => return Ok(()),
                Ok(End::Lost(reason)) => reason,
                Err(error) => return Err(error),
            };
            let pause = self.pause()?;
            self.failures += 1;
            eprintln!("# {reason}; connecting again in {:.1} s", pause.as_secs_f32());
            std::thread::sleep(pause);
        }
    }

    /// Full jitter: many watchers do not come back in step.
    fn pause(&self) -> anyhow::Result<Duration> {
        let ceiling = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        let random = getrandom::u32().context("no random bytes")?;
        Ok(ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX)))
    }

    /// One connection from start to end.
    ///
    /// # Errors
    /// When trying again would not help.
    fn connection(&mut self) -> anyhow::Result<End> {
        let socket = match WebSocket::connect(&self.args.peer, PATH) {
            Ok(socket) => socket,
            Err(error) if self.was_up => return Ok(End::Lost(format!("{error:#}"))),
            Err(error) => return Err(error),
        };
        let mut session = Session { socket, patience: ANSWER_MAX, pong: false };
        let args = self.args;
        let greeting = protocol::greeting(&args.token, &args.channel, &args.channel_token, self.position.as_ref())?;
        let mut to_send = Some(greeting);
        loop {
            if let Some(text) = to_send.take()
                && let Err(error) = session.socket.send(&text)
            {
                return Ok(End::Lost(format!("{error:#}")));
            }
            match session.socket.receive(session.patience)? {
                Message::Closed(closed) => return self.closed(closed),
                Message::Text(text) => {
                    for line in text.lines() {
                        if let Some(end) = self.message(line, &mut session, &mut to_send)? {
                            return Ok(end);
                        }
                    }
                }
            }
        }
    }

    fn message(
        &mut self,
        line: &str,
        session: &mut Session,
        to_send: &mut Option<String>,
    ) -> anyhow::Result<Option<End>> {
        let reply: Reply<'_> = serde_json::from_str(line).with_context(|| format!("the server sent {line:?}"))?;
        if let Some(error) = reply.error {
            return self.refused(reply.id, &error).map(Some);
        }
        if let Some(connected) = reply.connect {
            session.pong = connected.pong;
            session.patience = match connected.ping {
                0 => Duration::from_secs(365 * 86_400),
                seconds => Duration::from_secs(seconds) + PING_SLACK,
            };
        } else if let Some(subscribed) = reply.subscribe {
            return self.subscribed(&subscribed);
        } else if let Some(push) = reply.push {
            if let Some(publication) = push.publication {
                return self.publication(publication);
            }
            if let Some(unsubscribed) = push.unsubscribe {
                let text = format!("unsubscribed: {} ({})", unsubscribed.reason, unsubscribed.code);
                return if unsubscribed.code < 2_500 { bail!(text) } else { Ok(Some(End::Lost(text))) };
            }
        } else if reply.id == 0 && session.pong {
            *to_send = Some("{}".to_owned());
        }
        Ok(None)
    }

    fn refused(&self, id: u32, error: &protocol::Error) -> anyhow::Result<End> {
        let what = match id {
            protocol::CONNECT => "connect",
            protocol::SUBSCRIBE => "subscribe",
            _ => "command",
        };
        let text = format!("{what} refused: {} (error {})", error.message, error.code);
        if error.temporary {
            return Ok(End::Lost(text));
        }
        let hint = match error.code {
            code if code == ErrorCode::UNKNOWN_CHANNEL.code => ": no namespace of the server has it",
            code if code == ErrorCode::PERMISSION_DENIED.code => ": give --token or --channel-token",
            code if code == ErrorCode::TOKEN_EXPIRED.code => ": make a new one with tidegate token",
            _ => "",
        };
        bail!("{text}{hint}")
    }

    fn closed(&self, closed: Closed) -> anyhow::Result<End> {
        let text = match closed.code {
            0 => format!("connection lost: {}", closed.reason),
            code => format!("disconnected: {} ({code})", closed.reason),
        };
        let hint = match closed.code {
            code if code == Disconnect::BAD_REQUEST.code => {
                ": does the server want a --token? tidegate token makes one"
            }
            code if code == Disconnect::INVALID_TOKEN.code => ": the token was not made with a key of this server",
            _ => "",
        };
        match closed.code {
            3_500..=3_999 | 4_500..=4_999 => bail!("{text}{hint}"),
            _ => Ok(End::Lost(text)),
        }
    }

    fn subscribed(&mut self, subscribed: &Subscribed<'_>) -> anyhow::Result<Option<End>> {
        let count = subscribed.publications.len();
        let at = format!("{}@{}", subscribed.offset, subscribed.epoch);
        match (subscribed.positioned, subscribed.was_recovering, subscribed.recovered) {
            (false, ..) => eprintln!("# subscribed, without positions: what is missed is not noticed"),
            (true, true, true) => eprintln!("# subscribed after {at}, recovered {count}"),
            (true, true, false) => eprintln!("# subscribed at {at}; what was published before could NOT be recovered"),
            (true, false, _) => eprintln!("# subscribed at {at}"),
        }
        self.was_up = true;
        self.failures = 0;
        self.position =
            subscribed.positioned.then(|| Position { offset: subscribed.offset, epoch: subscribed.epoch.clone() });
        for publication in &subscribed.publications {
            if let Some(end) = self.publication(publication)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn publication(&mut self, raw: &RawValue) -> anyhow::Result<Option<End>> {
        let publication: Publication<'_> = serde_json::from_str(raw.get()).context("the server sent no publication")?;
        let line = if self.args.json { raw.get() } else { publication.data.get() };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot print")?;
        if let Some(position) = &mut self.position {
            position.offset = publication.offset;
        }
        self.printed += 1;
        Ok(self.args.count.is_some_and(|count| self.printed >= count).then_some(End::Done))
    }
}
