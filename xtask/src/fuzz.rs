//! `cargo xtask fuzz`: every fuzz target of every crate, for a while each.
//!
//! They are found, not listed: a folder `fuzz` of a crate with its manifest, and a file per target in it. They need nightly,
//! so they are workspaces of their own. `cargo xtask test` runs each for a fixed number of inputs: enough to see that it still
//! builds and holds for what is found quickly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail, ensure};
use tidegate_testkit::install::{find_program, tools_dir};
use tidegate_testkit::process::run as output_of;

use crate::steps::{cargo, in_ci, root, step, target_dir, timed};

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only the targets of this name
    target: Option<String>,
}

impl Fuzz {
    /// Runs all, also after one that found something; fails with the names of those.
    pub(crate) fn run(&self) -> Result<()> {
        let options = [format!("-max_total_time={}", self.seconds)];
        run_all(&ensure_tools()?, self.target.as_deref(), &options)
    }
}

/// As a part of all tests: the same inputs each time on a clean clone, as nobody changes anything by chance.
const SHORT: [&str; 3] = ["-seed=1", "-runs=100000", "-max_total_time=20"];

/// Every target for a short time; where there are no tools for that, only says so, and fails in CI.
pub(crate) fn short() -> Result<()> {
    match ensure_tools() {
        Ok(fuzzer) => run_all(&fuzzer, None, &SHORT.map(str::to_owned)),
        Err(error) => skip(error, in_ci()),
    }
}

fn skip(missing: Error, ci: bool) -> Result<()> {
    if ci {
        return Err(missing.context("CI runs every suite, but the fuzz targets cannot run"));
    }
    eprintln!("==> skipped: fuzz targets ({missing:#})");
    Ok(())
}

fn run_all(fuzzer: &Path, chosen: Option<&str>, options: &[String]) -> Result<()> {
    let mut found = Vec::new();
    let targets: Vec<_> =
        targets()?.into_iter().filter(|(_, name)| chosen.is_none_or(|chosen| chosen == name)).collect();
    ensure!(!targets.is_empty(), "there is no such target");
    for (dir, name) in targets {
        let label = format!("{} {name}", dir.display());
        let mut command = Command::new("rustup");
        command.args(["run", NIGHTLY]).arg(fuzzer).args(["fuzz", "run", &name, "--"]);
        command.args(options).args(["-verbosity=0", "-print_funcs=0"]);
        command.env("CARGO_TARGET_DIR", target_dir().join("fuzz")).current_dir(root().join(&dir));
        // A leak is no mistake of a decoder, and looking for one needs rights that a container may not give.
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        if let Err(error) = step(&format!("fuzz {label}"), &mut command) {
            eprintln!("    {error:#}");
            found.push(label);
        }
    }
    if !found.is_empty() {
        bail!("see the artifacts of {}", found.join(", "));
    }
    Ok(())
}

const NIGHTLY: &str = "nightly";

/// Where `cargo-fuzz` is. It is installed into the folder of tools when it is missing; nightly is not.
fn ensure_tools() -> Result<PathBuf> {
    output_of(Command::new("rustup").args(["run", NIGHTLY, "rustc", "--version"]))
        .context("nightly is missing: rustup toolchain install nightly --profile minimal")?;
    let own = tools_dir().join("bin/cargo-fuzz");
    if let Some(found) = own.is_file().then(|| own.clone()).or_else(|| find_program("cargo-fuzz")) {
        return Ok(found);
    }
    let mut install = cargo(&["install", "--quiet", "--locked", "cargo-fuzz", "--root"]);
    install.arg(tools_dir()).env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    timed("install cargo-fuzz", || output_of(&mut install).context("cargo-fuzz is missing: cargo install cargo-fuzz"))?;
    own.canonicalize().context("cargo-fuzz was not installed where it should be")
}

/// Crates and names of all targets, in order.
fn targets() -> Result<Vec<(PathBuf, String)>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--", "crates/*/fuzz/fuzz_targets/*.rs"]).current_dir(root());
    Ok(parse(&output_of(&mut git).context("list the files")?))
}

fn parse(files: &str) -> Vec<(PathBuf, String)> {
    let target = |file: &str| {
        let (dir, name) = file.split_once("/fuzz/fuzz_targets/")?;
        Some((PathBuf::from(dir), name.strip_suffix(".rs")?.to_owned()))
    };
    files.lines().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::{parse, skip, targets};

    #[test]
    fn without_the_tools_ci_fails_and_says_what_to_install() {
        let missing = || anyhow::anyhow!("no such toolchain").context("nightly is missing: rustup toolchain install");
        assert!(skip(missing(), false).is_ok());
        let text = format!("{:#}", skip(missing(), true).unwrap_err());
        assert!(text.starts_with("CI runs every suite") && text.contains("rustup toolchain install"), "{text}");
    }

    #[test]
    fn a_file_is_a_target_of_its_crate() {
        let found = parse("crates/a/fuzz/fuzz_targets/x.rs\ncrates/b/c/fuzz/fuzz_targets/y.rs\n");
        let names: Vec<_> = found.iter().map(|(dir, name)| (dir.to_str().unwrap(), name.as_str())).collect();
        assert_eq!(names, [("crates/a", "x"), ("crates/b/c", "y")]);
    }

    #[test]
    fn those_of_every_codec_are_found() {
        let names: Vec<_> = targets().unwrap().into_iter().map(|(_, name)| name).collect();
        for name in ["token", "websocket", "http_head", "json", "protobuf"] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
    }
}
