//! The binary as a person uses it: what it prints, and its exit codes.

mod common;

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{address_in, tidegate};
use tidegate_loadgen::suite::CASES;

fn run(args: &[&str]) -> Output {
    tidegate().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that dies with the test.
struct Running {
    child: Child,
    stderr: BufReader<Box<dyn Read>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(Box::new(child.stderr.take().unwrap()) as Box<dyn Read>);
        Self { child, stderr }
    }

    /// The next line of standard error with `word` in it.
    fn wait_for(&mut self, word: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended without {word:?}: {seen}");
            if line.contains(word) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn terminate(&mut self) -> i32 {
        common::terminate(&mut self.child)
    }

    fn wait(&mut self) -> i32 {
        common::wait(&mut self.child)
    }

    fn stdout(&mut self) -> String {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        out
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node in development mode on the memory broker, and its URL.
fn node(listen: &str) -> (Running, String) {
    let mut node = Running::start(tidegate().args(["--broker", "memory:", "--shards", "1", "--listen", listen]));
    let line = node.wait_for("address=");
    (node, format!("http://{}", address_in(&line)))
}

fn publish(url: &str, channel: &str, data: &str) -> String {
    let output = run(&["publish", "--url", url, channel, data]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[test]
fn what_is_published_is_printed_from_any_position() {
    let (mut node, url) = node("127.0.0.1:0");
    let first = publish(&url, "news", "{\"step\": 1}");
    assert!(first.starts_with("1@"), "{first}");
    publish(&url, "news", "two");
    let all = run(&["subscribe", "--url", &url, "news", "--since", "0", "--count", "2"]);
    assert_eq!(text(&all.stdout), "{\"step\": 1}\n\"two\"\n", "{}", text(&all.stderr));
    let rest = run(&["subscribe", "--url", &url, "news", "--since", &first, "--count", "1", "--json"]);
    assert_eq!(text(&rest.stdout), "{\"data\":\"two\",\"offset\":2}\n");
    assert!(text(&rest.stderr).contains("recovered 1"), "{}", text(&rest.stderr));
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_delivery_has_no_more_bytes_than_its_bar_allows() {
    let (_node, url) = node("127.0.0.1:0");
    let url = url.replace("http:", "ws:");
    let output = run(&["bench", "overhead", "--publications", "50", "--json", "--url", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bars = CASES.iter().find(|case| case.name == "overhead").unwrap().bars;
    assert!(!bars.is_empty());
    for bar in bars {
        assert!(bar.wanted.holds(report[bar.figure].as_f64().unwrap()), "{}: {report}", bar.figure);
    }
    let [small, large] = ["", "_at_2_31"].map(|at| report[format!("protobuf_message_bytes_above{at}")].as_f64());
    assert_eq!(large.unwrap() - small.unwrap(), 4.0, "an offset of 2^31 has five bytes: {report}");
}

#[test]
fn a_watcher_gets_live_publications_and_comes_back_after_the_server() {
    let (mut first, url) = node("127.0.0.1:0");
    let mut watcher = Running::start(tidegate().args(["subscribe", "--url", &url, "news", "--count", "2"]));
    watcher.wait_for("subscribed at 0@");
    publish(&url, "news", "1");
    first.child.kill().unwrap();
    first.wait();
    watcher.wait_for("connecting again");
    let (_second, _) = node(url.strip_prefix("http://").unwrap());
    // Another life of the memory broker: its positions are others, and that is said.
    watcher.wait_for("could NOT be recovered");
    publish(&url, "news", "2");
    assert_eq!(watcher.wait(), 0);
    assert_eq!(watcher.stdout(), "1\n2\n");
}

#[test]
fn a_node_whose_terminal_is_closed_goes_on_without_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, "[api]\ninsecure = true\n[channel.without_namespace]\n").unwrap();
    let config = ["--config", config.to_str().unwrap(), "--broker", "memory:", "--listen", "127.0.0.1:0"];
    let mut node = Running::start(tidegate().args(config));
    let url = format!("http://{}", address_in(&node.wait_for("address=")));
    common::signal(&node.child, "-HUP");
    node.wait_for("nothing is reloaded");
    node.stderr = BufReader::new(Box::new(std::io::empty()));
    common::signal(&node.child, "-HUP");
    publish(&url, "news", "1");
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_node_in_development_mode_ends_with_its_terminal() {
    let (mut node, _) = node("127.0.0.1:0");
    common::signal(&node.child, "-HUP");
    assert_eq!(node.wait(), -1, "ended by the signal, not by an exit");
}

#[test]
fn refusals_end_with_a_sentence() {
    let (_node, url) = node("127.0.0.1:0");
    let check = |args: &[&str], expected: &str| {
        let output = run(args);
        let error = text(&output.stderr);
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
        assert_eq!(output.status.code(), Some(1));
    };
    check(&["subscribe", "--url", &url, "none:1"], "subscribe refused: unknown channel (error 102)");
    check(&["publish", "--url", &url, "none:1", "1"], "its namespace is not configured");
    check(
        &["publish", "--url", "http://127.0.0.1:1", "a", "1"],
        "cannot connect to 127.0.0.1:1; is the server running?",
    );
    check(&["subscribe", "--url", &url, "--token", "x.y.z", "news"], "disconnected: invalid token (3500)");
    let address = url.strip_prefix("http://").unwrap();
    let output = run(&["--broker", "memory:", "--listen", address]);
    let error = text(&output.stderr);
    assert!(error.contains(address) && error.contains("in use"), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

/// A node in development mode on a directory.
fn on_disk(directory: &Path) -> Command {
    let mut command = tidegate();
    command.args(["--shards", "1", "--listen", "127.0.0.1:0", "--broker"]);
    command.arg(format!("embedded:{}", directory.display()));
    command
}

#[test]
fn a_directory_that_is_in_use_or_damaged_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = || {
        let output = on_disk(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let mut node = Running::start(&mut on_disk(dir.path()));
    let line = node.wait_for("address=");
    let address = address_in(&line);
    let error = refusal();
    let holder = format!("in use by process {}", node.child.id());
    assert!(error.contains(&holder) && error.contains("choose another directory"), "{error}");
    for data in ["1", "2", "3"] {
        publish(&format!("http://{address}"), "news", data);
    }
    assert_eq!(node.terminate(), 0);

    let mut logs = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.find(|log| !log.to_string_lossy().ends_with(".rules")).unwrap();
    let segment = log.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'1').unwrap();
    bytes[first] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let error = refusal();
    assert!(error.contains("is damaged at byte 16") && error.contains("restore the file from a backup"), "{error}");
}

#[cfg(feature = "kafka")]
#[test]
fn a_kafka_that_is_away_at_the_start_is_waited_for() {
    let mut node = Running::start(tidegate().args(["--broker", "kafka://127.0.0.1:1/x", "--listen", "127.0.0.1:0"]));
    let line = node.wait_for("cannot reach the log yet");
    assert!(line.contains("Kafka at 127.0.0.1:1 cannot be reached") && line.contains("trying again"), "{line}");
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.toml");
    let write = |content: &str| std::fs::write(&path, content).unwrap();
    let config = |args: &[&str]| tidegate().arg("config").args(args).arg("--config").arg(&path).output().unwrap();
    write("[broker]\nurl = \"memory:\"\n[client.token]\nhmac_secret_key = \"hunter2\"\n");
    assert_eq!(text(&config(&["check"]).stdout), "the configuration is fine\n");
    let shown = text(&config(&["show"]).stdout);
    assert!(shown.contains("url = \"memory:\"") && shown.contains("\"***\"") && !shown.contains("hunter2"), "{shown}");
    write("[broker]\nurl = \"memory:\"\n[client]\nping_intervall = \"1s\"\npong_timeout = 3\n");
    let wrong = config(&["check"]);
    let error = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(error.contains("client.ping_intervall: no such setting, did you mean \"ping_interval\"?"), "{error}");
    assert!(error.contains("client.pong_timeout: expected a duration"), "{error}");
    write("[client.token]\nhmac_secret_key = hunter2\n");
    let wrong = config(&["check"]);
    let error = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(error.contains("is no TOML: line 2, column 19: ") && !error.contains("hunter"), "{error}");
    write("[broker]\nurl = \"embedded:\"\n[embedded]\nretention_agee = \"7d\"\nsegment_bytes = \"banana\"\n");
    let wrong = config(&["check"]);
    let error = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2));
    for path in ["broker.url: ", "embedded.retention_agee: ", "embedded.segment_bytes: "] {
        assert!(error.contains(path), "{path}: {error}");
    }
    let output = run(&["config", "check", "--config", "/nothing/here.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nothing/here.toml: cannot be read: "), "{}", text(&output.stderr));
    let reference = text(&run(&["config", "reference"]).stdout);
    assert!(reference.contains("# ping_interval = \"25s\""), "{reference}");
}

#[test]
fn a_token_lets_a_client_in_where_nobody_else_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.toml");
    let content = "listen = \"127.0.0.1:0\"\n[broker]\nurl = \"memory:\"\n[client.token]\nhmac_secret_key = \"hunter2\"\n\
                   [api]\nkeys = [\"k\"]\n[namespaces.jobs]\nhistory_size = 10\nhistory_ttl = \"1m\"\nallow_recovery = true\n";
    std::fs::write(&path, content).unwrap();
    let mut node = Running::start(tidegate().arg("--config").arg(&path));
    let line = node.wait_for("address=");
    let url = format!("http://{}", address_in(&line));
    let token = |args: &[&str]| {
        let output = tidegate().arg("token").arg("--config").arg(Path::new(&path)).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let refused = run(&["publish", "--url", &url, "jobs:1", "1"]);
    assert!(text(&refused.stderr).contains("no API key"), "{}", text(&refused.stderr));
    assert!(run(&["publish", "--url", &url, "--api-key", "k", "jobs:1", "1"]).status.success());
    let connection = token(&["--user", "u1"]);
    let subscribe = |args: &[&str]| {
        let common = ["subscribe", "--url", url.as_str(), "jobs:1", "--since", "0", "--count", "1"];
        run(&[&common[..], args].concat())
    };
    assert_eq!(subscribe(&[]).status.code(), Some(1));
    let without = subscribe(&["--token", &connection]);
    assert!(text(&without.stderr).contains("permission denied (error 103)"), "{}", text(&without.stderr));
    let subscription = token(&["--user", "u1", "--channel", "jobs:1"]);
    let with = subscribe(&["--token", &connection, "--channel-token", &subscription]);
    assert_eq!(text(&with.stdout), "1\n", "{}", text(&with.stderr));
}

#[test]
fn a_token_can_be_signed_by_a_private_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let openssl = |args: &[&str]| assert!(Command::new("openssl").args(args).status().unwrap().success(), "{args:?}");
    let (private, public, file) = (path("private.pem"), path("public.pem"), path("tidegate.toml"));
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    let content = format!(
        "listen = \"127.0.0.1:0\"\n[broker]\nurl = \"memory:\"\n[client.token]\npublic_key = \"{public}\"\naudience = \"app\"\n\
         [api]\nkeys = [\"k\"]\n[namespaces.jobs]\nhistory_size = 10\nhistory_ttl = \"1m\"\nallow_recovery = true\n\
         allow_subscribe_for_client = true\n"
    );
    std::fs::write(&file, content).unwrap();
    let mut node = Running::start(tidegate().args(["--config", &file]));
    let line = node.wait_for("address=");
    let url = format!("http://{}", address_in(&line));
    assert!(run(&["publish", "--url", &url, "--api-key", "k", "jobs:1", "1"]).status.success());
    let token = run(&["token", "--config", &file, "--key-file", &private, "--user", "u1"]);
    assert!(token.status.success(), "{}", text(&token.stderr));
    let token = text(&token.stdout).trim().to_owned();
    let heard = run(&["subscribe", "--url", &url, "--token", &token, "jobs:1", "--since", "0", "--count", "1"]);
    assert_eq!(text(&heard.stdout), "1\n", "{}", text(&heard.stderr));
    for (args, why) in [
        (["--key-file", &public], "this is a public key: signing needs the private one"),
        (["--secret", "s"], ""),
        (["--alg", "ES512"], "no such algorithm"),
    ] {
        let output = run(&[&["token", "--config", &file][..], &args].concat());
        assert!(output.status.success() == why.is_empty(), "{args:?}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}
