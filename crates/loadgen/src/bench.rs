//! The command line of `tidegate bench`.

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Report;
use crate::scenario::Scenario;
use crate::target::Target;

/// Load on a server of this machine, with every delivery checked.
#[derive(Debug, Clone, clap::Args)]
pub struct Bench {
    /// What to do
    #[command(subcommand)]
    pub scenario: Scenario,
    /// To whom
    #[command(flatten)]
    pub target: Target,
    /// Print the report as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Bench {
    /// Runs the scenario and prints the report.
    ///
    /// # Errors
    /// When the load could not be put on, or a delivery was lost, doubled, out of order or changed.
    pub fn run(&self) -> Result<()> {
        let report = measure(&self.scenario, &self.target)?;
        if self.json {
            println!("{}", serde_json::to_string(&report).context("report")?);
        } else {
            print!("{report}");
        }
        let faults = report.faults();
        if faults.is_empty() {
            return Ok(());
        }
        let text: Vec<String> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        bail!("the run has faults: {}", text.join(", "))
    }
}

/// Runs a scenario.
///
/// # Errors
/// When the load could not be put on; faults of the server are in the report.
pub(crate) fn measure(scenario: &Scenario, target: &Target) -> Result<Report> {
    let files = raise_file_limit();
    let clients = scenario.clients();
    ensure!((clients as u64) + 256 < files, "{clients} clients need more files than the limit of {files}");
    scenario.run(&target.check()?).with_context(|| format!("scenario {}", scenario.name()))
}

/// Raises the limit of open files to what is allowed, and returns it. Processes started later inherit it.
pub(crate) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: super::Bench,
    }

    #[test]
    fn the_target_may_come_before_or_after_the_scenario() {
        let target = ["--url", "ws://127.0.0.1:9", "--pid", "7", "--json"];
        let before = ["bench"].iter().chain(&target).chain(&["idle", "--clients", "3"]);
        let after = ["bench", "idle", "--clients", "3"].iter().chain(&target);
        for line in [Line::try_parse_from(before).unwrap(), Line::try_parse_from(after).unwrap()] {
            assert_eq!((line.bench.target.url.as_str(), line.bench.target.pid), ("ws://127.0.0.1:9", Some(7)));
            assert!(line.bench.json && line.bench.scenario.clients() == 3);
        }
    }
}
