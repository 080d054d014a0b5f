//! Getting what the tests need: Debian packages when root, and a folder for what else is downloaded.
//!
//! Packages are installed with a policy that forbids to start services, so that nothing comes up on standard ports.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::process::run;

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The folder of downloaded tools: `TIDEGATE_TOOLS_DIR`, or `target/tools` of the workspace.
pub fn tools_dir() -> PathBuf {
    match std::env::var_os("TIDEGATE_TOOLS_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"),
    }
}

/// The Python with the packages of the tests, which `cargo xtask test` makes.
pub fn python() -> PathBuf {
    tools_dir().join("python/bin/python")
}

/// Builds the Go program in `folder` into the folder of tools, which is quick when it is built and fetches what its lock
/// file names when it is not there.
///
/// # Errors
/// When there is no Go, or too old a one, or the program does not build; the text says what to do.
pub fn build_go(folder: &Path, name: &str) -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    // Where Go's own archive puts it, which is not in everybody's path.
    let own = Path::new("/usr/local/go/bin/go");
    let go = find_program("go").or_else(|| own.is_file().then(|| own.to_owned()));
    let go = go.map_or_else(|| ensure_program("go", "golang-go"), Ok)?;
    std::fs::create_dir_all(tools_dir())?;
    let program = tools_dir().join(name);
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(folder);
    run(&mut build).with_context(|| format!("build {}: it needs the Go that its go.mod names", folder.display()))?;
    Ok(program)
}

/// Where a program lies, by `PATH` (and `/usr/sbin`, which is not in everybody's).
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

/// Makes sure that `program` is there, from the Debian package `package` when this process may install.
///
/// # Errors
/// When it is missing and cannot be installed; the text says what to do.
pub fn ensure_program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find_program(program) {
        return Ok(found);
    }
    install_packages(&[package]).with_context(|| format!("{program} is missing"))?;
    find_program(program).with_context(|| format!("{program} is still missing after {package} was installed"))
}

/// Installs Debian packages without starting their services.
///
/// # Errors
/// When not root or without apt: the text names the packages and the command.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    let hint = format!("install it: sudo apt-get install --no-install-recommends {}", packages.join(" "));
    if !rustix::process::getuid().is_root() || find_program("apt-get").is_none() {
        bail!("{hint}");
    }
    let _guard = PolicyGuard::place()?;
    let mut install = apt();
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    if run(&mut install).is_err() {
        // The package lists of a fresh machine are empty or old.
        run(apt().args(["update", "-qq"])).context(hint.clone())?;
        run(&mut install).context(hint)?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Forbids service starts while it lives; a policy that was there before stays as it is.
struct PolicyGuard {
    placed: bool,
}

impl PolicyGuard {
    fn place() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { placed: false });
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { placed: true })
    }
}

impl Drop for PolicyGuard {
    fn drop(&mut self) {
        if self.placed {
            // A policy left behind only keeps services from starting by themselves.
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
