//! Reads settings one by one, and remembers everything that is wrong.
//!
//! Each setting is declared once, where it is read: key, type, default and doc. From that come the errors (unknown
//! keys with a suggestion, wrong types, all at once with their path), the environment variable, `config show` and
//! `config reference`. A value is taken from the flags, else the environment, else the file, else the default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_broker::SettingDoc;
use toml::{Table, Value};

use super::value::Setting;

/// What is wrong with one key, or with the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `namespaces.progress.history_ttl`, or the name of an environment variable or of the file.
    pub path: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// One setting as it came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Path of its section; empty for the top.
    pub section: String,
    /// Its key there.
    pub key: String,
    /// Its value as one would write it; `None` = not set, and nothing stands for it.
    pub value: Option<String>,
    /// Nobody set it.
    pub is_default: bool,
    /// What type it has.
    pub kind: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Where settings come from.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    /// The file's content.
    pub file: Table,
    /// Variables of the environment by name; only those that start with `TIDEGATE_` matter.
    pub environment: BTreeMap<String, String>,
    /// Flags of the command line by path.
    pub flags: BTreeMap<String, String>,
}

pub(super) const ENV_PREFIX: &str = "TIDEGATE_";

/// Variables of the command line's own flags, which are no settings.
const FLAGS: [&str; 5] = ["CONFIG", "URL", "API_KEY", "TOKEN", "TOKEN_SECRET"];

/// Variables with the prefix that are no settings: those of flags, and what Kubernetes sets for a service of the name
/// `tidegate`.
fn is_foreign(variable: &str) -> bool {
    let rest = variable.strip_prefix(ENV_PREFIX).unwrap_or_default();
    FLAGS.contains(&rest) || rest.starts_with("SERVICE_") || rest.starts_with("PORT")
}

/// See the module docs.
pub(super) struct Reader {
    environment: BTreeMap<String, String>,
    flags: BTreeMap<String, String>,
    /// Variables asked for, set or not: candidates for a suggestion.
    known_variables: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) entries: Vec<Entry>,
}

impl Reader {
    /// Reads everything: `read` gets the top section.
    pub(super) fn run<R>(sources: Sources, read: impl FnOnce(&mut Section<'_>) -> R) -> (R, Self) {
        let mut environment = sources.environment;
        environment.retain(|name, _| name.starts_with(ENV_PREFIX) && !is_foreign(name));
        let mut reader = Self {
            environment,
            flags: sources.flags,
            known_variables: BTreeSet::new(),
            problems: Vec::new(),
            entries: Vec::new(),
        };
        let mut top = Section { path: String::new(), table: sources.file, known: Vec::new(), reader: &mut reader };
        let result = read(&mut top);
        top.finish();
        reader.report_unused();
        (result, reader)
    }

    fn report_unused(&mut self) {
        for name in self.environment.keys().filter(|n| !self.known_variables.contains(*n)) {
            let suggestion = suggest(name, self.known_variables.iter().map(String::as_str));
            self.problems.push(Problem { path: name.clone(), text: format!("no such setting{suggestion}") });
        }
        for path in self.flags.keys() {
            self.problems.push(Problem { path: path.clone(), text: "no such setting".to_owned() });
        }
    }
}

/// One table of the file with everything that overrides it.
pub(super) struct Section<'r> {
    path: String,
    /// What nobody asked for yet.
    table: Table,
    known: Vec<String>,
    reader: &'r mut Reader,
}

