//! `cargo xtask audit`: what is compiled in comes from where it should, under licences that may be used.
//!
//! The rules that need no download are checked here from `cargo metadata`; `cargo deny` also knows advisories and is
//! run when it is installed. Both read `deny.toml`'s list of licences.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tidegate_testkit::install::find_program;
use tidegate_testkit::process::run as output_of;

use crate::steps::{cargo, root, step, timed};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that must not be compiled in, with the reason.
const BANNED: &[(&str, &str)] =
    &[("openssl-src", "the system's OpenSSL is linked, so that its updates reach us"), ("async-std", "one runtime")];

/// Runs both.
pub(crate) fn run() -> Result<()> {
    timed("licences and sources", check_metadata)?;
    if find_program("cargo-deny").is_none() {
        eprintln!("==> cargo deny: skipped, not installed (cargo install cargo-deny)");
        return Ok(());
    }
    step("cargo deny", Command::new("cargo-deny").args(["check", "--hide-inclusion-graph"]).current_dir(root()))
}

fn check_metadata() -> Result<()> {
    let text = output_of(&mut cargo(&["metadata", "--format-version", "1", "--locked", "--all-features"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let allowed = allowed_licences()?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let problems: Vec<String> = packages.iter().flat_map(|package| problems(package, &allowed)).collect();
    if !problems.is_empty() {
        bail!("\n  {}", problems.join("\n  "));
    }
    eprintln!("    {} packages, licences: {}", packages.len(), allowed.join(", "));
    Ok(())
}

fn problems(package: &Value, allowed: &[String]) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    match package["license"].as_str() {
        Some(licence) if is_allowed(licence, allowed) => {}
        Some(licence) => found.push(format!("{name}: licence {licence:?} is not in deny.toml")),
        None => found.push(format!("{name}: has no licence")),
    }
    match package["source"].as_str() {
        None | Some(REGISTRY) => {}
        Some(other) => found.push(format!("{name}: comes from {other}, not from crates.io")),
    }
    if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        found.push(format!("{name}: is banned, {reason}"));
    }
    found
}

/// The `allow = […]` of `[licenses]`: one string per line, which is how this repository writes it.
fn allowed_licences() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("read deny.toml")?;
    let (_, rest) = text.split_once("\nallow = [\n").context("deny.toml has no list of licences")?;
    let (list, _) = rest.split_once(']').context("deny.toml's list of licences does not end")?;
    let names = list.lines().map(|line| line.trim().trim_end_matches(',').trim_matches('"').to_owned());
    let names: Vec<String> = names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
    ensure!(!names.is_empty(), "deny.toml allows no licence");
    Ok(names)
}

/// Evaluates an SPDX expression of `AND`, `OR`, `WITH` and brackets; the old `/` is `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all(words, at, allowed);
    }
    result
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let result = any(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return result && closed;
    }
    let name = word.replace("+WITH+", " WITH ");
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions_are_read_as_spdx_has_them() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND GPL-3.0", "(MIT", "MIT MIT"] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }
}
