//! A plain Kafka producer as a process: `kcat`, fed record by record.
//!
//! It stands for any program that publishes into a topic and has never heard of the server. Like every producer on
//! librdkafka it places keys by CRC32 unless told otherwise.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::install::ensure_program;

/// A running producer; dropping it ends it, [`Producer::finish`] waits until everything is written.
#[derive(Debug)]
pub struct Producer {
    child: Child,
    input: Option<ChildStdin>,
}

impl Producer {
    /// A producer into `topic`, with further librdkafka properties as `name=value`.
    ///
    /// # Errors
    /// When `kcat` is missing.
    pub fn start(bootstrap: &str, topic: &str, properties: &[&str]) -> Result<Self> {
        let mut command = Command::new(ensure_program("kcat", "kcat")?);
        command.args(["-P", "-b", bootstrap, "-t", topic, "-K", "|"]);
        command.args(["-X", "enable.idempotence=true", "-X", "linger.ms=5"]);
        for property in properties {
            command.args(["-X", property]);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = piped.spawn().context("start kcat")?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    /// Sends one record. Neither part may have a line break, nor the key a `|`.
    ///
    /// # Errors
    /// When the producer has ended.
    pub fn send(&mut self, key: &str, value: &str) -> Result<()> {
        let input = self.input.as_mut().context("the producer was finished")?;
        // In one piece: a record is a line.
        input.write_all(format!("{key}|{value}\n").as_bytes()).context("kcat has ended")
    }

    /// Waits until the broker has everything.
    ///
    /// # Errors
    /// When a record could not be written.
    pub fn finish(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "kcat ended with {status}");
        Ok(())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // It ended in between if this fails.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
