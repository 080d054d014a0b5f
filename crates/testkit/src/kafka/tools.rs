//! Kafka's own command lines: topics, records by the console producer.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Jars, Jit, Kafka};
use crate::process::run;

/// A topic to create.
#[derive(Clone, Debug)]
pub struct Topic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replication: u32,
    /// Settings such as `cleanup.policy`.
    pub config: &'a [(&'a str, &'a str)],
}

impl<'a> Topic<'a> {
    /// One copy, no settings.
    pub fn new(name: &'a str, partitions: u32) -> Self {
        Self { name, partitions, replication: 1, config: &[] }
    }
}

/// The command lines against one cluster; also one that the testkit did not start.
#[derive(Clone, Debug)]
pub struct Tools {
    jars: Jars,
    bootstrap: String,
}

impl Tools {
    /// For the cluster at `bootstrap`.
    pub fn new(jars: Jars, bootstrap: &str) -> Self {
        Self { jars, bootstrap: bootstrap.to_owned() }
    }

    fn topics(&self, args: &[&str]) -> Result<String> {
        run(self.command("org.apache.kafka.tools.TopicCommand").args(args))
    }

    /// One of Kafka's tools with its `--bootstrap-server`; the caller adds the rest.
    pub fn command(&self, class: &str) -> Command {
        let mut command = self.jars.command(class, Jit::Quick);
        command.args(["--bootstrap-server", &self.bootstrap]);
        command
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn create_topic(&self, topic: &Topic<'_>) -> Result<()> {
        let (partitions, replication) = (topic.partitions.to_string(), topic.replication.to_string());
        let mut args = vec!["--create", "--topic", topic.name, "--partitions", &partitions];
        args.extend(["--replication-factor", &replication]);
        let config: Vec<String> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for entry in &config {
            args.extend(["--config", entry]);
        }
        self.topics(&args).map(drop)
    }

    /// Deletes a topic and everything in it.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.topics(&["--delete", "--topic", name]).map(drop)
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn set_partitions(&self, name: &str, partitions: u32) -> Result<()> {
        self.topics(&["--alter", "--topic", name, "--partitions", &partitions.to_string()]).map(drop)
    }

    /// Produces keyed records with Kafka's console producer: what any Java producer does by default.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn console_produce(&self, topic: &str, records: &[(String, String)]) -> Result<()> {
        let mut command = self.command("org.apache.kafka.tools.ConsoleProducer");
        command.args(["--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]);
        feed(&mut command, records)
    }

    /// Produces keyed records with `kcat -k`-style keys: what any librdkafka producer does by default.
    ///
    /// # Errors
    /// When the tool is missing or fails.
    pub fn kcat_produce(&self, topic: &str, records: &[(String, String)]) -> Result<()> {
        let mut command = Command::new(crate::install::ensure_program("kcat", "kcat")?);
        command.args(["-P", "-b", &self.bootstrap, "-t", topic, "-K", "|"]);
        feed(&mut command, records)
    }
}

impl Kafka {
    /// Its command lines.
    pub fn tools(&self) -> Tools {
        Tools::new(self.jars.clone(), &self.bootstrap())
    }
}

fn feed(command: &mut Command, records: &[(String, String)]) -> Result<()> {
    let lines: String = records.iter().map(|(key, value)| format!("{key}|{value}\n")).collect();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
    let mut input = child.stdin.take().context("standard input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "producer failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
