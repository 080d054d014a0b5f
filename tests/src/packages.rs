//! Published packages of other languages against servers: the client libraries for Python and Go, and Python's library for
//! backends.
//!
//! The two client libraries play the same scenario, so what one would hide the other shows. It is written down once in each
//! language, in `sdk/python/client.py` and `sdk/go`, and what was seen is checked once, here. A script speaks to `url`, and
//! keeps one connection over a [`Line`] that it cuts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tidegate_testkit::install::{build_go, python};
use tidegate_testkit::process::run;

use crate::line::Line;

/// A configuration with what the scripts need. Tokens that are not renewed end a connection within the scenario.
pub const CONFIG: &str = r#"
[api]
keys = ["key"]

[client]
expired_close_delay = "2s"

[client.token]
hmac_secret_key = "secret"

[namespaces.open]
history_size = 10000
history_ttl = "10m"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_client = true
allow_history_for_client = true
presence = true
join_leave = true
allow_presence_for_client = true
allowed_delta_types = ["fossil"]
delta_publish = true

[namespaces.private]
history_size = 10000
history_ttl = "10m"
force_recovery = true
allow_publish_for_client = true
presence = true
allow_presence_for_subscriber = true

[namespaces.closed]
history_size = 10
history_ttl = "10m"
presence = true
"#;

/// A client library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Library {
    /// `centrifuge-python` of `PyPI`.
    Python,
    /// `github.com/centrifugal/centrifuge-go`.
    Go,
}

#[derive(Deserialize)]
struct Seen {
    /// What was refused, and the codes that came.
    refused: BTreeMap<String, Vec<u32>>,
    history: History,
    presence: Presence,
    /// Hexadecimal; only in Protobuf.
    binary: Option<String>,
    cuts: Cuts,
}

#[derive(Deserialize)]
struct History {
    received: Vec<u64>,
    offsets: Vec<u64>,
    /// User, and name of the connection info, of who published the first.
    publisher: (String, String),
    /// Of the last, which a backend published.
    tags: BTreeMap<String, String>,
    newest: Vec<u64>,
    /// What came after the tenth.
    since: Vec<u64>,
    /// Publications and offset of an answer without a limit.
    top: (u64, u64),
}

#[derive(Deserialize)]
struct Presence {
    /// Before and after one of two left.
    seen: Vec<Present>,
    changes: Vec<(String, String)>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Present {
    names: Vec<String>,
    clients: u64,
    users: u64,
}

#[derive(Deserialize)]
struct Cuts {
    published: u64,
    /// Of what was published to those who take deltas.
    bytes: u64,
    /// By four subscriptions: the second takes deltas, the third needs tokens, the fourth is made by the server.
    received: Vec<Vec<u64>>,
    /// After each cut: `was_recovering` and `recovered`.
    recovered: Vec<(bool, bool)>,
    connections: u64,
    unsubscribed: Vec<u32>,
    channel_info: Vec<String>,
    /// Codes: of an ended subscription, of a connection that comes again, and of one that does not.
    ordered: (u32, u32, u32),
}

/// Cuts of one run.
const CUTS: u64 = 3;

impl Library {
    /// Fails when something was lost, duplicated, reordered or otherwise not as the protocol has it.
    fn play(self, url: &str, servers: &[u16], protobuf: bool) -> Result<()> {
        let line = Line::open(servers)?;
        let options = serde_json::json!({
            "url": url, "line": line.address(), "control": line.control(), "protobuf": protobuf, "secret": "secret", "key": "key",
        });
        let mut command = match self {
            Self::Python => script("client.py")?,
            Self::Go => Command::new(build_go(&folder("go"), "sdk-go")?),
        };
        let seen: Seen = serde_json::from_str(&run(command.arg(options.to_string()))?)?;
        seen.check(protobuf)?;
        let (came, published) = (line.received(), seen.cuts.bytes);
        ensure!(came < published * 7 / 10, "{published} bytes for who takes deltas came as {came}: were they deltas?");
        Ok(())
    }
}

/// Every library against what answers at `url`, and over lines to `servers`, which take turns.
///
/// All at once, because most of the time is waiting for tokens to expire.
///
/// # Errors
/// With every scenario that saw something else.
pub fn run_all(url: &str, servers: &[u16]) -> Result<()> {
    let calls: Scenario<'_> = ("every method for backends", Box::new(|| call_every_method(url)));
    let play = |what, library: Library, protobuf| -> Scenario<'_> {
        (what, Box::new(move || library.play(url, servers, protobuf)))
    };
    let scenarios = [
        calls,
        play("Python in JSON", Library::Python, false),
        play("Python in Protobuf", Library::Python, true),
        play("Go in JSON", Library::Go, false),
        play("Go in Protobuf", Library::Go, true),
    ];
    let timed = |(what, scenario): Scenario<'_>| {
        let begun = Instant::now();
        let end = scenario();
        eprintln!("{what}: {:?}", begun.elapsed());
        end.err().map(|error| format!("{what}: {error:#}"))
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let running = scenarios.map(|scenario| scope.spawn(move || timed(scenario)));
        running
            .into_iter()
            .filter_map(|one| one.join().unwrap_or_else(|_| Some("a scenario panicked".to_owned())))
            .collect()
    });
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

