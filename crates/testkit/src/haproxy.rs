//! `HAProxy` as a round-robin balancer without any affinity, for each request anew.
//!
//! With `http-no-delay`: without it every message of a response that does not end waits up to 200 ms for a next one. With
//! `abortonclose`: without it a client that hangs up on such a response stays until something is sent to it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::install::ensure_program;
use crate::ports::{connect, free, poll_until};
use crate::process::{Process, run};

/// A running balancer.
#[derive(Debug)]
pub struct Haproxy {
    port: u16,
    process: Process,
    // After the process: it ends before its folder goes.
    _dir: TempDir,
}

impl Haproxy {
    /// Balances a free port over these loopback ports; `health_path` is asked every half second and must answer 2xx.
    ///
    /// # Errors
    /// When the program is missing and cannot be installed, or does not come up.
    pub fn start(backends: &[u16], health_path: &str) -> Result<Self> {
        let [port] = free()?;
        Self::start_at(port, backends, health_path)
    }

    /// The same on a given port.
    ///
    /// # Errors
    /// As [`Haproxy::start`].
    pub fn start_at(port: u16, backends: &[u16], health_path: &str) -> Result<Self> {
        Self::start_routed(port, backends, health_path, None)
    }

    /// The same, with one path that goes to a port of its own.
    ///
    /// # Errors
    /// As [`Haproxy::start`].
    pub fn start_routed(port: u16, backends: &[u16], health_path: &str, route: Option<(&str, u16)>) -> Result<Self> {
        Self::launch(port, config(port, backends, health_path, route))
    }

    /// In front of one port, as somebody would set it up who knows nothing of streams: only what `HAProxy` insists on.
    ///
    /// # Errors
    /// As [`Haproxy::start`].
    pub fn start_with_defaults(backend: u16) -> Result<Self> {
        Self::start_plain(backend, "")
    }

    /// The same, and it speaks HTTP/2 to the port, but for WebSockets.
    ///
    /// # Errors
    /// As [`Haproxy::start`].
    pub fn start_over_http2(backend: u16) -> Result<Self> {
        Self::start_plain(backend, "proto h2 ws h1")
    }

    fn start_plain(backend: u16, server: &str) -> Result<Self> {
        let [port] = free()?;
        let text = format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
             frontend front\n  bind 127.0.0.1:{port}\n  default_backend node\n\
             backend node\n  server node 127.0.0.1:{backend} {server}\n"
        );
        Self::launch(port, text)
    }

    fn launch(port: u16, text: String) -> Result<Self> {
        let program = ensure_program("haproxy", "haproxy")?;
        let dir = tempfile::Builder::new().prefix("tidegate-haproxy-").tempdir()?;
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, text)?;
        run(Command::new(&program).args(["-c", "-f"]).arg(&file)).context("haproxy configuration")?;
        let mut command = Command::new(&program);
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::start("haproxy", &mut command, &log(dir.path()))?;
        poll_until("haproxy", Duration::from_secs(10), || {
            process.check_alive()?;
            Ok(connect(port).map(drop)?)
        })?;
        Ok(Self { port, process, _dir: dir })
    }

    /// The port that it balances.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn log(dir: &Path) -> std::path::PathBuf {
    dir.join("log")
}

fn config(port: u16, backends: &[u16], health_path: &str, route: Option<(&str, u16)>) -> String {
    let rule = route.map(|(path, _)| format!("  use_backend route if {{ path {path} }}\n")).unwrap_or_default();
    let mut text = format!(
        "global\n  maxconn 9000\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n  \
         timeout tunnel 1h\n  retries 3\n  option redispatch\n  option http-no-delay\n  option abortonclose\n\
         frontend front\n  bind 127.0.0.1:{port}\n{rule}  default_backend nodes\n\
         backend nodes\n  balance roundrobin\n  option httpchk GET {health_path}\n  \
         default-server inter 500 fall 2 rise 1\n",
    );
    for (index, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  server node{} 127.0.0.1:{backend} check", index + 1);
    }
    if let Some((_, port)) = route {
        let _ = writeln!(text, "backend route\n  server route 127.0.0.1:{port}");
    }
    text
}
