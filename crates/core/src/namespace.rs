//! From a channel's name to its settings, its log and its key there.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_broker::{Key, Tailed};
use tidegate_types::ChannelName;
use tidegate_types::codes::ErrorCode;

use crate::config::{CoreOptions, DataFormat, NamespaceOptions};
use crate::names::{NamePatterns, is_path};
use crate::payload;

/// A set of channels that share settings.
#[derive(Debug)]
pub struct Namespace {
    /// `None` for channels without a namespace part.
    pub name: Option<Arc<str>>,
    /// The settings.
    pub options: NamespaceOptions,
    /// Which of [`Namespaces::logs`] carries it.
    pub(crate) log: usize,
    /// The log carries nothing else, so the key is the part after the namespace.
    pub(crate) dedicated: bool,
}

impl Namespace {
    /// The key of a channel of this namespace in its log. On a log of its own `progress:job` is filed under `job`
    /// (and `$progress:job` under `$job`); on a shared log under its whole name.
    pub fn key(&self, channel: &ChannelName) -> Key {
        match (&self.name, self.dedicated) {
            (Some(_), true) if channel.is_private() => format!("${}", self.rest(channel)).into(),
            (Some(_), true) => self.rest(channel).into(),
            _ => channel.shared().clone(),
        }
    }

    /// What a name is behind its namespace; the whole name where that is none or has a pattern.
    fn rest<'c>(&self, channel: &'c ChannelName) -> &'c str {
        match &self.name {
            Some(_) if self.options.pattern.is_none() => channel.as_str().split_once(':').map_or("", |(_, rest)| rest),
            _ => channel.as_str(),
        }
    }

    /// Whether this name has a key of its own. On a log of its own `ns:$x` would be filed as `$ns:x` is, and so open what
    /// is private, and `ns:` under nothing at all.
    fn has_key(&self, channel: &ChannelName) -> bool {
        !self.dedicated || !(self.rest(channel).starts_with('$') || self.key(channel).is_empty())
    }

    /// Whether it takes what a record carries: one that takes JSON only passes everything else over.
    pub(crate) fn takes(&self, record: &Tailed) -> bool {
        self.options.data_format != DataFormat::Json || record.payload.as_ref().is_none_or(|p| payload::is_json(p))
    }

    /// Whether clients may name this channel of it.
    pub fn admits(&self, channel: &ChannelName) -> bool {
        self.options.channel_regex.as_ref().is_none_or(|regex| regex.matches(self.rest(channel)))
    }
}

/// A log that namespaces are bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogBinding {
    /// Its name.
    pub name: Arc<str>,
    /// No namespace on it may publish.
    pub read_only: bool,
}

/// All namespaces, and the logs that they need.
#[derive(Debug)]
pub struct Namespaces {
    all: Vec<Arc<Namespace>>,
    by_name: HashMap<Arc<str>, Arc<Namespace>>,
    /// `None` = no namespace has a pattern, and a name that begins with a slash is one like others.
    by_pattern: Option<NamePatterns<Arc<Namespace>>>,
    default: Option<Arc<Namespace>>,
    logs: Vec<LogBinding>,
}

impl Namespaces {
    /// Binds every namespace to its log; `default_log` serves those that name none. Of patterns with the same names the
    /// first counts: a configuration has none.
    pub fn new(options: &CoreOptions, default_log: &Arc<str>) -> Self {
        let all = || {
            let named = options.namespaces.iter().map(|(name, o)| (Some(name.as_str()), o));
            options.default_namespace.iter().map(|o| (None, o)).chain(named)
        };
        let log_of = |o: &NamespaceOptions| o.log.clone().unwrap_or_else(|| default_log.clone());
        let mut logs: Vec<LogBinding> = Vec::new();
        let mut users: Vec<usize> = Vec::new();
        for (_, o) in all() {
            let name = log_of(o);
            match logs.iter().position(|l| l.name == name) {
                Some(at) => {
                    users[at] += 1;
                    logs[at].read_only &= o.read_only;
                }
                None => {
                    logs.push(LogBinding { name, read_only: o.read_only });
                    users.push(1);
                }
            }
        }
        let bind = |name: Option<&str>, o: &NamespaceOptions| {
            let log = log_of(o);
            let at = logs.iter().position(|l| l.name == log).expect("every log was collected above");
            let by_name = name.is_some() && o.pattern.is_none();
            let dedicated = users[at] == 1 && by_name && o.log.is_some();
            Arc::new(Namespace { name: name.map(Into::into), options: o.clone(), log: at, dedicated })
        };
        let all: Vec<_> = all().map(|(name, o)| bind(name, o)).collect();
        let (mut by_name, mut by_pattern, mut default) = (HashMap::new(), None::<NamePatterns<_>>, None);
        for namespace in all.iter().cloned() {
            match (&namespace.name, &namespace.options.pattern) {
                (Some(_), Some(pattern)) => {
                    let _ = by_pattern.get_or_insert_default().insert(&pattern.clone(), namespace);
                }
                (Some(name), None) => drop(by_name.insert(name.clone(), namespace)),
                (None, _) => default = Some(namespace),
            }
        }
        Self { all, by_name, by_pattern, default, logs }
    }

    /// The namespace of a channel; `None` when it is not configured.
    pub fn resolve(&self, channel: &ChannelName) -> Option<&Arc<Namespace>> {
        let found = match (&self.by_pattern, channel.namespace()) {
            (Some(patterns), _) if is_path(channel) => patterns.of(channel),
            (_, Some(name)) => self.by_name.get(name),
            (_, None) => self.default.as_ref(),
        };
        found.filter(|namespace| namespace.has_key(channel))
    }

