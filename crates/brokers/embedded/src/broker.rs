//! The broker: a directory with a store for each log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_broker::{BoxFuture, Broker, BrokerError, Capabilities, Health, Log, LogSpec};
use tidegate_store::{OpenError, Options, Store};

use crate::factory::CAPABILITIES;
use crate::log::EmbeddedLog;

/// See the crate docs.
pub struct Embedded {
    directory: PathBuf,
    options: Options,
    logs: Mutex<HashMap<Arc<str>, Arc<EmbeddedLog>>>,
}

impl Embedded {
    pub(crate) fn new(directory: PathBuf, options: Options) -> Self {
        Self { directory, options, logs: Mutex::default() }
    }

    fn known(&self, name: &str) -> Option<Arc<EmbeddedLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// A directory's name for a log: what is no letter, digit, `-`, `_` or `.` is written as `%` and two hex digits.
fn directory_name(log: &str) -> String {
    log.bytes().fold(String::new(), |mut name, b| {
        if b.is_ascii_alphanumeric() || b"-_".contains(&b) || (b == b'.' && !name.is_empty()) {
            name.push(char::from(b));
        } else {
            name.push_str(&format!("%{b:02x}"));
        }
        name
    })
}

fn refused(error: OpenError) -> BrokerError {
    match error {
        OpenError::Io { .. } | OpenError::Locked { .. } => BrokerError::Refused(error.to_string().into()),
        OpenError::Format { .. } | OpenError::Damaged { .. } => BrokerError::Internal(error.to_string().into()),
    }
}

impl Broker for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn open<'a>(&'a self, spec: &'a LogSpec) -> BoxFuture<'a, Result<Arc<dyn Log>, BrokerError>> {
        Box::pin(async move {
            if let Some(log) = self.known(&spec.name) {
                return Ok(log as Arc<dyn Log>);
            }
            let directory = self.directory.join(directory_name(&spec.name));
            let options = self.options.clone();
            let opening = tokio::task::spawn_blocking(move || Store::open(&directory, options));
            let opened = opening.await.map_err(|e| BrokerError::Internal(e.to_string().into()))?;
            let log = Arc::new(EmbeddedLog::new(opened.map_err(refused)?));
            let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(logs.entry(spec.name.clone()).or_insert(log).clone() as Arc<dyn Log>)
        })
    }

    fn health(&self) -> Health {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = logs.values().map(|log| log.trouble()).find(|t| !t.is_empty()).unwrap_or_default();
        Health { trouble, ..Health::default() }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let logs: Vec<_> = self.logs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            let closed = tokio::task::spawn_blocking(move || logs.iter().for_each(|log| log.close()));
            if closed.await.is_err() {
                tracing::error!("closing the store ended with a panic");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logs_name_makes_a_harmless_directory() {
        assert_eq!(directory_name("progress-1"), "progress-1");
        assert_eq!(directory_name("../a b"), "%2e.%2fa%20b");
    }
}
