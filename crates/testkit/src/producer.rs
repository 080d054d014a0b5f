//! Plain Kafka producers as processes: `kcat`, record by record or as a stream.
//!
//! They stand for any program that publishes into a topic and has never heard of the server. Like every producer on
//! librdkafka they place keys by CRC32 unless told otherwise.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::install::ensure_program;

/// Where records go, and how.
#[derive(Clone, Debug)]
pub struct Producer {
    bootstrap: String,
    topic: String,
    properties: Vec<String>,
}

/// A running producer for many records; dropping it ends it, [`Stream::finish`] waits until everything is written.
#[derive(Debug)]
pub struct Stream {
    child: Child,
    input: Option<ChildStdin>,
}

impl Producer {
    /// A producer into `topic`, with further librdkafka properties as `name=value`.
    pub fn new(bootstrap: &str, topic: &str, properties: &[&str]) -> Self {
        let properties = properties.iter().map(|property| (*property).to_owned()).collect();
        Self { bootstrap: bootstrap.to_owned(), topic: topic.to_owned(), properties }
    }

    /// Produces one record and waits until the broker has it: a process of its own, because `kcat` reads its input in
    /// blocks and would keep a short record until more come. Neither part may have a line break, nor the key a `|`.
    ///
    /// # Errors
    /// When `kcat` is missing or the record could not be written.
    pub fn send(&self, key: &str, value: &str) -> Result<()> {
        let mut stream = self.stream()?;
        stream.send(key, value)?;
        stream.finish()
    }

    /// Starts a stream: quick, but what is sent may stay in its buffers for a while.
    ///
    /// # Errors
    /// When `kcat` is missing.
    pub fn stream(&self) -> Result<Stream> {
        let mut command = Command::new(ensure_program("kcat", "kcat")?);
        command.args(["-P", "-b", &self.bootstrap, "-t", &self.topic, "-K", "|", "-X", "linger.ms=0"]);
        for property in &self.properties {
            command.args(["-X", property]);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = piped.spawn().context("start kcat")?;
        let input = child.stdin.take();
        Ok(Stream { child, input })
    }
}

impl Stream {
    /// Sends one record. Neither part may have a line break, nor the key a `|`.
    ///
    /// # Errors
    /// When the producer has ended.
    pub fn send(&mut self, key: &str, value: &str) -> Result<()> {
        let input = self.input.as_mut().context("the stream was finished")?;
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

impl Drop for Stream {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // It ended in between if this fails.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
