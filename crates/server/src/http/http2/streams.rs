//! The streams of one connection: they are its tasks and end with it, and one whose client takes nothing ends before.
//!
//! The library makes a future of each request and its answer. It runs here, with a [`Watch`] beside it, which the answer's
//! body keeps: so it is known how long the client has left a piece of it untaken. To end the future resets the stream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Streams {
    begun: Instant,
    /// What runs. The lock is held for as long as it takes to begin or to look.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    tasks: JoinSet<()>,
    watched: Vec<(AbortHandle, Arc<Watch>)>,
    /// One began since the last look.
    begun: bool,
}

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

/// Since when a piece of an answer waits for its client.
#[derive(Debug)]
pub(super) struct Watch {
    /// That of the connection.
    begun: Instant,
    /// Milliseconds from then, [`Watch::NEVER`] while nothing waits.
    since_ms: AtomicU64,
}

impl Watch {
    const NEVER: u64 = u64::MAX;

    fn new(begun: Instant) -> Self {
        Self { begun, since_ms: AtomicU64::new(Self::NEVER) }
    }

    /// That of the stream whose answer is being made.
    pub(super) fn current() -> Arc<Self> {
        WATCH.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Self::new(Instant::now())))
    }

    /// A piece waits from now on.
    pub(super) fn handed_out(&self) {
        self.since_ms.store(millis(self.begun.elapsed()), Relaxed);
    }

    /// It was taken: more is asked for.
    pub(super) fn taken(&self) {
        self.since_ms.store(Self::NEVER, Relaxed);
    }

    fn is_stuck(&self, now: Instant, unread_max: Duration) -> bool {
        millis(now - self.begun).saturating_sub(self.since_ms.load(Relaxed)) >= millis(unread_max).max(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Streams {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), open: Mutex::default() })
    }

    /// What the library begins streams with. It keeps nothing alive.
    pub(super) fn spawner(self: &Arc<Self>) -> Spawner {
        Spawner(Arc::downgrade(self))
    }

    /// Resets the streams whose clients take nothing. Whether there are any, or were since the last look.
    pub(super) fn look(&self, now: Instant, unread_max: Duration) -> bool {
        let mut open = self.open();
        open.forget_ended();
        for (task, watch) in &open.watched {
            if watch.is_stuck(now, unread_max) {
                tracing::debug!("an HTTP/2 stream is reset: its client takes nothing");
                task.abort();
            }
        }
        std::mem::take(&mut open.begun) || !open.tasks.is_empty()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.watched.retain(|(task, _)| !task.is_finished());
    }
}

/// See [`Streams::spawner`].
#[derive(Clone, Debug)]
pub(super) struct Spawner(Weak<Streams>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        // Where the connection is gone its streams have nobody to answer.
        let Some(streams) = self.0.upgrade() else { return };
        let watch = Arc::new(Watch::new(streams.begun));
        let mut open = streams.open();
        open.forget_ended();
        let task = open.tasks.spawn(WATCH.scope(watch.clone(), stream));
        open.watched.push((task, watch));
        open.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_client_takes_nothing_or_the_connection_ends() {
        let streams = Streams::new();
        let unread_max = Duration::from_secs(30);
        let begin = |is_stuck: bool| {
            let (held, ended) = oneshot::channel::<()>();
            streams.spawner().execute(async move {
                let _held = held;
                let watch = Watch::current();
                watch.handed_out();
                if !is_stuck {
                    watch.taken();
                }
                std::future::pending().await
            });
            ended
        };
        assert!(!streams.look(Instant::now(), unread_max));
        streams.spawner().execute(async {});
        tokio::task::yield_now().await;
        assert!(streams.look(Instant::now(), unread_max), "one was there");
        assert!(!streams.look(Instant::now(), unread_max));
        let (mut stuck, waiting) = (begin(true), begin(false));
        tokio::time::sleep(Duration::from_secs(29)).await;
        streams.look(Instant::now(), unread_max);
        tokio::task::yield_now().await;
        assert!(stuck.try_recv().is_err_and(|error| error == TryRecvError::Empty), "it may yet take something");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(streams.look(Instant::now(), unread_max));
        assert!(stuck.await.is_err(), "it ended");
        assert!(streams.look(Instant::now(), unread_max), "the other is there");
        let spawner = streams.spawner();
        drop(streams);
        assert!(waiting.await.is_err(), "it ended");
        spawner.execute(async { panic!("nobody is there to answer") });
    }
}
