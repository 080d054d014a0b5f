//! What later starts need instead of a sealed segment's records: its index and a state. The committer makes them, and a
//! thread of their own writes them, so that appends go on meanwhile.
//!
//! Invariant: one state is written at a time, and nothing is deleted between its making and its end: it knows of everything
//! that was deleted when the next one is made.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::committer::Committer;
use crate::forget::Limit;
use crate::fs;
use crate::segment::{self, Segment};
use crate::state::Draft;
use crate::store::Inner;

/// Between two looks whether it is done, while nothing is appended.
pub(crate) const SEALING_PAUSE: Duration = Duration::from_millis(2);

/// An index and a state on their way to the disk. Waited for when it is dropped.
pub(crate) struct Sealing {
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Up to where the state reaches.
    base: u64,
    /// What the state leaves out, and the largest last number of that and all before.
    limit: Limit,
    forgotten: u64,
}

impl Drop for Sealing {
    fn drop(&mut self) {
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("writing the tables of a sealed segment ended with a panic");
        }
    }
}

fn cannot_write(error: &io::Error) {
    tracing::warn!(%error, "cannot write the tables of a sealed segment, the next start reads more");
}

impl Committer {
    /// Begins to write the tables of a segment, once its successor is there and while nothing is under way.
    pub(crate) fn seal(&mut self, active: &Arc<Segment>) {
        self.end_sealing(true);
        // Between two states something may be deleted: with segments that fill as fast as states are written, only here.
        if self.retention.is_due() {
            self.retain();
        }
        let base = active.end.load(Relaxed);
        let limit = self.forgetting_limit();
        let (mut index, mut state) = (active.index(), Draft::new(base, self.lock_shared().forgotten));
        self.in_slices(|key, channel| {
            index.add(key, channel);
            if limit.forgets(channel) { state.leave_out(channel) } else { state.add(key, channel) }
        });
        let forgotten = state.forgotten;
        let state = state.finish(&self.judge);
        let (inner, sealed) = (self.inner.clone(), active.clone());
        let write = move || write(&inner, &sealed, &index.finish(), &state);
        match std::thread::Builder::new().name("tidegate-seal".to_owned()).spawn(write) {
            Ok(thread) => self.sealing = Some(Sealing { thread: Some(thread), base, limit, forgotten }),
            Err(error) => cannot_write(&error),
        }
    }

    /// Takes note of tables that are on disk. Waits for those that are not, or leaves them.
    pub(crate) fn end_sealing(&mut self, waits: bool) {
        let is_done = |s: &mut Sealing| waits || s.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let Some(mut sealing) = self.sealing.take_if(is_done) else { return };
        let Some(thread) = sealing.thread.take() else { return };
        match thread.join() {
            Ok(Ok(())) => {
                self.state_base = sealing.base;
                self.sweep();
                self.retention.due = true;
                self.begin_forgetting(sealing.limit, sealing.forgotten);
            }
            Ok(Err(error)) => cannot_write(&error),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Writes both files. The state before this one stays, should this one get lost; then a start reads one segment more.
fn write(inner: &Inner, sealed: &Segment, index: &[u8], state: &[u8]) -> io::Result<()> {
    let (fs, directory, base) = (&*inner.fs, &inner.directory, sealed.end.load(Relaxed));
    fs::replace(fs, &sealed.path.with_extension("idx"), index)?;
    fs::replace(fs, &segment::path(directory, base, "state"), state)?;
    for name in fs.list(directory)? {
        let older = name.strip_suffix(".state").and_then(|n| n.parse::<u64>().ok()).is_some_and(|b| b < sealed.base);
        if older {
            fs.remove(&directory.join(name))?;
        }
    }
    Ok(())
}
