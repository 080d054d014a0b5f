//! What the committer waits for: appends, and the writer's word that a group is on disk. Also the promise that each
//! append is answered once. Bounded.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{self, AppendError};
use crate::store::Append;
use crate::writer::Written;

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
pub(crate) const GROUP_RECORDS_MAX: usize = 8_192;
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;

/// An append and who waits for it.
pub(crate) type Asked = (Append, Answer);

/// So many lulls long a group waits at most.
const LULLS_MAX: u32 = 2;

/// When the committer wants a group: as soon as so much is there, or, with less, when no more comes for a while.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// It takes no more records than this.
    pub(crate) most: usize,
    /// So long nothing comes when something is there.
    pub(crate) lull: Duration,
    /// So long nothing comes when nothing is there.
    pub(crate) patience: Duration,
}

impl Wanted {
    /// None, until the writer is done.
    pub(crate) const NOTHING: Self =
        Self { records: usize::MAX, bytes: usize::MAX, most: 0, lull: Duration::MAX, patience: Duration::MAX };
}

/// What there is to do.
pub(crate) enum Next {
    /// A group was taken.
    Group,
    /// The writer is done.
    Written(Written),
    /// It is time for something else.
    Nothing,
    /// There are no appends and there will be none.
    Closed,
}

struct Waiting {
    appends: Vec<Asked>,
    bytes: usize,
    /// In order; as many as groups are under way.
    written: VecDeque<Written>,
    closed: bool,
    broken: Option<String>,
    /// With this many appends the committer has what it waits for.
    whole: usize,
    /// What the committer sleeps for; `None` = it is awake.
    sleeping: Option<Wanted>,
}

impl Waiting {
    fn is_enough(&self, wanted: Wanted) -> bool {
        let closing = self.closed && !self.appends.is_empty() && wanted.records != usize::MAX;
        self.appends.len() >= wanted.records || self.bytes >= wanted.bytes || closing
    }
}

/// See the module docs.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    records_max: usize,
    bytes_max: usize,
}

pub(crate) fn weight(append: &Append) -> usize {
    append.payload.len() + append.meta.len() + 128
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        let waiting = Waiting {
            appends: Vec::new(),
            bytes: 0,
            written: VecDeque::new(),
            closed: false,
            broken: None,
            whole: usize::MAX,
            sleeping: None,
        };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new(), records_max, bytes_max }
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
        let whole = waiting.appends.len() == waiting.whole;
        match waiting.sleeping {
            Some(wanted) if waiting.is_enough(wanted) => self.wake(waiting),
            _ => drop(waiting),
        }
        if whole {
            // On the same CPU the committer would wait until this thread has nothing more to do, and the disk with it.
            std::thread::yield_now();
        }
    }

    /// The writer is done.
    pub(crate) fn written(&self, written: Written) {
        let mut waiting = self.lock();
        waiting.written.push_back(written);
        self.wake(waiting);
    }

    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.wake(waiting);
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let asleep = waiting.sleeping.take().is_some();
        drop(waiting);
        if asleep {
            self.changed.notify_one();
        }
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

    /// Appends that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().appends.len()
    }

    /// Waits for what comes first. A group goes into `group`, which must be empty.
    pub(crate) fn next(&self, wanted: Wanted, group: &mut Vec<Asked>) -> Next {
        let mut waiting = self.lock();
        waiting.whole = wanted.records;
        let mut until = None;
        loop {
            if let Some(written) = waiting.written.pop_front() {
                return Next::Written(written);
            }
            if waiting.is_enough(wanted) {
                break;
            }
            if waiting.closed && waiting.appends.is_empty() && wanted.records != usize::MAX {
                return Next::Closed;
            }
            let before = waiting.appends.len();
            let (sleep, time) = match before {
                // The first to come begins the time in which more may.
                0 if wanted.lull < Duration::MAX => (Wanted { records: 1, ..wanted }, wanted.patience),
                0 => (wanted, wanted.patience),
                _ => (wanted, wanted.lull),
            };
            waiting.sleeping = Some(sleep);
            let waited = self.changed.wait_timeout(waiting, time).unwrap_or_else(PoisonError::into_inner);
            waiting = waited.0;
            waiting.sleeping = None;
            if !waited.1.timed_out() || !waiting.written.is_empty() {
                continue;
            }
            if before == 0 && waiting.appends.is_empty() {
                return Next::Nothing;
            }
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| now.checked_add(wanted.lull.saturating_mul(LULLS_MAX - 1)));
            if waiting.appends.len() == before || until.is_some_and(|until| now >= until) {
                break;
            }
        }
        waiting.take(group, wanted.most.min(GROUP_RECORDS_MAX));
        Next::Group
    }
}

impl Waiting {
    fn take(&mut self, group: &mut Vec<Asked>, records_max: usize) {
        if self.appends.len() <= records_max && self.bytes <= GROUP_BYTES_MAX {
            self.bytes = 0;
            return std::mem::swap(&mut self.appends, group);
        }
        let mut bytes = 0;
        let fits = self.appends.iter().take(records_max).take_while(|(append, _)| {
            bytes += weight(append);
            bytes <= GROUP_BYTES_MAX
        });
        let count = fits.count().max(1);
        group.extend(self.appends.drain(..count));
        self.bytes -= group.iter().map(|(append, _)| weight(append)).sum::<usize>();
    }
}
