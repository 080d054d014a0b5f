//! Jest in a checkout of `centrifuge-js`, and what its report counts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tidegate_testkit::install::find_program;
use tidegate_testkit::process::Process;

const FILES: [&str; 5] = ["centrifuge", "centrifuge.protobuf", "recovery", "delta", "getstate"];
/// All but tests of map subscriptions, which are not of the core.
const NAMES: &str = "^(?!map( delta)?:)";
const PROGRAM: &str = "node_modules/jest/bin/jest.js";
/// A run takes some 10 s.
const RUN_MAX: Duration = Duration::from_secs(300);
const HOW: &str = "git clone --branch 5.7.1 https://github.com/centrifugal/centrifuge-js && cd centrifuge-js && npm ci";

/// A checkout whose tests can be run.
pub(super) struct Jest {
    node: PathBuf,
    checkout: PathBuf,
    output: PathBuf,
}

fn source(file: &str) -> String {
    format!("src/{file}.test.ts")
}

/// How the tests of a run ended. Those that were left out are in neither.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    /// Their names, or those of files that could not be run.
    pub(super) failed: Vec<String>,
}

impl Jest {
    /// Looks whether there is all that a run needs. What it prints and reports goes to `output`.
    pub(super) fn find(checkout: &Path, output: &Path) -> Result<Self> {
        let node = find_program("node").context("node is missing: install Node.js 20.19 or newer")?;
        let lacks = FILES.iter().find(|file| !checkout.join(source(file)).is_file());
        if let Some(file) = lacks {
            bail!("{} is no checkout of centrifuge-js 5.7.1, it lacks {}: {HOW}", checkout.display(), source(file));
        }
        ensure!(checkout.join(PROGRAM).is_file(), "{} has no Jest: run npm ci there", checkout.display());
        Ok(Self { node, checkout: checkout.canonicalize()?, output: output.to_owned() })
    }

    /// Runs the tests once against whoever listens. What they print is kept under `name`.
    pub(super) fn run(&self, name: &str) -> Result<Counts> {
        let report = self.output.join(format!("{name}.json"));
        let mut command = Command::new(&self.node);
        // Without `--forceExit` it waits for ever for the clients that a failed test leaves behind.
        command.arg(PROGRAM).args(["--verbose", "--runInBand", "--forceExit", "--json", "--outputFile"]).arg(&report);
        command.args(FILES.map(source)).args(["-t", NAMES]);
        command.current_dir(&self.checkout);
        let mut jest = Process::start("jest", &mut command, &self.output.join(format!("{name}.log")))?;
        let began = Instant::now();
        while jest.check_alive().is_ok() {
            if began.elapsed() > RUN_MAX {
                bail!("the suite did not end within {RUN_MAX:?}:\n{}", jest.log_tail());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let text = std::fs::read(&report).with_context(|| format!("no report of jest:\n{}", jest.log_tail()))?;
        Counts::read(&serde_json::from_slice(&text).context("the report of jest")?)
    }
}

impl Counts {
    /// Reads a report as `--json` writes it. One in which nothing passed says nothing, and is an error.
    fn read(report: &Value) -> Result<Self> {
        let passed = report["numPassedTests"].as_u64().context("no numPassedTests in the report")?;
        let files = report["testResults"].as_array().context("no testResults in the report")?;
        let mut failed = Vec::new();
        for file in files {
            let before = failed.len();
            let tests = file["assertionResults"].as_array().into_iter().flatten();
            let names = tests.filter(|test| test["status"] == "failed").map(|test| &test["fullName"]);
            failed.extend(names.map(|name| name.as_str().unwrap_or("a test without a name").to_owned()));
            if file["status"] == "failed" && failed.len() == before {
                failed.push(format!("{}: {}", file["name"], file["message"]));
            }
        }
        ensure!(passed > 0 || !failed.is_empty(), "no test was run");
        Ok(Self { passed, failed })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Counts;

    #[test]
    fn what_failed_is_named_and_what_was_left_out_is_not_counted() {
        let test = |status: &str| json!({ "fullName": format!("it {status}"), "status": status });
        let report = json!({
            "numPassedTests": 1,
            "testResults": [
                { "status": "failed", "assertionResults": [test("passed"), test("failed"), test("pending")] },
                { "status": "failed", "name": "b.test.ts", "message": "no such module", "assertionResults": [] },
                { "status": "passed", "assertionResults": [test("pending")] },
            ],
        });
        let counts = Counts::read(&report).unwrap();
        assert_eq!(counts.passed, 1);
        assert_eq!(counts.failed, ["it failed", "\"b.test.ts\": \"no such module\""]);
    }

    #[test]
    fn a_run_of_nothing_is_no_success() {
        assert!(Counts::read(&json!({ "numPassedTests": 0, "testResults": [] })).is_err());
        assert!(Counts::read(&json!({})).is_err());
    }
}
