//! The broker: a directory with a store for each log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_broker::{BoxFuture, Breaker, Broker, BrokerError, Capabilities, Health, Log, LogSpec};
use tidegate_store::{OpenError, Options, Store};

use crate::factory::CAPABILITIES;
use crate::log::EmbeddedLog;

/// See the crate docs.
pub struct Embedded(Arc<Logs>);

struct Logs {
    directory: PathBuf,
    options: Options,
    /// Taken before `open`, while a log is opened: the second who asks for it waits for the first.
    opening: Mutex<()>,
    open: Mutex<HashMap<Arc<str>, Arc<EmbeddedLog>>>,
}

impl Embedded {
    /// A broker whose logs are in a directory, with the options of their stores.
    pub fn new(directory: PathBuf, options: Options) -> Self {
        Self(Arc::new(Logs { directory, options, opening: Mutex::default(), open: Mutex::default() }))
    }
}

impl Logs {
    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<EmbeddedLog>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Option<Arc<EmbeddedLog>> {
        self.table().get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<EmbeddedLog>> {
        self.table().values().cloned().collect()
    }

    /// Waits for the disk, and for others who open a log.
    fn open(&self, name: &Arc<str>) -> Result<Arc<EmbeddedLog>, OpenError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = self.known(name) {
            return Ok(log);
        }
        let store = Store::open(&self.directory.join(directory_name(name)), self.options.clone())?;
        let log = Arc::new(EmbeddedLog::new(store));
        self.table().insert(name.clone(), log.clone());
        Ok(log)
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
            if let Some(log) = self.0.known(&spec.name) {
                return Ok(log as Arc<dyn Log>);
            }
            // It ends in the table also when the caller gives up: the directory is locked from then on.
            let (logs, name) = (self.0.clone(), spec.name.clone());
            let opening = tokio::task::spawn_blocking(move || logs.open(&name));
            let opened = opening.await.map_err(|e| BrokerError::Internal(e.to_string().into()))?;
            Ok(opened.map_err(refused)? as Arc<dyn Log>)
        })
    }

    fn health(&self) -> Health {
        let logs = self.0.table();
        let trouble = logs.values().map(|log| log.trouble()).find(|t| !t.is_empty()).unwrap_or_default();
        let breaker = if logs.values().any(|log| log.is_broken()) { Breaker::Open } else { Breaker::Closed };
        Health { breaker, trouble }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let logs = self.0.all();
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

    #[tokio::test]
    async fn a_log_that_two_open_at_once_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let broker = Embedded::new(directory.path().to_owned(), Options::default());
        let spec = LogSpec { name: "log".into(), read_only: false, purpose: tidegate_broker::LogPurpose::Publications };
        let (one, other) = tokio::join!(broker.open(&spec), broker.open(&spec));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(broker.health(), Health::default());
        broker.shutdown().await;
    }
}
