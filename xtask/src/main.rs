//! The front door for developers. `cargo xtask` lists what there is; each command is one file.

mod audit;
mod bench;
mod check;
mod demo;
mod fuzz;
mod js_suite;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What developers of Tidegate do")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing and run all tests, with a real Kafka, HAProxy and Chromium
    Test(test::Test),
    /// Formatting and lints, as errors
    Check,
    /// Licences, sources and banned crates of everything that is compiled in
    Audit,
    /// What of the style guide can be checked by a program
    Tidy,
    /// Every fuzz target of every crate, for a while each
    Fuzz(fuzz::Fuzz),
    /// Three nodes behind a balancer on a real Kafka, with the demo page
    Demo(demo::Demo),
    /// Measure, beside the limit of this machine
    Bench(bench::Bench),
    /// The test suite of the official JavaScript library, on one node and on two behind a balancer
    JsSuite(js_suite::JsSuite),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test(test) => test.run(),
        Task::Check => check::run(),
        Task::Audit => audit::run(),
        Task::Tidy => tidy::run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Demo(demo) => demo.run(),
        Task::Bench(bench) => bench.run(),
        Task::JsSuite(suite) => suite.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
