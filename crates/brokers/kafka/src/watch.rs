//! Looking after an open topic on a thread of its own: its id, its partitions, whom its keys speak for, and whether the
//! cluster is back.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use tidegate_broker::BrokerError;

use crate::log::Shared;

/// How often it is asked while publishes fail at once.
const AWAY: Duration = Duration::from_millis(250);

/// Before each look.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls the thread.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    // Held to set a flag.
    flags: Mutex<Flags>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Flags {
    soon: bool,
    end: bool,
}

impl Signal {
    /// The topic may have changed.
    pub(crate) fn check_soon(&self) {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).soon = true;
        self.wake.notify_all();
    }

    /// The log is closed.
    pub(crate) fn end(&self) {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).end = true;
        self.wake.notify_all();
    }

    /// Whether to go on.
    fn wait(&self, interval: Duration) -> bool {
        let flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(flags, interval, |flags| !flags.soon && !flags.end);
        let (mut flags, _) = waited.unwrap_or_else(PoisonError::into_inner);
        flags.soon = false;
        !flags.end
    }
}

/// Starts the thread; it ends when the log is gone.
pub(crate) fn spawn(log: &Arc<Shared>) -> Result<(), BrokerError> {
    let signal = log.signal.clone();
    let weak = Arc::downgrade(log);
    let named = std::thread::Builder::new().name(format!("kafka-watch-{}", log.topic));
    named
        .spawn(move || run(&weak, &signal))
        .map(drop)
        .map_err(|error| BrokerError::Internal(format!("cannot start a thread: {error}").into()))
}

fn run(log: &Weak<Shared>, signal: &Signal) {
    loop {
        let Some(interval) = log.upgrade().map(|log| {
            let usual = log.connection.settings.check_interval;
            if log.connection.breaker.is_open() { usual.min(AWAY) } else { usual }
        }) else {
            return;
        };
        if !signal.wait(interval) {
            return;
        }
        // Who calls for a look often calls again at once: several share one.
        std::thread::sleep(PAUSE);
        let Some(log) = log.upgrade() else { return };
        log.check();
        log.sample_while_unsure();
    }
}