type Scenario<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + Send + 'a>);

impl Seen {
    fn check(&self, protobuf: bool) -> Result<()> {
        self.check_refused()?;
        self.history.check().context("history")?;
        self.presence.check().context("presence")?;
        let all_bytes = (0..=u8::MAX).map(|byte| format!("{byte:02x}")).collect::<String>();
        ensure!(self.binary == protobuf.then_some(all_bytes), "binary: {:?}", self.binary);
        self.cuts.check().context("cuts")
    }

    fn check_refused(&self) -> Result<()> {
        let expected = [
            ("connect", 3500),
            ("unknown", 102),
            ("closed", 103),
            ("without_token", 103),
            ("foreign_token", 103),
            ("publish", 103),
            ("history", 103),
            ("presence", 103),
            ("presence_stats", 103),
            ("rpc", 108),
        ];
        let expected = expected.map(|(what, code)| (what.to_owned(), vec![code])).into();
        ensure!(self.refused == expected, "refused: {:?}", self.refused);
        Ok(())
    }
}

impl History {
    fn check(&self) -> Result<()> {
        ensure!(self.received == numbers(1, 21), "received {:?}", self.received);
        ensure!(self.offsets.is_sorted_by(|a, b| a < b), "offsets do not grow: {:?}", self.offsets);
        ensure!(self.publisher == ("bob".to_owned(), "bob".to_owned()), "published by {:?}", self.publisher);
        ensure!(self.tags == [("by".to_owned(), "backend".to_owned())].into(), "tags {:?}", self.tags);
        ensure!(self.newest == [21, 20, 19], "the newest are {:?}", self.newest);
        // A log that many channels share may be further.
        ensure!(self.top.0 == 0 && self.offsets.last() <= Some(&self.top.1), "the top is {:?}", self.top);
        let since: Vec<u64> = self.received[10..].to_vec();
        ensure!(self.since == since, "after the tenth are {:?}", self.since);
        Ok(())
    }
}

impl Presence {
    fn check(&self) -> Result<()> {
        let present = |names: &[&str]| {
            let count = names.len() as u64;
            Present { names: names.iter().map(|&name| name.to_owned()).collect(), clients: count, users: count }
        };
        ensure!(self.seen == [present(&["ann", "bob"]), present(&["ann"])], "{:?}", self.seen);
        let changes = [("join", "ann"), ("join", "bob"), ("leave", "bob")];
        ensure!(self.changes == changes.map(|(what, who)| (what.to_owned(), who.to_owned())), "{:?}", self.changes);
        Ok(())
    }
}

impl Cuts {
    fn check(&self) -> Result<()> {
        for (subscription, received) in
            ["plain", "with deltas", "with tokens", "made by the server"].iter().zip(&self.received)
        {
            let fault = received.iter().zip(1..).find(|(number, expected)| *number != expected);
            ensure!(
                fault.is_none(),
                "{subscription}: lost, duplicated or reordered: came, due {fault:?} of {received:?}"
            );
            let (came, published) = (received.len() as u64, self.published);
            ensure!(came == published, "{subscription}: {came} of {published} publications");
        }
        ensure!(self.received.len() == 4, "{} subscriptions", self.received.len());
        ensure!(self.connections == CUTS + 1, "{} connections: were tokens not renewed?", self.connections);
        ensure!(self.recovered == [(true, true); 4 * CUTS as usize], "recovered: {:?}", self.recovered);
        ensure!(self.unsubscribed.is_empty(), "subscriptions ended: {:?}", self.unsubscribed);
        ensure!(self.channel_info == ["ann"], "channel info: {:?}", self.channel_info);
        ensure!(self.ordered == (2000, 4000, 3503), "ordered: {:?}", self.ordered);
        Ok(())
    }
}

fn numbers(first: u64, last: u64) -> Vec<u64> {
    (first..=last).collect()
}

/// Fails when a method did not do what it says; the text is the script's.
fn call_every_method(url: &str) -> Result<()> {
    let options = serde_json::json!({ "url": url, "secret": "secret", "key": "key" });
    run(script("server_api.py")?.arg(options.to_string())).map(drop)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(name)
}

fn script(name: &str) -> Result<Command> {
    ensure!(python().is_file(), "the packages for Python are missing: run cargo xtask test");
    let mut command = Command::new(python());
    // Bytecode in the folder of sources is for nobody.
    command.arg("-B").arg(folder("python").join(name));
    Ok(command)
}
