//! Commands of a client of HTTP streaming whose node was killed, brought to a node that lives.
//!
//! Until the lease of the dead node has lapsed they are taken, and nobody carries them out: what tells the client is its
//! stream, which has ended, and that no answer comes. From then on they are refused. None is carried out later.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_testkit::node::{Node, post};
use tidegate_testkit::ports::connect;

use crate::Cluster;
use tidegate_tests::client::{ANSWER_MAX, Client, call, token};

const CONFIG: &str = r#"
[control]
lease = "3s"
[client.token]
hmac_secret_key = "secret"
[namespaces.news]
history_size = 1000
history_ttl = "10m"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_client = true
"#;

const LEASE: Duration = Duration::from_secs(3);
const CHANNEL: &str = "news:1";
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A client of HTTP streaming, which hears on one connection and says on others.
struct Stream {
    lines: BufReader<TcpStream>,
    session: String,
    node: String,
    commands: u64,
    /// What was published, as it heard of it.
    heard: Vec<Value>,
}

impl Stream {
    fn open(port: u16, token: &str) -> Result<Self> {
        let connect_command = json!({ "id": 1, "connect": { "token": token } }).to_string();
        let mut socket = connect(port)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        // In HTTP/1.0 a response has no chunks: behind the head, each line is a message.
        let length = connect_command.len();
        write!(
            socket,
            "POST /connection/http_stream HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{connect_command}"
        )?;
        let mut stream = Self {
            lines: BufReader::new(socket),
            session: String::new(),
            node: String::new(),
            commands: 1,
            heard: Vec::new(),
        };
        while !stream.line()?.is_empty() {}
        let answer = stream.answer()?;
        let text = |key: &str| answer["connect"][key].as_str().map(str::to_owned).context("a session and its node");
        (stream.session, stream.node) = (text("session")?, text("node")?);
        Ok(stream)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "the stream has ended");
        Ok(line.trim().to_owned())
    }

    /// The next message; none in a ping or in padding.
    fn message(&mut self) -> Result<Value> {
        let line = self.line()?;
        let mut message = if line.is_empty() { Value::Null } else { serde_json::from_str(&line)? };
        let publication = &mut message["push"]["pub"]["data"];
        if !publication.is_null() {
            self.heard.push(publication.take());
        }
        Ok(message)
    }

    /// The answer to the last command.
    fn answer(&mut self) -> Result<Value> {
        loop {
            let message = self.message()?;
            if message["id"] == self.commands {
                return Ok(message);
            }
        }
    }

    /// Waits until it heard of all of these, once each, in order.
    fn hears(&mut self, published: &[String]) -> Result<()> {
        while self.heard.len() < published.len() {
            self.message().with_context(|| format!("it heard of {:?}", self.heard))?;
        }
        ensure!(self.heard == published, "it heard of {:?}", self.heard);
        Ok(())
    }

    /// Sends a command by a request to some node; the status of its response.
    fn say(&mut self, port: u16, method: &str, request: &Value) -> Result<u16> {
        self.commands += 1;
        let command = json!({ "id": self.commands, method: request }).to_string();
        let body = json!({ "session": self.session, "node": self.node, "data": command }).to_string();
        let response = post(port, "/emulation", &body)?;
        response.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| response.clone())
    }

    fn ask(&mut self, port: u16, method: &str, request: &Value) -> Result<Value> {
        let status = self.say(port, method, request)?;
        ensure!(status == 204, "{method} was answered {status}");
        self.answer()
    }

    /// Reads what is left, and fails unless that ends soon.
    fn ended(mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_MAX {
            if self.line().is_err() {
                return Ok(());
            }
        }
        bail!("the stream goes on")
    }
}

/// Another client of the node that lives, and what was published by everybody whose command was answered.
struct Witness {
    client: Client,
    published: Vec<String>,
    slowest: Duration,
}

impl Witness {
    fn publishes(&mut self) -> Result<()> {
        let data = format!("witness {}", self.published.len());
        let begun = Instant::now();
        let answer = self.client.ask("publish", json!({ "channel": CHANNEL, "data": data }))?;
        self.slowest = self.slowest.max(begun.elapsed());
        ensure!(answer["publish"].is_object(), "{answer}");
        self.published.push(data);
        Ok(())
    }

