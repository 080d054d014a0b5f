//! A process that is killed while its channels come, go and are forgotten: whatever it told, its successors go on above it.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_store::{Append, Keep, Options, Store};

use crate::rig::{Told, append_all, record};

const KILLS: u64 = 50;
const DIRECTORY: &str = "TIDEGATE_STORE_TEST_DIRECTORY";
const LIFE: &str = "TIDEGATE_STORE_TEST_LIFE";

fn open(directory: &Path) -> Store {
    let options = Options { segment_bytes: 50_000, history_meta_ttl: Duration::ZERO, ..Options::default() };
    Store::open(directory, options).unwrap()
}

/// The process that is killed: appends until then, and says what was acknowledged (`=`) and where channels stand (`@`), a
/// line each. Nothing where nobody started it for that.
#[test]
fn writer() {
    let (Some(directory), Ok(life)) = (std::env::var_os(DIRECTORY), std::env::var(LIFE)) else { return };
    let store = open(Path::new(&directory));
    for group in 0.. {
        let keys: Vec<_> = (0..50).map(|n| format!("once-{life}-{group}-{n}")).collect();
        let keys: Vec<_> =
            keys.into_iter().chain((0..10).map(|n| format!("again-{}", (group + n * 31) % 300))).collect();
        let mut lines = String::new();
        for key in keys.iter().map(String::as_str).chain(["never"]) {
            lines.push_str(&format!("@ {key} {}\n", store.channel_top(key).last));
        }
        let keep = Keep { count: 0, age_s: 0 };
        let all = keys.iter().map(|key| Append { keep, ..record(key, &"x".repeat(60)) }).collect();
        for (key, result) in keys.iter().zip(append_all(&store, all)) {
            lines.push_str(&format!("= {key} {}\n", result.unwrap().number));
        }
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
    }
}

#[test]
fn fifty_kills_while_channels_are_forgotten_use_no_number_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::new(0);
    for life in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", "kills::writer", "--nocapture"]).stdout(Stdio::piped());
        let mut writer = writer.env(DIRECTORY, directory.path()).env(LIFE, life.to_string()).spawn().unwrap();
        let mut stdout = writer.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).unwrap();
            said
        });
        std::thread::sleep(Duration::from_millis(30 + life * 97 % 200));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let said = reader.join().unwrap();
        // The last line may be cut.
        for line in said.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
            match *line.split(' ').collect::<Vec<_>>() {
                ["=", key, number] => told.number(key, number.parse().unwrap()),
                ["@", key, last] => told.top(key, last.parse().unwrap()),
                _ => assert!(!line.contains("panicked"), "{line}"),
            }
        }
    }
    let store = open(directory.path());
    told.numbers.keys().cloned().collect::<Vec<_>>().iter().for_each(|key| told.look(&store, key));
    let (names, known) = (told.numbers.len(), store.channels());
    assert!(names > 1_000 && known < names / 2, "{known} of {names} names are known");
    assert!(store.channel_top("never").last > 50);
}