impl Section<'_> {
    /// A setting with a default.
    pub(super) fn get<T: Setting>(&mut self, key: &str, default: T, doc: &'static str) -> T {
        let given = self.take::<T>(key);
        let is_default = given.is_none();
        let value = given.unwrap_or(default);
        self.enter::<T>(key, Some(value.show()), is_default, doc);
        value
    }

    /// A setting that may be absent.
    pub(super) fn optional<T: Setting>(&mut self, key: &str, doc: &'static str) -> Option<T> {
        let given = self.take::<T>(key);
        self.enter::<T>(key, given.as_ref().map(Setting::show), given.is_none(), doc);
        given
    }

    /// Whether a value was given by anybody.
    pub(super) fn has(&self, key: &str) -> bool {
        let path = self.path_of(key);
        self.table.contains_key(key)
            || self.reader.environment.contains_key(&variable(&path))
            || self.reader.flags.contains_key(&path)
    }

    /// A nested section; an empty one when nobody wrote it.
    pub(super) fn child<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> R) -> R {
        self.known.push(key.to_owned());
        let table = match self.table.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.problem(key, format!("expected a section, found {}", other.type_str()));
                Table::new()
            }
        };
        let path = self.path_of(key);
        let mut child = Section { path, table, known: Vec::new(), reader: &mut *self.reader };
        let result = read(&mut child);
        child.finish();
        result
    }

    /// Whether the file, a flag or the environment names this section or something in it.
    pub(super) fn mentions(&self, key: &str) -> bool {
        let path = format!("{}.", self.path_of(key));
        let prefix = variable(&path);
        self.table.contains_key(key)
            || self.reader.flags.keys().any(|p| p.starts_with(&path))
            || self.reader.environment.keys().any(|v| v.starts_with(&prefix))
    }

    /// Keys that the file has here and nobody asked for yet.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// Everything here as it stands in the file, and what the environment has under the section's prefix: for sections
    /// whose keys only a broker knows.
    pub(super) fn rest(&mut self) -> (Table, Vec<(String, String)>) {
        let prefix = variable(&format!("{}.", self.path));
        let reader = &mut *self.reader;
        let found = reader.environment.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(&prefix)?;
            Some((key.to_ascii_lowercase(), value.clone()))
        });
        let found: Vec<_> = found.collect();
        reader.known_variables.extend(found.iter().map(|(key, _)| format!("{prefix}{}", key.to_ascii_uppercase())));
        (std::mem::take(&mut self.table), found)
    }

    /// Something is wrong with a key.
    pub(super) fn problem(&mut self, key: &str, text: impl Into<String>) {
        let path = self.path_of(key);
        self.reader.problems.push(Problem { path, text: text.into() });
    }

    /// Shows a value that was not read by [`Section::get`].
    pub(super) fn show(&mut self, key: &str, value: String) {
        self.enter::<String>(key, Some(value), false, "");
    }

    /// Tells of a setting that a broker knows and nobody set.
    pub(super) fn describe(&mut self, setting: &SettingDoc) {
        let SettingDoc { key, kind, default, doc } = *setting;
        let (section, value) = (self.path.clone(), default.map(str::to_owned));
        self.reader.entries.push(Entry { section, key: key.to_owned(), value, is_default: true, kind, doc });
    }

    fn take<T: Setting>(&mut self, key: &str) -> Option<T> {
        let path = self.path_of(key);
        let variable = variable(&path);
        self.known.push(key.to_owned());
        self.reader.known_variables.insert(variable.clone());
        let in_file = self.table.remove(key);
        let in_environment = self.reader.environment.get(&variable).cloned();
        let by_flag = self.reader.flags.remove(&path);
        let (value, is_text) = match by_flag.or(in_environment) {
            Some(text) => (Value::String(text), true),
            None => (in_file?, false),
        };
        match T::read(&value, is_text) {
            Ok(value) => Some(value),
            Err(text) => {
                self.reader.problems.push(Problem { path, text });
                None
            }
        }
    }

    fn enter<T: Setting>(&mut self, key: &str, value: Option<String>, is_default: bool, doc: &'static str) {
        let entry = Entry { section: self.path.clone(), key: key.to_owned(), value, is_default, kind: T::KIND, doc };
        self.reader.entries.push(entry);
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn finish(mut self) {
        for key in self.keys() {
            let suggestion = suggest(&key, self.known.iter().map(String::as_str));
            self.problem(&key, format!("no such setting{suggestion}"));
        }
    }
}

/// Reads settings into the fields of their names: what is there already is the default.
macro_rules! read {
    ($section:expr, $o:expr, $($field:ident: $doc:literal,)*) => {
        $($o.$field = $section.get(stringify!($field), $o.$field, $doc);)*
    };
}
pub(super) use read;

/// `client.ping_interval` is `TIDEGATE_CLIENT_PING_INTERVAL`.
fn variable(path: &str) -> String {
    let upper = path.to_ascii_uppercase();
    ENV_PREFIX.chars().chain(upper.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })).collect()
}

/// `, did you mean "x"?` when one of the names is near.
pub(crate) fn suggest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= (wrong.len() / 3).max(2) => format!(", did you mean {name:?}?"),
        _ => String::new(),
    }
}