    /// It heard of each of these once, in order, and of nothing else.
    fn check(&mut self) -> Result<()> {
        for (index, data) in self.published.iter().enumerate() {
            let push = self.client.wait_for_push()?;
            ensure!(push["channel"] == CHANNEL && push["pub"]["data"] == **data, "{push} and not {data:?}");
            ensure!(push["pub"]["offset"] == index + 1, "{push}");
        }
        ensure!(self.client.push()?.is_none(), "it heard of more");
        Ok(())
    }
}

fn publishes(stream: &mut Stream, port: u16, data: &str, witness: &mut Witness) -> Result<()> {
    let answer = stream.ask(port, "publish", &json!({ "channel": CHANNEL, "data": data }))?;
    ensure!(answer["publish"].is_object(), "{answer}");
    witness.published.push(data.to_owned());
    Ok(())
}

/// Comes back with another session, which goes on where the channel began.
fn comes_back(port: u16, token: &str, epoch: &Value) -> Result<Stream> {
    let mut stream = Stream::open(port, token)?;
    let wish = json!({ "channel": CHANNEL, "recover": true, "offset": 0, "epoch": epoch });
    let answer = stream.ask(port, "subscribe", &wish)?;
    ensure!(answer["subscribe"]["recovered"] == true, "{answer}");
    let missed = answer["subscribe"]["publications"].as_array().context("publications")?;
    stream.heard.splice(0..0, missed.iter().map(|publication| publication["data"].clone()));
    Ok(stream)
}

#[test]
fn commands_for_a_killed_node_are_refused_when_its_lease_has_lapsed_and_disturb_nobody() -> Result<()> {
    let mut cluster = Cluster::start("cluster-orphaned", true, CONFIG)?;
    let [dying, other] = cluster.nodes.each_ref().map(Node::port);
    let [orphan, bystander] = ["orphan", "witness"].map(|user| token(&json!({ "sub": user })));
    let orphan = orphan?;
    let mut witness =
        Witness { client: Client::connect(other, &bystander?)?, published: Vec::new(), slowest: Duration::ZERO };
    witness.client.ask("subscribe", json!({ "channel": CHANNEL }))?;
    let mut old = Stream::open(dying, &orphan)?;
    let subscribed = old.ask(other, "subscribe", &json!({ "channel": CHANNEL }))?;
    let epoch = &subscribed["subscribe"]["epoch"];
    publishes(&mut old, other, "from the killed node", &mut witness)?;

    cluster.nodes[0].kill_9()?;
    let killed = Instant::now();
    let lost = json!({ "channel": CHANNEL, "data": "lost" });
    let status = old.say(other, "publish", &lost)?;
    ensure!(status == 204, "within the lease: {status}");
    witness.publishes()?;
    let mut new = comes_back(other, &orphan, epoch)?;
    publishes(&mut new, other, "from the other node", &mut witness)?;

    // Its old session asks on, though nobody answers, until it is told.
    let mut taken = 1;
    while old.say(other, "publish", &lost)? == 204 {
        taken += 1;
        ensure!(killed.elapsed() < LEASE + ANSWER_MAX, "{taken} commands were taken for a dead node");
        witness.publishes()?;
        publishes(&mut new, other, &format!("beside lost command {taken}"), &mut witness)?;
        thread::sleep(PAUSE);
    }
    let refused = killed.elapsed();
    for _ in 0..3 {
        let status = old.say(other, "publish", &lost)?;
        ensure!(status == 404, "after the lease: {status}");
        publishes(&mut new, other, "after the lease", &mut witness)?;
    }
    old.ended()?;
    // A node of the same name and address is another one, and has nothing to make up for.
    cluster.nodes[0].restart()?;
    publishes(&mut new, dying, "by the node that is back", &mut witness)?;
    witness.publishes()?;
    new.hears(&witness.published)?;
    witness.check()?;
    let history = call(dying, "history", &json!({ "channel": CHANNEL, "limit": -1 }))?;
    let kept = history["publications"].as_array().context("publications")?;
    ensure!(kept.iter().map(|publication| &publication["data"]).eq(&witness.published), "{history}");
    eprintln!(
        "{taken} commands taken and lost, refused after {refused:.1?}; the slowest answer to another client took {:.1?}",
        witness.slowest
    );
    ensure!(witness.slowest < LEASE / 2, "another client waited {:?}", witness.slowest);
    Ok(())
}
