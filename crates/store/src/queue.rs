//! Appends on their way to the committer, and the promise that each is answered once. Bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{self, AppendError};
use crate::store::Append;

/// Where a record landed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its offset; for a duplicate the first one's, for an old version the log's end.
    pub offset: u64,
    /// Its number in the channel; for a duplicate the first one's, for an old version the channel's newest.
    pub number: u64,
    /// Nothing was stored.
    pub suppressed: bool,
}

/// Called with the outcome of an append.
pub type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Answers an append once, whatever happens: unanswered when it is dropped, its outcome is unknown.
pub(crate) struct Answer(Option<Done>);

impl Answer {
    pub(crate) fn give(mut self, result: Result<Appended, AppendError>) {
        self.call(result);
    }

    fn call(&mut self, result: Result<Appended, AppendError>) {
        let Some(done) = self.0.take() else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| done(result))) {
            tracing::error!(panic = error::panic_text(&*panic), "whoever appended panicked over the answer");
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.call(Err(AppendError::Unknown("the log broke while it was written".to_owned())));
    }
}

/// Records and bytes of one group.
const GROUP_RECORDS_MAX: usize = 8_192;
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;
#[derive(Default)]
struct Waiting {
    appends: Vec<(Append, Answer)>,
    bytes: usize,
    closed: bool,
    broken: Option<String>,
}

/// Appends that wait for the committer; bounded.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    records_max: usize,
    bytes_max: usize,
}

pub(crate) fn weight(append: &Append) -> usize {
    append.payload.len() + append.meta.len() + 128
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), records_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, append: Append, done: Done) {
        let answer = Answer(Some(done));
        let mut waiting = self.lock();
        let refused = if let Some(why) = &waiting.broken {
            Some(AppendError::Broken(why.clone()))
        } else if waiting.closed {
            Some(AppendError::Closed)
        } else if waiting.appends.len() >= self.records_max || waiting.bytes >= self.bytes_max {
            Some(AppendError::Busy(waiting.appends.len()))
        } else {
            None
        };
        if let Some(error) = refused {
            drop(waiting);
            return answer.give(Err(error));
        }
        waiting.bytes += weight(&append);
        waiting.appends.push((append, answer));
        let first = waiting.appends.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Nothing is taken any more, and what waits was not stored.
    pub(crate) fn fail(&self, why: &str) {
        let waiting = {
            let mut waiting = self.lock();
            waiting.broken = Some(why.to_owned());
            waiting.bytes = 0;
            std::mem::take(&mut waiting.appends)
        };
        for (_, answer) in waiting {
            answer.give(Err(AppendError::Broken(why.to_owned())));
        }
    }

    /// The next group; empty when it is time for something else, `None` when the queue is closed and empty.
    pub(crate) fn take(&self, patience: Duration) -> Option<Vec<(Append, Answer)>> {
        let mut waiting = self.lock();
        if waiting.appends.is_empty() && !waiting.closed {
            waiting = self.arrived.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if waiting.appends.is_empty() {
            return (!waiting.closed).then(Vec::new);
        }
        let mut bytes = 0;
        let fits = waiting.appends.iter().take(GROUP_RECORDS_MAX).take_while(|(append, _)| {
            bytes += weight(append);
            bytes <= GROUP_BYTES_MAX
        });
        let count = fits.count().max(1);
        let rest = waiting.appends.split_off(count);
        let group = std::mem::replace(&mut waiting.appends, rest);
        waiting.bytes -= group.iter().map(|(append, _)| weight(append)).sum::<usize>();
        Some(group)
    }
}
