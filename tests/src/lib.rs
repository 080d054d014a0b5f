//! Tests across crates, on the real server as a process.
//!
//! The suites are in the folders beside this one, one binary each, behind a feature that says what they need.
//! `cargo xtask test` installs that and runs them all. Here is what they share.

mod chromium;
pub mod client;
pub mod line;
pub mod load;
pub mod packages;
pub mod sdk;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use chromium::{Chromium, JobSeen, Page, PageSeen, Watch, driver};

/// A folder for logs and pictures of one test, kept after it: `test-output/NAME` of the workspace.
///
/// # Errors
/// When it cannot be made.
pub fn output_dir(name: &str) -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-output").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "log" || e == "png") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(dir.canonicalize()?)
}