    /// The namespace of a channel that a client names.
    ///
    /// # Errors
    /// 102 when it is not configured, 107 when clients may not name such a channel.
    pub fn for_client(&self, channel: &ChannelName) -> Result<&Arc<Namespace>, ErrorCode> {
        let namespace = self.resolve(channel).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
        if namespace.admits(channel) { Ok(namespace) } else { Err(ErrorCode::BAD_REQUEST) }
    }

    /// The logs to open.
    pub fn logs(&self) -> &[LogBinding] {
        &self.logs
    }

    /// Whether a namespace on this log takes JSON only.
    pub(crate) fn any_json_only(&self, log: usize) -> bool {
        self.all.iter().any(|n| n.log == log && n.options.data_format == DataFormat::Json)
    }

    /// The settings that a foreign record under `key` in log `log` is judged by.
    pub(crate) fn of_key(&self, log: usize, key: &Key) -> Option<&Arc<Namespace>> {
        let dedicated = self.all.iter().find(|n| n.log == log && n.dedicated);
        dedicated.or_else(|| self.resolve(&ChannelName::from_shared(key.clone()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(namespaces: &[(&str, Option<&str>)]) -> CoreOptions {
        let of = |log: &Option<&str>| NamespaceOptions { log: log.map(Into::into), ..Default::default() };
        CoreOptions {
            default_namespace: Some(NamespaceOptions::default()),
            namespaces: namespaces.iter().map(|(n, log)| ((*n).to_owned(), of(log))).collect(),
            ..Default::default()
        }
    }

    fn key(namespaces: &Namespaces, channel: &str) -> String {
        let channel = ChannelName::parse(channel).unwrap();
        namespaces.resolve(&channel).unwrap().key(&channel).to_string()
    }

    #[test]
    fn a_log_of_its_own_is_keyed_by_the_part_after_the_namespace() {
        let n = Namespaces::new(
            &options(&[("progress", Some("jobs")), ("a", Some("x")), ("b", Some("x"))]),
            &"main".into(),
        );
        assert_eq!(key(&n, "progress:job:42"), "job:42");
        assert_eq!(key(&n, "$progress:job42"), "$job42");
        assert_eq!(key(&n, "a:1"), "a:1");
        assert_eq!(key(&n, "news"), "news");
        assert_eq!(n.logs().len(), 3);
        for taken in ["progress:$job42", "$progress:$job42", "progress:$"] {
            assert!(n.resolve(&ChannelName::parse(taken).unwrap()).is_none(), "{taken} would be a private channel");
        }
        assert!(n.resolve(&ChannelName::parse("progress:").unwrap()).is_none(), "it would have no key");
        assert_eq!((key(&n, "$progress:").as_str(), key(&n, "a:").as_str()), ("$", "a:"));
        assert_eq!(key(&n, "a:$1"), "a:$1");
        assert!(n.resolve(&ChannelName::parse("none:1").unwrap()).is_none());
    }
    #[test]
    fn a_pattern_has_the_names_that_are_paths() {
        let mut o = options(&[("users", Some("users")), ("chat", None)]);
        o.namespaces[0].1.pattern = Some("/users/:id".parse().unwrap());
        let n = Namespaces::new(&o, &"main".into());
        let of = |text: &str| {
            let found = n.resolve(&ChannelName::parse(text).unwrap());
            found.map(|namespace| namespace.name.as_deref().unwrap_or("default").to_owned())
        };
        assert_eq!(of("/users/chat:1").as_deref(), Some("users"));
        assert_eq!(of("$/users/1").as_deref(), Some("users"));
        assert_eq!((of("/users"), of("/chat:1"), of("users:1")), (None, None, None));
        assert_eq!(of("chat:/users/1").as_deref(), Some("chat"));
        assert_eq!(of("news").as_deref(), Some("default"));
        assert_eq!(key(&n, "/users/1"), "/users/1");
    }

    #[test]
    fn without_patterns_a_slash_is_a_character_like_others() {
        let n = Namespaces::new(&options(&[("/ns", None)]), &"main".into());
        assert_eq!(n.resolve(&ChannelName::parse("/a").unwrap()).unwrap().name, None);
        assert!(n.resolve(&ChannelName::parse("/ns:a").unwrap()).unwrap().name.is_some());
    }

    #[test]
    fn clients_name_what_the_expression_matches() {
        let mut o = options(&[("chat", None), ("users", None)]);
        o.namespaces[0].1.channel_regex = Some("^[0-9]+$".parse().unwrap());
        o.namespaces[1].1.pattern = Some("/users/:id".parse().unwrap());
        o.namespaces[1].1.channel_regex = Some("^/users/[a-z]+$".parse().unwrap());
        let n = Namespaces::new(&o, &"main".into());
        let may = |text: &str| n.for_client(&ChannelName::parse(text).unwrap()).map(drop);
        assert_eq!((may("chat:42"), may("$chat:42"), may("/users/me"), may("news")), (Ok(()), Ok(()), Ok(()), Ok(())));
        assert_eq!((may("chat:x"), may("/users/1")), (Err(ErrorCode::BAD_REQUEST), Err(ErrorCode::BAD_REQUEST)));
        assert_eq!(may("none:1"), Err(ErrorCode::UNKNOWN_CHANNEL));
    }
}
