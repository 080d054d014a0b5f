//! From a channel's name to its settings, its log and its key there.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_broker::Key;
use tidegate_types::ChannelName;

use crate::config::{CoreOptions, DataFormat, NamespaceOptions};

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
            (Some(name), true) => {
                let text = channel.as_str();
                match text.strip_prefix('$') {
                    Some(private) => format!("${}", &private[name.len() + 1..]).into(),
                    None => text[name.len() + 1..].into(),
                }
            }
            _ => channel.shared().clone(),
        }
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
    by_name: HashMap<Arc<str>, Arc<Namespace>>,
    default: Option<Arc<Namespace>>,
    logs: Vec<LogBinding>,
}

impl Namespaces {
    /// Binds every namespace to its log; `default_log` serves those that name none.
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
            let dedicated = users[at] == 1 && name.is_some() && o.log.is_some();
            Arc::new(Namespace { name: name.map(Into::into), options: o.clone(), log: at, dedicated })
        };
        let by_name =
            options.namespaces.iter().map(|(name, o)| (Arc::from(name.as_str()), bind(Some(name), o))).collect();
        let default = options.default_namespace.as_ref().map(|o| bind(None, o));
        Self { by_name, default, logs }
    }

    /// The namespace of a channel; `None` when it is not configured.
    pub fn resolve(&self, channel: &ChannelName) -> Option<&Arc<Namespace>> {
        match channel.namespace() {
            Some(name) => self.by_name.get(name),
            None => self.default.as_ref(),
        }
    }

    /// The logs to open.
    pub fn logs(&self) -> &[LogBinding] {
        &self.logs
    }

    /// Whether a namespace on this log takes JSON only.
    pub(crate) fn any_json_only(&self, log: usize) -> bool {
        let all = self.by_name.values().chain(&self.default);
        all.into_iter().any(|n| n.log == log && n.options.data_format == DataFormat::Json)
    }

    /// The settings that a foreign record under `key` in log `log` is judged by.
    pub(crate) fn of_key(&self, log: usize, key: &Key) -> Option<&Arc<Namespace>> {
        let dedicated = self.by_name.values().find(|n| n.log == log && n.dedicated);
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
        assert!(n.resolve(&ChannelName::parse("none:1").unwrap()).is_none());
    }
}
