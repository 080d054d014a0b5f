//! Prints settings as TOML: what is set, everything, or the reference.

use std::fmt::Write as _;

use super::load;
use super::namespaces;
use super::reader::{Entry, Reader, Sources};
use super::token;

/// Settings as TOML, secrets as `***`: those that somebody set, or with `effective` all of them.
pub fn render(entries: &[Entry], effective: bool) -> String {
    let shown = entries.iter().filter(|e| effective || !e.is_default);
    write_sections(
        shown,
        |_| "",
        |entry, out| {
            let comment = if effective && entry.is_default { "  # default" } else { "" };
            match &entry.value {
                Some(value) => writeln!(out, "{} = {value}{comment}", key(&entry.key)),
                None => writeln!(out, "# {} is not set", key(&entry.key)),
            }
            .expect("writing to a string cannot fail");
        },
    )
}

/// Sections that say something by being there.
const SAYING: [&str; 4] =
    ["api.scoped.<name>", "channel.without_namespace", "client.subscription_token", "namespaces.<name>"];

/// Every setting with its meaning and default, as a TOML file in which everything is commented out.
pub fn reference() -> String {
    let (_, mut reader) = Reader::run(Sources::default(), |top| {
        load::read(top);
        top.child("client", token::subscription);
        top.child("api", |api| api.child("scoped", |all| all.child("<name>", |key| load::scoped_key(key, "<name>"))));
        top.child("channel", |channel| {
            channel.child("without_namespace", |section| namespaces::namespace(section, false))
        });
        top.child("namespaces", |all| all.child("<name>", |section| namespaces::with_name(section, false)));
    });
    reader.entries.retain(|e| !e.doc.is_empty());
    let comment = |section: &str| if SAYING.contains(&section) { "# " } else { "" };
    write_sections(reader.entries.iter(), comment, |entry, out| {
        let default = match &entry.value {
            _ if entry.key == "name" && entry.section == "node" => "# name = \"the host's name\"".to_owned(),
            Some(value) => format!("# {} = {value}", key(&entry.key)),
            None => format!("# {} is not set by default", key(&entry.key)),
        };
        writeln!(out, "# {} ({})\n{default}\n", entry.doc, entry.kind).expect("writing to a string cannot fail");
    })
}

/// `before` is what stands before the head of a section.
fn write_sections<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    before: impl Fn(&str) -> &'static str,
    mut write: impl FnMut(&Entry, &mut String),
) -> String {
    let mut entries: Vec<&Entry> = entries.collect();
    // Stable: inside a section the order of the declarations stays. The top section must be first in TOML.
    entries.sort_by(|a, b| a.section.cmp(&b.section));
    let mut out = String::new();
    let mut section = "";
    for entry in entries {
        if entry.section != section {
            section = &entry.section;
            let path: Vec<String> = section.split('.').map(key).collect();
            let gap = if out.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}{}[{}]", before(section), path.join(".")).expect("writing to a string cannot fail");
        }
        write(entry, &mut out);
    }
    out
}

/// A key as TOML spells it.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}
