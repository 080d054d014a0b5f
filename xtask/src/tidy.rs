//! `cargo xtask tidy`: what of the style guide a program can check.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tidegate_testkit::process::run as output_of;

use crate::steps::{root, timed};

/// Longer files are split; tests and tables may be a little longer than the usual 500 lines.
const LINES_MAX: usize = 700;

/// What must not be in a source file, with the reason. Written in two parts so that this file passes.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "name an issue instead"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("unbounded_", "channel"), "every queue has a bound"),
    (concat!("#[ig", "nore"), "a test runs or is not there"),
    (concat!("#[al", "low("), "use #[expect(lint, reason = …)]"),
    (concat!("mpsc::chan", "nel::<"), "the unbounded channel of the standard library"),
];

/// Every tracked file is looked at once.
pub(crate) fn run() -> Result<()> {
    timed("tidy", || {
        let mut problems = Vec::new();
        for file in tracked()? {
            // A file that is gone from the working tree, or is no text, has nothing to check.
            let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
            look_at(&file, &text, &mut problems);
        }
        if !problems.is_empty() {
            bail!("\n  {}", problems.join("\n  "));
        }
        Ok(())
    })
}

fn tracked() -> Result<Vec<PathBuf>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(root());
    let text = output_of(&mut git).context("list the files")?;
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
}

fn look_at(file: &Path, text: &str, problems: &mut Vec<String>) {
    let mut problem = |line: usize, what: &str| problems.push(format!("{}:{line}: {what}", file.display()));
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => rust(text, &mut problem),
        Some("lock" | "json") if is_lock(file) => lock(text, &mut problem),
        Some("ts" | "mjs") if !text.starts_with("//") => problem(1, "has no first comment that says what it is for"),
        _ => {}
    }
    for (index, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t']) && file.extension().is_some_and(|e| e == "rs" || e == "ts" || e == "toml") {
            problem(index + 1, "ends with a blank");
        }
    }
}

fn rust(text: &str, problem: &mut impl FnMut(usize, &str)) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problem(lines, &format!("has {lines} lines, more than {LINES_MAX}"));
    }
    // What is included as source text is an expression, not a module; a module of tests beside its file is clear.
    if !text.starts_with("//!") && !text.starts_with("#!") && !text.starts_with("use super::") {
        problem(1, "has no module documentation (//!)");
    }
    for (index, line) in text.lines().enumerate() {
        for (forbidden, reason) in FORBIDDEN {
            if line.contains(forbidden) {
                problem(index + 1, &format!("{forbidden:?}: {reason}"));
            }
        }
    }
}

fn is_lock(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "Cargo.lock" || name == "package-lock.json")
}

/// Lock files name no host but the public index, so that they work behind any mirror.
fn lock(text: &str, problem: &mut impl FnMut(usize, &str)) {
    for (index, line) in text.lines().enumerate() {
        let source = line.starts_with("source = ") && !line.contains("https://github.com/rust-lang/crates.io-index");
        if source || line.trim_start().starts_with("\"resolved\":") {
            problem(index + 1, "names the host of a registry");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::look_at;

    fn problems(file: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        look_at(Path::new(file), text, &mut found);
        found
    }

    #[test]
    fn names_file_line_and_reason() {
        let bad = concat!("//! Docs.\n// TO", "DO: later\nlet a = 1; \n");
        let found = problems("a/b.rs", bad);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a/b.rs:2: ") && found[1].starts_with("a/b.rs:3: "));
        assert_eq!(problems("b.rs", "fn main() {}\n").len(), 1);
        assert!(problems("b.rs", "//! Docs.\nfn main() {}\n").is_empty());
    }

    #[test]
    fn lock_files_name_no_host() {
        assert_eq!(problems("Cargo.lock", "source = \"registry+https://mirror.example/index\"\n").len(), 1);
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(problems("Cargo.lock", public).is_empty());
        assert_eq!(problems("web/package-lock.json", "  \"resolved\": \"https://x/y.tgz\",\n").len(), 1);
    }
}
