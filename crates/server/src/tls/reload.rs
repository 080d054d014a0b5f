//! Looks at the files of a certificate from time to time, and takes a new one into use.
//!
//! Two files are not written at once, and a file not in one piece: what changed is taken when it is the same twice in a
//! row. By content and not by time, because links are moved and files are restored. SIGHUP says that they are written:
//! what is in them is taken at once, changed or not. A certificate that cannot be used is told once and counted, and the
//! one before stays.

use std::time::Duration;

use tidegate_core::metrics::NodeMetrics;
use tidegate_shard::Acceptor;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::files::{Contents, FileError, Files};
use super::{Recipe, fingerprint};

/// What a look at the files found: their contents, or why there are none.
type Look = Result<Contents, String>;

/// Tells when a change is to be acted on.
struct Settling {
    /// What was acted on last.
    acted_on: Look,
    /// What was seen last, where that is something else.
    seen: Option<Look>,
}

impl Settling {
    /// Whether this is a change that has come to rest.
    fn is_due(&mut self, look: &Look) -> bool {
        if *look == self.acted_on {
            self.seen = None;
            return false;
        }
        if self.seen.as_ref() != Some(look) {
            self.seen = Some(look.clone());
            return false;
        }
        self.act_on(look);
        true
    }

    fn act_on(&mut self, look: &Look) {
        self.acted_on = look.clone();
        self.seen = None;
    }
}

async fn look(files: &Files) -> Look {
    let files = files.clone();
    let read = tokio::task::spawn_blocking(move || files.read().map_err(|error| error.to_string())).await;
    read.unwrap_or_else(|error| Err(error.to_string()))
}

/// Files that are looked at, with what was in them when they were first used.
pub(super) struct Watched {
    pub(super) files: Files,
    pub(super) contents: Contents,
    pub(super) interval: Duration,
}

impl Watched {
    /// Watches for ever, and looks at once when it is told to.
    pub(super) async fn run(self, mut told: Signal, recipe: &Recipe, acceptor: &Acceptor, metrics: &NodeMetrics) {
        let Self { files, contents, interval } = self;
        let mut settling = Settling { acted_on: Ok(contents), seen: None };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_told = tokio::select! {
                _ = ticks.tick() => false,
                Some(()) = told.recv() => true,
            };
            let seen = look(&files).await;
            if is_told {
                settling.act_on(&seen);
            } else if !settling.is_due(&seen) {
                continue;
            }
            match seen.and_then(|contents| take(&files, &contents, recipe, acceptor)) {
                Ok(shown) => {
                    metrics.tls_reloads.add(1);
                    tracing::info!("new connections get the certificate whose SHA-256 fingerprint is {shown}");
                }
                Err(error) => {
                    metrics.tls_reloads_failed.add(1);
                    tracing::error!("the certificate before stays in use: {error}");
                }
            }
        }
    }
}

/// Says for ever that there is nothing to look at, when it is told to look.
pub(super) async fn nothing(mut told: Signal) {
    while told.recv().await.is_some() {
        tracing::warn!(
            "SIGHUP: nothing is reloaded, this node has no certificate from files (tls.certificate, tls.key)"
        );
    }
    std::future::pending().await
}

/// Has new connections get what was read.
fn take(files: &Files, contents: &Contents, recipe: &Recipe, acceptor: &Acceptor) -> Result<String, String> {
    let key = files.check(contents, &recipe.provider).map_err(|error: FileError| error.to_string())?;
    let shown = fingerprint(&key);
    acceptor.replace(recipe.config(key).map_err(|error| error.to_string())?);
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_acted_on_when_it_rests_and_once() {
        let look = |text: &str| -> Look { Err(text.to_owned()) };
        let mut settling = Settling { acted_on: look("a"), seen: None };
        let mut due = |text: &str| settling.is_due(&look(text));
        assert_eq!(
            ["a", "b", "c", "c", "c", "b", "c", "b", "b", "a"].map(&mut due),
            [false, false, false, true, false, false, false, false, true, false]
        );
    }
}
