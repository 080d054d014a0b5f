//! A few threads for what blocks: metadata, bounds, ranges. Bounded; a full queue is an answer, not a wait.

use std::future::Future;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_broker::BrokerError;
use tokio::sync::oneshot;

const THREADS: usize = 4;
const QUEUE_MAX: usize = 1_024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads end when the pool and all its clones are gone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    jobs: SyncSender<Job>,
}

impl Pool {
    /// Starts the threads.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_MAX);
        // Held while waiting for a job, never while doing one.
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..THREADS {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("kafka-io-{index}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Runs `job` on a thread of the pool.
    pub(crate) fn run<T, F>(&self, job: F) -> impl Future<Output = Result<T, BrokerError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, BrokerError> + Send + 'static,
    {
        let (done, wait) = oneshot::channel();
        // Who asked may have stopped waiting.
        let sent = self.submit(move || drop(done.send(job())));
        async move {
            sent?;
            wait.await.map_err(|_| BrokerError::Internal("a thread of the Kafka client ended".into()))?
        }
    }

    /// The same without an answer.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => BrokerError::Overloaded("too many reads of Kafka wait, retry".into()),
            TrySendError::Disconnected(_) => BrokerError::Unavailable("the Kafka client is closed".into()),
        })
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
