//! The demo's pages in headless Chromium, by `browser/watch.mjs`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tidegate_testkit::install::find_program;

/// What to watch.
#[derive(Clone, Debug, Serialize)]
pub struct Watch {
    /// The pages, each with cookies and connections of its own.
    pub pages: Vec<Page>,
    /// Steps that every job of every page shall see.
    pub steps: usize,
    /// How long that may take.
    pub seconds: u64,
    /// Pictures are written to this path and `-running.png`, of the first page, and `-NAME.png`, of every page.
    pub screenshot: String,
}

/// One page.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Of its picture.
    pub name: String,
    /// What it opens.
    pub url: String,
    /// Whether it presses "Start a job".
    pub start: bool,
}

/// What a page knew at the end, and what went wrong in it.
#[derive(Clone, Debug, Deserialize)]
pub struct PageSeen {
    /// Its jobs, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// Steps lost, duplicated, out of order, or in a recovery that was not whole.
    pub violations: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Publications recovered after reconnects.
    pub recovered: u64,
    /// The node it hung on last.
    pub node: String,
    /// Uncaught exceptions.
    pub errors: Vec<String>,
}

/// What a page saw of one job.
#[derive(Clone, Debug, Deserialize)]
pub struct JobSeen {
    /// Steps in the order of their arrival.
    pub steps: Vec<u32>,
    /// Steps below the highest that never came.
    pub lost: u64,
    /// Steps that came again.
    pub duplicated: u64,
    /// Steps that came after a higher one.
    pub reordered: u64,
    /// Recovered publications per return.
    pub recovered: Vec<u64>,
    /// From the first step to the last, as they came.
    pub milliseconds: f64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready,
    Nodes { nodes: Vec<String> },
    Result { pages: Vec<PageSeen> },
    Failed { reason: String },
}

/// A script that drives Chromium, with its options.
///
/// # Errors
/// When Chromium or the driver is missing.
pub fn driver(script: &str, mut options: serde_json::Value) -> Result<Command> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    ensure!(dir.join("node_modules").is_dir(), "the driver is missing: run cargo xtask test, or npm ci in {dir:?}");
    let chromium = find_program("chromium").context("chromium is missing: apt-get install chromium")?;
    options["chromium"] = chromium.to_string_lossy().into();
    let mut command = Command::new("node");
    command.arg(script).arg(options.to_string()).current_dir(dir);
    Ok(command)
}

/// A running browser whose pages are all connected.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    questions: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Chromium {
    /// Opens the pages and waits until all are connected.
    ///
    /// # Errors
    /// When Chromium or its driver is missing, or a page does not connect.
    pub fn open(watch: &Watch) -> Result<Self> {
        let mut command = driver("watch.mjs", serde_json::to_value(watch)?)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start node")?;
        let stdout = child.stdout.take().context("standard output")?;
        let questions = child.stdin.take().context("standard input")?;
        let mut browser = Self { child, questions, events: BufReader::new(stdout).lines() };
        match browser.next()? {
            Event::Ready => Ok(browser),
            other => bail!("the pages did not connect: {other:?}"),
        }
    }

    /// The nodes on which the pages hang now, in the order of the pages; empty for one that is not connected.
    ///
    /// # Errors
    /// When the browser failed, or is done already.
    pub fn nodes(&mut self) -> Result<Vec<String>> {
        self.questions.write_all(b"nodes\n").context("ask the browser's driver")?;
        match self.next()? {
            Event::Nodes { nodes } => Ok(nodes),
            other => bail!("the browser was done already: {other:?}"),
        }
    }

    /// Waits until every page saw all steps, or the time was over; what they saw, in the order of the pages.
    ///
    /// # Errors
    /// When the browser failed, or a page had an uncaught exception.
    pub fn finish(mut self) -> Result<Vec<PageSeen>> {
        match self.next()? {
            Event::Result { pages } => {
                let errors: Vec<&String> = pages.iter().flat_map(|page| &page.errors).collect();
                ensure!(errors.is_empty(), "pages had errors: {errors:?}");
                Ok(pages)
            }
            other => bail!("the browser ended without a result: {other:?}"),
        }
    }

    fn next(&mut self) -> Result<Event> {
        let line = self.events.next().context("the browser's driver has ended")??;
        match serde_json::from_str(&line).with_context(|| line.clone())? {
            Event::Failed { reason } => bail!("the browser failed: {reason}"),
            event => Ok(event),
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its driver closes it at the end; before that, both are ended here. It ended in between if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PageSeen {
    /// Fails unless every job's steps are 1, 2, 3, … `steps`, each once, and came over at least so long: what comes all
    /// at the end is not live.
    ///
    /// # Errors
    /// With the first job that is not whole.
    pub fn check(&self, steps: u32, at_least: Duration) -> Result<()> {
        ensure!(!self.jobs.is_empty(), "the page has no job");
        for (name, job) in &self.jobs {
            let whole = job.steps.iter().copied().eq(1..=steps);
            ensure!(whole, "{name} saw {:?} on {}", job.steps, self.node);
            let took = Duration::from_secs_f64(job.milliseconds / 1000.0);
            ensure!(took >= at_least, "{name} came within {took:?}, not live");
        }
        ensure!(self.violations == 0, "the page counted {} violations", self.violations);
        Ok(())
    }
}
