//! A proxy as a process on a free port: what its kinds have in common. What each is told is in a module of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::install::ensure_program;
use crate::ports::{connect, free, poll_until};
use crate::process::{Process, run};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    process: Process,
    // After the process: it ends before its folder goes.
    _dir: TempDir,
}

/// How a program is started. The file with its configuration comes behind the arguments.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Of Debian.
    pub(crate) package: &'static str,
    /// Arguments to look at the configuration alone.
    pub(crate) check: &'static [&'static str],
    /// Arguments to run in the foreground.
    pub(crate) run: &'static [&'static str],
}

impl Proxy {
    /// Starts a proxy on `port`, with what `config` makes of a folder of its own.
    pub(crate) fn start(program: &Program, port: u16, config: impl FnOnce(&Path) -> String) -> Result<Self> {
        let Program { name, package, check, run: arguments } = program;
        let path = ensure_program(name, package)?;
        let dir = tempfile::Builder::new().prefix(&format!("tidegate-{name}-")).tempdir()?;
        let file = dir.path().join("config");
        std::fs::write(&file, config(dir.path()))?;
        run(Command::new(&path).args(*check).arg(&file)).with_context(|| format!("{name} configuration"))?;
        let mut command = Command::new(&path);
        command.args(*arguments).arg(&file);
        let mut process = Process::start(name, &mut command, &dir.path().join("log"))?;
        poll_until(name, Duration::from_secs(10), || {
            process.check_alive()?;
            Ok(connect(port).map(drop)?)
        })?;
        Ok(Self { port, process, _dir: dir })
    }

    /// The same on a free port.
    pub(crate) fn start_anywhere(program: &Program, config: impl FnOnce(u16, &Path) -> String) -> Result<Self> {
        let [port] = free()?;
        Self::start(program, port, |dir| config(port, dir))
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
