//! `cargo xtask test`: installs what the tests need, then runs all of them.
//!
//! The suites that need real programs are behind cargo features; one that cannot have its programs is named as skipped,
//! and where `CI=true` that is a failure.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_testkit::install::{build_go, ensure_program, find_program, install_packages, python};
use tidegate_testkit::kafka::Jars;
use tidegate_testkit::process::run as output_of;

use crate::fuzz;
use crate::steps::{cargo, in_ci, root, step, target_dir, timed};

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Install what is missing and stop there
    #[arg(long)]
    install_only: bool,
    /// Passed to `cargo test`, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Suites behind one feature, and what they need.
struct Suite {
    feature: &'static str,
    needs: &'static [Need],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    Kafka,
    Haproxy,
    Nginx,
    Kcat,
    Browser,
    Libraries,
    Peers,
    Python,
    Go,
}

const ALL: [Need; 9] = [
    Need::Kafka,
    Need::Haproxy,
    Need::Nginx,
    Need::Kcat,
    Need::Browser,
    Need::Libraries,
    Need::Peers,
    Need::Python,
    Need::Go,
];

const SUITES: &[Suite] = &[
    Suite { feature: "tidegate-broker-kafka/real-kafka", needs: &[Need::Kafka, Need::Kcat] },
    Suite { feature: "tidegate-tests/durability", needs: &[] },
    Suite { feature: "tidegate-tests/browser", needs: &[Need::Browser] },
    Suite { feature: "tidegate-tests/sdk", needs: &[Need::Libraries, Need::Peers, Need::Python, Need::Go] },
    Suite { feature: "tidegate-tests/proxies", needs: &[Need::Haproxy, Need::Nginx] },
    Suite { feature: "tidegate-tests/rig", needs: &ALL },
];

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Kcat => "kcat",
            Self::Browser => "chromium",
            Self::Libraries => "client libraries",
            Self::Peers => "published WebSocket peers",
            Self::Python => "packages for Python",
            Self::Go => "packages for Go",
        }
    }

    fn install(self) -> Result<()> {
        match self {
            Self::Kafka => Jars::ensure().map(drop),
            Self::Haproxy => ensure_program("haproxy", "haproxy").map(drop),
            Self::Nginx => ensure_program("nginx", "nginx-light").map(drop),
            Self::Kcat => ensure_program("kcat", "kcat").map(drop),
            Self::Browser => install_browser(),
            Self::Libraries => npm_ci("tests/sdk"),
            Self::Peers => npm_ci("tests/frames").and_then(|()| pip_install("tests/frames/requirements.txt")),
            Self::Python => pip_install("tests/sdk/python/requirements.txt"),
            Self::Go => build_go(&root().join("tests/sdk/go"), "sdk-go").map(drop),
        }
    }
}

impl Test {
    /// Installs, then tests; fails when a test fails, or in CI when a suite cannot run.
    pub(crate) fn run(&self) -> Result<()> {
        let missing = install();
        if !missing.is_empty() && in_ci() {
            bail!("CI runs every suite, but there is no {}", names(&missing));
        }
        if self.install_only {
            ensure!(missing.is_empty(), "there is no {}", names(&missing));
            return Ok(());
        }
        step("build the server", &mut cargo(&["build", "--workspace", "--bin", "tidegate"]))?;
        let result = step("tests", &mut self.command(&missing));
        for suite in SUITES.iter().filter(|suite| !can_run(suite, &missing)) {
            eprintln!("==> skipped: {} (there is no {})", suite.feature, names(&missing));
        }
        // Also after a test that failed: what both find is seen at once.
        result.and(timed("fuzz targets", fuzz::short))
    }

    fn command(&self, missing: &[Need]) -> Command {
        let features: Vec<&str> =
            SUITES.iter().filter(|suite| can_run(suite, missing)).map(|suite| suite.feature).collect();
        let mut command = cargo(&["test", "--workspace", "--no-fail-fast", "--features", &features.join(",")]);
        command.args(&self.arguments);
        command.env("TIDEGATE_BIN", target_dir().join("debug/tidegate"));
        if !missing.contains(&Need::Kafka) {
            command.env("TIDEGATE_TEST_PROCESSES", "1");
        }
        command
    }
}

/// What could not be had, each with its reason on the terminal.
fn install() -> Vec<Need> {
    let install = |need: &Need| match timed(&format!("install {}", need.name()), || need.install()) {
        Ok(()) => false,
        Err(error) => {
            eprintln!("    {error:#}");
            true
        }
    };
    ALL.into_iter().filter(install).collect()
}

fn install_browser() -> Result<()> {
    ensure_program("chromium", "chromium")?;
    npm_ci("tests/browser")
}

/// Installs the packages of a folder from its lock file.
fn npm_ci(folder: &str) -> Result<()> {
    ensure!(find_program("npm").is_some(), "npm is missing: install Node.js 20.19 or newer");
    let dir = root().join(folder);
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&dir);
    let status = npm.status().context("start npm")?;
    ensure!(status.success(), "npm ci in {} failed ({status})", dir.display());
    Ok(())
}

/// Installs what a file names, with exact versions, into a Python that belongs to the tests.
fn pip_install(requirements: &str) -> Result<()> {
    if find_program("python3").is_none() {
        install_packages(&["python3", "python3-venv"]).context("python3 is missing")?;
    }
    let python = python();
    if !python.is_file() {
        let dir = python.ancestors().nth(2).context("a folder above bin/python")?;
        // It may be there in part, from a run that was cut.
        output_of(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir)).context("python3 -m venv")?;
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement"]);
    output_of(pip.arg(root().join(requirements))).map(drop)
}

fn can_run(suite: &Suite, missing: &[Need]) -> bool {
    !suite.needs.iter().any(|need| missing.contains(need))
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{ALL, Need, SUITES, Suite, can_run};

    #[test]
    fn a_suite_runs_only_with_all_that_it_needs() {
        assert!(SUITES.iter().all(|suite| can_run(suite, &[])));
        assert!(SUITES.iter().all(|suite| can_run(suite, &ALL) == suite.needs.is_empty()));
        let without_haproxy = |suite: &Suite| can_run(suite, &[Need::Haproxy]) != suite.needs.contains(&Need::Haproxy);
        assert!(SUITES.iter().all(without_haproxy));
    }
}
