//! Tells when a connection has gone quiet: everything that was asked on it is answered and sent, and for a while nothing
//! was asked. Then it need not stay on the HTTP side, where it is dear, and goes to the shards, where it costs what an
//! idle client costs. A page that speaks by `/emulation` asks something every 25 s, and so do load balancers.
//!
//! Invariant: a quiet connection has no bytes left that its peer waits for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long a connection stays after an answer. Who asks one thing after the other stays for longer.
const QUIET: Duration = Duration::from_millis(250);

/// What happens on a connection. One task has it, so that it orders nothing.
#[derive(Debug, Default)]
pub(super) struct Activity {
    asked: AtomicU64,
    answering: AtomicU32,
    /// An answer was made, or begun to be written, and is not all with the system yet.
    unwritten: AtomicBool,
}

impl Activity {
    /// A request came.
    pub(super) fn asks(&self) {
        self.asked.fetch_add(1, Relaxed);
        self.answering.fetch_add(1, Relaxed);
    }

    /// It has its answer, which is to be written.
    pub(super) fn is_answered(&self) {
        self.unwritten.store(true, Relaxed);
        self.answering.fetch_sub(1, Relaxed);
    }

    /// The socket took what it was given, or did not.
    pub(super) fn wrote(&self, all: bool) {
        self.unwritten.store(!all, Relaxed);
    }

    /// Waits for the connection to go quiet.
    pub(super) async fn ceases(&self) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(QUIET).await;
            let asked = self.asked.load(Relaxed);
            let busy = self.answering.load(Relaxed) > 0 || self.unwritten.load(Relaxed);
            if asked == seen && asked > 0 && !busy {
                return;
            }
            seen = asked;
        }
    }
}
