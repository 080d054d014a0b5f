//! Running programs step by step, with a line for each that says what goes on and how long it took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` as it was called, in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Whether this runs where nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Runs one step; its output is shown as it comes.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<()> {
    timed(name, || {
        let program = command.get_program().to_string_lossy().into_owned();
        let status = command.status().with_context(|| format!("start {program}"))?;
        if !status.success() {
            bail!("{name} failed ({status})");
        }
        Ok(())
    })
}

/// Runs one step that is a function.
pub(crate) fn timed<T>(name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {name}");
    let began = Instant::now();
    let result = step();
    let word = if result.is_ok() { "done" } else { "failed" };
    eprintln!("==> {name}: {word} in {:.1} s", began.elapsed().as_secs_f64());
    result
}
