//! A server process under test: started fresh on a port of loopback, ended by its pid.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::case::Case;
use crate::clock::Deadline;

/// A server answers connects within this time.
const START_MAX: Duration = Duration::from_secs(20);

/// A server ends within this time after SIGTERM, or is killed.
const STOP_MAX: Duration = Duration::from_secs(5);

const POLL_EVERY: Duration = Duration::from_millis(20);

/// Bytes of a server's output that a failure is reported with.
const LAST_WORDS_MAX: i64 = 600;

/// A running server. Dropping it ends the process and removes its directory.
pub(super) struct Server {
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts `command`, a line of words without quoting, with its places filled in, and waits until its port answers.
    /// A configuration lies in its folder as `config.toml`.
    pub(super) fn start(command: &str, broker: &str, case: &Case, port: u16) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tidegate-bench-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let fill = |word: &str| {
            word.replace("{broker}", broker)
                .replace("{shards}", case.shards)
                .replace("{port}", &port.to_string())
                .replace("{dir}", &dir.to_string_lossy())
        };
        std::fs::write(dir.join("config.toml"), case.config).context("write the server's configuration")?;
        let mut words = command.split_whitespace().map(fill);
        let program = words.next().context("the server's command is empty")?;
        // The server runs in its own directory, and without our settings, so that it finds no configuration but what the
        // command names.
        let program = std::fs::canonicalize(&program).unwrap_or_else(|_| program.into());
        let log = std::fs::File::create(dir.join("log")).context("server log")?;
        let errors = log.try_clone().context("server log")?;
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"TIDEGATE_")) {
            command.env_remove(name);
        }
        let child = command
            .args(words)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut server = Self { child, dir };
        server.wait_for(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        Ok(server)
    }

    fn wait_for(&mut self, address: SocketAddrV4) -> Result<()> {
        let deadline = Deadline::after(START_MAX);
        while !is_ready(address) {
            if let Some(status) = self.child.try_wait().context("server")? {
                bail!("the server ended with {status}: {}", self.last_words());
            }
            if deadline.is_past() {
                bail!("the server is not ready on {address}: {}", self.last_words());
            }
            std::thread::sleep(POLL_EVERY);
        }
        // What a server does after that (warming up, first allocations) is not the load's cost.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its output.
    pub(super) fn last_words(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(self.dir.join("log"))?;
            let len = file.metadata()?.len() as i64;
            file.seek(SeekFrom::Start((len - LAST_WORDS_MAX).max(0) as u64))?;
            let mut bytes = Vec::new();
            file.take(LAST_WORDS_MAX as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        format!("output of server {}: {:?}", self.pid(), String::from_utf8_lossy(&bytes).trim())
    }
}

/// Whether somebody answers there and does not say that it is not ready: a node listens before its log is open. Servers
/// that know no such path answer something else.
fn is_ready(address: SocketAddrV4) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        match stream.read_exact(&mut status) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(error),
            // A server with TLS says nothing that can be read, and is there.
            Err(_) => Ok(true),
            Ok(()) => Ok(status != *b"HTTP/1.1 503"),
        }
    };
    ask().unwrap_or(false)
}

impl Drop for Server {
    fn drop(&mut self) {
        let asked = Pid::from_raw(self.child.id() as i32).map(|pid| kill_process(pid, Signal::TERM));
        let deadline = Deadline::after(if asked.is_some() { STOP_MAX } else { Duration::ZERO });
        while matches!(self.child.try_wait(), Ok(None)) && !deadline.is_past() {
            std::thread::sleep(POLL_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
