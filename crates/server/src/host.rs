//! What this machine is called.

/// Its name, if it has one: what the system says, else the variable `HOSTNAME`, which shells seldom export.
pub(crate) fn name() -> Option<String> {
    let system = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
    // A kernel that was told no name says (none).
    let told = |name: &String| !name.is_empty() && name != "(none)";
    system.filter(told).or_else(|| std::env::var("HOSTNAME").ok().filter(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_system_says_whatever_is_exported() {
        let file = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(name().as_deref(), Some(file.trim_end()));
    }
}
