//! The `tidegate` binary: the server, and what one needs beside it.
//!
//! Errors are printed once, as a chain. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod args;
mod client;
mod commands;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;
use tidegate_server::config::ConfigErrors;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let args = Cli::parse();
    let result = match args.command {
        None => commands::serve::run(&args.serve),
        Some(Command::Serve(serve)) => commands::serve::run(&serve),
        Some(Command::Config(config)) => commands::config::run(&config),
        Some(Command::Token(token)) => commands::token::run(&token),
        Some(Command::Publish(publish)) => commands::publish::run(&publish),
        Some(Command::Subscribe(subscribe)) => commands::subscribe::run(&subscribe),
        Some(Command::Bench(bench)) => bench.run(),
        #[cfg(feature = "kafka")]
        Some(Command::Doctor(doctor)) => commands::doctor::run(&doctor),
        Some(Command::DemoWorker(worker)) => commands::demo_worker::run(worker),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<ConfigErrors>() { 2 } else { 1 })
        }
    }
}
