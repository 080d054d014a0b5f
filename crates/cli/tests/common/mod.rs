//! The binary as a child of a test.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The binary, without what the environment of the tests would tell it.
///
/// Started by way of `env`, because whoever starts the tests may have switched signals off, as `nohup` does, and a
/// program does not switch them on by itself.
pub(crate) fn tidegate() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_tidegate")]);
    let inherited: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in inherited.iter().filter(|n| n.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The address in the line by which a node says that it listens.
pub(crate) fn address_in(line: &str) -> String {
    line.split_once("address=").unwrap().1.split_whitespace().next().unwrap().to_owned()
}

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Ends it in order; its exit code.
pub(crate) fn terminate(child: &mut Child) -> i32 {
    signal(child, "-TERM");
    wait(child)
}

/// Its exit code.
pub(crate) fn wait(child: &mut Child) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(begun.elapsed() < DEADLINE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
