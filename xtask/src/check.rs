//! `cargo xtask check`: formatting and lints.

use anyhow::Result;

use crate::steps::{cargo, step};

/// Fails on the first file that is not formatted or target that is not clean.
pub(crate) fn run() -> Result<()> {
    step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lints",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"]),
    )
}
