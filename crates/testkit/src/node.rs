//! A server under test: the real `tidegate` binary as a process on a port of its own.
//!
//! It keeps its port and arguments, so that it can be killed and come back as the same node. Up means that `/ready`
//! answers 200.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConnection, StreamOwned};
use tidegate_tls_client::{Trust, client_config};

use crate::ports::{connect, free, poll_until};
use crate::process::Process;

/// Opening the log, meeting the broker and warming up, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in answers and on the demo page, and of its log file.
    pub name: String,
    /// `--broker`.
    pub broker: String,
    /// `--dev`.
    pub dev: bool,
    /// `--tls-self-signed`.
    pub tls: bool,
    /// Further arguments of `tidegate serve`.
    pub arguments: Vec<OsString>,
    /// Where its log file lies.
    pub dir: PathBuf,
    /// The server, if not the one that [`binary`] finds.
    pub binary: Option<PathBuf>,
}

impl Options {
    /// A node in development mode.
    pub fn dev(name: &str, broker: &str, dir: &Path) -> Self {
        let (name, broker) = (name.to_owned(), broker.to_owned());
        Self { name, broker, dev: true, tls: false, arguments: Vec::new(), dir: dir.to_owned(), binary: None }
    }
}

/// A node: running, or between two lives.
#[derive(Debug)]
pub struct Node {
    options: Options,
    port: u16,
    process: Option<Process>,
}

impl Node {
    /// Starts a node on a free port and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is not built or the node does not come up; the text has its last words.
    pub fn start(options: Options) -> Result<Self> {
        let [port] = free()?;
        Self::start_at(port, options)
    }

    /// The same on a given port.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_at(port: u16, options: Options) -> Result<Self> {
        let mut node = Self { options, port, process: None };
        node.restart()?;
        Ok(node)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://HOST:PORT`, or with https.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.options.dir.join(format!("{}.log", self.options.name))
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Ends it with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When the system refuses, or it did not run.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the node does not run")?.stop()
    }

    /// Starts it again on the same port, after its end by SIGTERM if it runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the text has its last words.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.stop()?;
        }
        let process = Process::start(&self.options.name, &mut self.command()?, &self.log())?;
        let process = self.process.insert(process);
        let (port, tls) = (self.port, self.options.tls);
        // A process that has ended is an answer, and ends the waiting.
        let up = poll_until(&self.options.name, START_MAX, || match process.check_alive() {
            Err(ended) => Ok(Err(ended)),
            Ok(()) => is_ready(port, tls).map(Ok),
        });
        up.with_context(|| process.log_tail())?
    }

    /// Fails with its last words when it has ended by itself.
    ///
    /// # Errors
    /// When it runs no more.
    pub fn check_alive(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check_alive)
    }

    fn command(&self) -> Result<Command> {
        let program = self.options.binary.clone().map_or_else(binary, Ok)?;
        let mut command = command(program);
        command.arg("serve").arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        command.args(["--broker", &self.options.broker]).args(&self.options.arguments);
        if self.options.dev {
            command.arg("--dev");
        }
        if self.options.tls {
            command.arg("--tls-self-signed");
        }
        command.current_dir(&self.options.dir).env("TIDEGATE_NODE_NAME", &self.options.name);
        Ok(command)
    }
}

/// The server's program with any command: it reads every variable of its own prefix, and those of the tests are not for
/// it.
pub fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.as_encoded_bytes().starts_with(b"TIDEGATE_")) {
        command.env_remove(name);
    }
    command
}

/// The server's binary: `TIDEGATE_BIN`, or the one beside the running test.
///
/// # Errors
/// When it is not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(PathBuf::from(path));
    }
    // target/debug/deps/test-0123 -> target/debug/tidegate; target/debug/xtask -> the same.
    let own = std::env::current_exe().context("find this program")?;
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("tidegate")).find(|path| path.is_file());
    found.with_context(|| format!("no tidegate near {}: run cargo build --bin tidegate", own.display()))
}

fn is_ready(port: u16, tls: bool) -> Result<()> {
    let response = if tls { get_over_tls(port, "/ready")? } else { get(port, "/ready")? };
    ensure!(response.starts_with("HTTP/1.1 200 "), "/ready: {}", response.lines().next().unwrap_or_default());
    Ok(())
}

/// One request on a connection of its own; the whole response as text.
///
/// # Errors
/// When nobody listens or answers.
pub fn get(port: u16, path: &str) -> Result<String> {
    exchange(port, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
}

/// [`get`] of a node with a certificate of its own.
fn get_over_tls(port: u16, path: &str) -> Result<String> {
    let config = Arc::new(client_config(&Trust::Anybody)?);
    let mut stream = StreamOwned::new(ClientConnection::new(config, "localhost".try_into()?)?, connect(port)?);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// One request with a JSON body, as [`get`].
///
/// # Errors
/// When nobody listens or answers.
pub fn post(port: u16, path: &str, body: &str) -> Result<String> {
    let length = body.len();
    exchange(
        port,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ),
    )
}

fn exchange(port: u16, request: &str) -> Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
