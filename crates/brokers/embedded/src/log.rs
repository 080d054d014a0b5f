//! One log over one store.

use std::sync::{Arc, Mutex, PoisonError};

use tidegate_broker::{
    Appended, Bounds, BoxFuture, BrokerError, ChannelPage, ChannelTop, Key, Log, LogInfo, Page, PageLimits, Partition,
    Record, TailHandle, TailLoss, TailSink, Tailed,
};
use tidegate_store::{Append, AppendError, Entry, Follower, FollowerId, Keep, ReadError, Store};
use tidegate_types::Epoch;
use tokio::sync::oneshot;

use crate::meta;

pub(crate) struct EmbeddedLog {
    store: Arc<Store>,
    epoch: Epoch,
    /// What the last append said, when it failed.
    trouble: Arc<Mutex<String>>,
}

impl EmbeddedLog {
    pub(crate) fn new(store: Store) -> Self {
        let epoch = Epoch::new(&format!("{:016x}", store.epoch()));
        Self { store: Arc::new(store), epoch, trouble: Arc::default() }
    }

    /// Whether nothing will be stored until the process is started anew.
    pub(crate) fn is_broken(&self) -> bool {
        self.store.broken().is_some()
    }

    pub(crate) fn trouble(&self) -> String {
        if let Some(why) = self.store.broken() {
            return AppendError::Broken(why.to_owned()).to_string();
        }
        let failed = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failed.is_empty() { self.store.damage() } else { failed }
    }

    pub(crate) fn close(&self) {
        self.store.close();
    }

    fn check(&self, Partition(number): Partition) -> Result<(), BrokerError> {
        match number {
            0 => Ok(()),
            _ => Err(BrokerError::Refused(format!("there is no partition {number}, the embedded log has one").into())),
        }
    }

    /// Runs something that reads files where it may wait.
    fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, BrokerError>> {
        let store = self.store.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || act(&store)).await;
            done.map_err(|e| BrokerError::Internal(e.to_string().into()))?.map_err(read_error)
        })
    }
}

fn read_error(error: ReadError) -> BrokerError {
    let text = error.to_string().into();
    match error {
        ReadError::OutOfRange { .. } => BrokerError::OutOfRange(text),
        ReadError::Damaged { .. } => BrokerError::Internal(text),
        ReadError::Io { .. } => BrokerError::Unavailable(text),
    }
}

fn append_error(error: AppendError) -> BrokerError {
    let text = error.to_string().into();
    match error {
        AppendError::Disk(_) | AppendError::Closed => BrokerError::Unavailable(text),
        AppendError::Unknown(_) => BrokerError::UnknownOutcome(text),
        AppendError::Busy(_) => BrokerError::Overloaded(text),
        AppendError::TooLong(_) => BrokerError::Refused(text),
        AppendError::Broken(_) => BrokerError::Internal(text),
    }
}

fn tailed(entry: &Entry) -> Tailed {
    Tailed {
        log_offset: entry.offset,
        channel_offset: Some(entry.number),
        time_ms: entry.time_ms,
        key: entry.key.clone(),
        payload: Some(entry.payload.clone()),
        meta: meta::decode(&entry.meta, entry.identity.as_deref()),
    }
}

impl Log for EmbeddedLog {
    fn info(&self) -> LogInfo {
        LogInfo { partitions: 1, epoch: self.epoch.clone(), compacted: false, stamps_time: true }
    }

    fn partition_of(&self, _key: &str) -> Partition {
        Partition(0)
    }

    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        let Record { key, payload, meta, keep } = record;
        let stored = meta::encode(meta.as_deref());
        let append = Append {
            key,
            meta: stored,
            payload,
            identity: meta.and_then(|meta| meta::identity(*meta)),
            keep: Keep {
                count: keep.count_max,
                age_s: u32::try_from(keep.age_max.as_secs().saturating_add(1)).unwrap_or(u32::MAX),
            },
        };
        let (tx, rx) = oneshot::channel();
        // Who appended may have given up; the record stands all the same.
        self.store.append(append, Box::new(move |result| drop(tx.send(result))));
        Box::pin(async move {
            let unanswered = || Err(AppendError::Unknown("the store gave no answer".to_owned()));
            let result = rx.await.unwrap_or_else(|_| unanswered()).map_err(append_error);
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            match &result {
                Ok(_) if trouble.is_empty() => {}
                Ok(_) => trouble.clear(),
                Err(error) => *trouble = error.to_string(),
            }
            result.map(|a| Appended {
                partition: Partition(0),
                log_offset: a.offset,
                channel_offset: Some(a.number),
                suppressed: a.suppressed,
            })
        })
    }

    fn tail(
        &self,
        partition: Partition,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        let store = self.store.clone();
        Box::pin(async move {
            self.check(partition)?;
            let follower = Arc::new(Sink { sink, from });
            // Made where it is begun: a caller that gives up meanwhile leaves no tail behind.
            let begin = move |s: &Store| s.follow(from, follower).map(|id| TailHandle::new(EndTail { store, id }));
            self.blocking(begin).await
        })
    }

    fn bounds(&self, partition: Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        let bounds = self.store.bounds();
        let checked = self.check(partition).map(|()| Bounds { start: bounds.start, end: bounds.end });
        Box::pin(std::future::ready(checked))
    }

    fn read(
        &self,
        partition: Partition,
        from: u64,
        to: u64,
        limits: PageLimits,
    ) -> BoxFuture<'_, Result<Page, BrokerError>> {
        Box::pin(async move {
            self.check(partition)?;
            let limits = tidegate_store::PageLimits { records_max: limits.records_max, bytes_max: limits.bytes_max };
            let page = self.blocking(move |store| store.read(from, to, limits)).await?;
            Ok(Page { records: page.entries.iter().map(tailed).collect(), next: page.next })
        })
    }

    fn channel_top(&self, key: &str) -> Option<ChannelTop> {
        let top = self.store.channel_top(key);
        Some(ChannelTop { last: top.last, first_kept: top.first_kept })
    }

    fn read_channel<'a>(
        &'a self,
        key: &'a Key,
        after: u64,
        limits: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>> {
        let key = key.clone();
        Box::pin(async move {
            let limits = tidegate_store::PageLimits { records_max: limits.records_max, bytes_max: limits.bytes_max };
            let page = self.blocking(move |store| store.read_channel(&key, after, limits)).await?;
            let top = ChannelTop { last: page.top.last, first_kept: page.top.first_kept };
            Ok(ChannelPage { records: page.entries.iter().map(tailed).collect(), top })
        })
    }
}

/// A tail's sink as the store's follower.
struct Sink {
    sink: Arc<dyn TailSink>,
    from: u64,
}

impl Follower for Sink {
    fn records(&self, entries: &[Entry], next: u64) {
        let mut batch: Vec<_> = entries.iter().filter(|e| e.offset >= self.from).map(tailed).collect();
        self.sink.records(&mut batch, next.max(self.from));
    }

    fn truncated(&self, start: u64) {
        self.sink.lost(TailLoss::Truncated { start });
    }
}

struct EndTail {
    store: Arc<Store>,
    id: FollowerId,
}

impl Drop for EndTail {
    fn drop(&mut self) {
        self.store.unfollow(self.id);
    }
}
