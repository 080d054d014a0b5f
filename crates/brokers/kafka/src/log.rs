//! An open topic behind the [`Log`] trait.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tidegate_broker::{
    Appended, Bounds, BoxFuture, BrokerError, ChannelPage, ChannelTop, Key, Log, LogInfo, LogSpec, Page, PageLimits,
    Partition, Record, TailHandle, TailSink,
};

use crate::connect::Connection;
use crate::epoch::State;
use crate::partitioner::Partitioner;
use crate::read;
use crate::tail::{Command, Lane, Tail};
use crate::topic;
use crate::watch::{self, Signal};

/// How long the producer may take to learn the partitions of a topic.
const LEARN_MAX: Duration = Duration::from_secs(2);
/// Tails of the same partition at the same time.
const LANES_MAX: usize = 8;
/// At most one line about misplaced records in this time.
const MISPLACED_EVERY: Duration = Duration::from_secs(60);

/// What the tails, the watch and the trait share.
pub(crate) struct Shared {
    pub(crate) connection: Arc<Connection>,
    pub(crate) topic: Arc<str>,
    pub(crate) signal: Arc<Signal>,
    read_only: bool,
    // Held to copy or replace the pointer.
    state: RwLock<Arc<State>>,
    // Held while a change of the topic is looked at and told: only one at a time.
    checking: Mutex<()>,
    // Held while a tail finds its lane.
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// `auto` was asked for and the records did not speak clearly yet.
    unsure: AtomicBool,
    gone: AtomicBool,
    /// By partition, where it ended when the topic got more of them.
    grown_at: Mutex<Vec<u64>>,
    /// A publish was refused where it should have been taken: the producer may not know all partitions.
    unknown_partition: AtomicBool,
    // Held to compare two instants.
    misplaced: Mutex<Option<Instant>>,
}

/// The log.
pub(crate) struct KafkaLog(Arc<Shared>);

impl KafkaLog {
    /// Looks at the topic and starts watching it. Blocks.
    pub(crate) fn open(connection: &Arc<Connection>, spec: &LogSpec) -> Result<Self, BrokerError> {
        let topic = &spec.name;
        if !spec.read_only {
            // It needs half a second for its producer id: the sooner it is there, the less the first publish waits.
            connection.producer()?;
        }
        let description = topic::find(connection, topic, spec.purpose)?;
        let config = match topic::config(connection, topic) {
            Ok(config) => config,
            Err(error @ BrokerError::Refused(_)) => {
                tracing::warn!(
                    "{error}; assuming min.insync.replicas, cleanup.policy and timestamps are as they should be"
                );
                topic::TopicConfig::default()
            }
            Err(error) => return Err(error),
        };
        if !spec.read_only {
            topic::check_safety(connection, topic, &description, &config)?;
        }
        let partitions = u32::try_from(description.replicas.len()).unwrap_or(u32::MAX);
        let (partitioner, unsure) = partitioner(connection, topic, partitions)?;
        let topic_id = description.id;
        let state = State::new(topic_id, partitions, partitioner, config.is_compacted(), config.stamps_time());
        tracing::info!(%topic, partitions, partitioner = partitioner.name(), epoch = %state.info.epoch, "topic opened");
        let shared = Arc::new(Shared {
            connection: connection.clone(),
            topic: topic.clone(),
            signal: Arc::default(),
            read_only: spec.read_only,
            state: RwLock::new(Arc::new(state)),
            checking: Mutex::default(),
            lanes: Mutex::default(),
            unsure: AtomicBool::new(unsure),
            gone: AtomicBool::new(false),
            grown_at: Mutex::default(),
            unknown_partition: AtomicBool::new(false),
            misplaced: Mutex::default(),
        });
        watch::spawn(&shared)?;
        if !spec.read_only {
            connection.producer()?.warm_up(topic, LEARN_MAX);
        }
        Ok(Self(shared))
    }
}

/// The partitioner that is set or found, and whether that is a guess.
fn partitioner(connection: &Arc<Connection>, topic: &str, partitions: u32) -> Result<(Partitioner, bool), BrokerError> {
    let set = connection.settings.partitioner_of(topic);
    if partitions == 1 {
        return Ok((set.unwrap_or(Partitioner::Murmur2), false));
    }
    let sample = connection.with_reader(|reader| read::sample(reader, topic, partitions, &[]))?;
    let found = sample.best();
    if let Some(set) = set {
        if let Some(found) = found.filter(|found| *found != set && sample.is_sure()) {
            tracing::error!(
                topic,
                "kafka.partitioner is {}, but {} of {} sampled keys lie where {} puts them: subscribers will miss \
                 records; set kafka.partitioner = \"{}\", or change the producers",
                set.name(),
                sample.fitting(found),
                sample.keys,
                found.name(),
                found.name(),
            );
        }
        return Ok((set, false));
    }
    Ok((found.unwrap_or(Partitioner::Murmur2), !sample.is_sure()))
}

impl Shared {
    /// What the topic is now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks whether the topic is still the one that was opened. Blocks.
    pub(crate) fn check(&self) {
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection.describe(&self.topic) {
            Ok(found) if found.partitions > 0 => {
                if self.gone.swap(false, Relaxed) {
                    tracing::info!(topic = %self.topic, "the topic is there again");
                }
                let old = self.state();
                let mut partitions = u32::try_from(found.partitions).unwrap_or(u32::MAX);
                if found.id == old.topic_id {
                    // No topic gets fewer: a broker that has not heard of the new ones yet.
                    partitions = partitions.max(old.info.partitions);
                }
                let new = old.changed(&found.id, partitions, old.partitioner);
                let is_new = new != *old;
                if is_new || self.unknown_partition.swap(false, Relaxed) {
                    self.learn_partitions();
                }
                self.renew(&old, new);
                if is_new && self.unsure.load(Relaxed) {
                    self.note_growth(&old);
                }
            }
            Ok(_) | Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                if !self.gone.swap(true, Relaxed) {
                    tracing::error!(topic = %self.topic, "the topic was deleted; waiting for it to be created again");
                }
            }
            Err(_) => {}
        }
    }

    /// Where partitions end whose older records were placed among fewer of them. One that does not say it speaks for nobody.
    fn note_growth(&self, old: &State) {
        let ends = if old.topic_id == self.state().topic_id {
            let deadline = Instant::now() + LEARN_MAX;
            let end = |partition| {
                let bounds = (Instant::now() < deadline).then(|| self.bounds_now(Partition(partition)).ok()).flatten();
                bounds.map_or(u64::MAX, |bounds| bounds.end)
            };
            (0..old.info.partitions).map(end).collect()
        } else {
            Vec::new()
        };
        *self.grown_at.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// The producer asks for partitions by itself every half minute, and refuses those it does not know.
    fn learn_partitions(&self) {
        if !self.read_only
            && let Ok(producer) = self.connection.producer()
        {
            producer.warm_up(&self.topic, LEARN_MAX);
        }
    }

    /// While `auto` is a guess: asks the records again. Blocks.
    pub(crate) fn sample_while_unsure(&self) {
        if !self.unsure.load(Relaxed) || self.gone.load(Relaxed) {
            return;
        }
        let old = self.state();
        let partitions = old.info.partitions;
        let since = self.grown_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sampled = self.connection.with_reader(|reader| read::sample(reader, &self.topic, partitions, &since));
        let Ok(sample) = sampled else { return };
        let Some(best) = sample.best() else { return };
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        self.unsure.store(!sample.is_sure(), Relaxed);
        let now = self.state();
        if now == old {
            self.renew(&old, old.changed(&old.topic_id, partitions, best));
        }
    }

    /// Takes another numbering over and tells every tail; it ends them.
    fn renew(&self, old: &State, new: State) {
        let Some(why) = new.change_since(old) else { return };
        tracing::error!(topic = %self.topic, epoch = %new.info.epoch, "{why}: older positions cannot be recovered");
        let epoch = new.info.epoch.clone();
        // Together: a tail that is started from here on is one of the new numbering, and is not told.
        let lanes = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
            std::mem::take(&mut *lanes)
        };
        self.connection.drop_readers();
        for lane in lanes {
            lane.tell(Command::NewEpoch { epoch: epoch.clone(), why: why.clone() });
        }
    }

    /// The ends of a partition. Blocks.
    pub(crate) fn bounds_now(&self, partition: Partition) -> Result<Bounds, BrokerError> {
        self.connection.with_reader(|reader| read::bounds(reader, &self.topic, partition))
    }

    /// A record lies where its key does not belong: a line a minute says what to do.
    pub(crate) fn misplaced(&self, key: &str, partition: u32, state: &State) {
        let mut last = self.misplaced.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < MISPLACED_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        let (ours, partitions) = (state.partitioner, state.info.partitions);
        let theirs: Vec<_> = Partitioner::ALL
            .into_iter()
            .filter(|p| p.partition(key.as_bytes(), partitions) == partition)
            .map(Partitioner::name)
            .collect();
        let theirs = if theirs.is_empty() { "none that is known".to_owned() } else { theirs.join(" or ") };
        tracing::warn!(
            topic = %self.topic, key, partition,
            "a record lies in another partition than {} puts its key (it fits {theirs}), subscribers can miss such \
             records; set kafka.partitioner to what the producers use, or make the producers use {}",
            ours.name(), ours.name(),
        );
    }

    /// Finds a lane for the tail.
    fn start_tail(self: &Arc<Self>, tail: Tail) -> Result<TailHandle, BrokerError> {
        let partition = tail.partition();
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes.iter().find(|lane| !taken(lane).contains(&partition.0)).cloned();
        let lane = match free {
            Some(lane) => lane,
            None if lanes.len() < LANES_MAX => {
                let lane = Lane::start(self)?;
                lanes.push(lane.clone());
                lane
            }
            None => {
                let text = format!("partition {} has {LANES_MAX} tails already", partition.0);
                return Err(BrokerError::Overloaded(text.into()));
            }
        };
        taken(&lane).insert(partition.0);
        let guard = Guard { lane: lane.clone(), partition, stopped: tail.stopped() };
        lane.tell(Command::Start(tail));
        Ok(TailHandle::new(guard))
    }
}

fn taken(lane: &Lane) -> std::sync::MutexGuard<'_, std::collections::BTreeSet<u32>> {
    lane.taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.signal.end();
        for lane in self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            lane.tell(Command::End);
        }
    }
}

/// Stops a tail when dropped.
struct Guard {
    lane: Arc<Lane>,
    partition: Partition,
    stopped: Arc<AtomicBool>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stopped.store(true, Relaxed);
        // Told before the place is free: a new tail's start comes after this stop.
        self.lane.tell(Command::Stop { partition: self.partition, stopped: self.stopped.clone() });
        taken(&self.lane).remove(&self.partition.0);
    }
}

impl Log for KafkaLog {
    fn info(&self) -> LogInfo {
        self.0.state().info.clone()
    }

    fn partition_of(&self, key: &str) -> Partition {
        let state = self.0.state();
        Partition(state.partitioner.partition(key.as_bytes(), state.info.partitions))
    }

    fn append(&self, record: Record) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        Box::pin(async move {
            if self.0.read_only {
                return Err(BrokerError::Refused(format!("topic {} is bound read-only", self.0.topic).into()));
            }
            let connection = &self.0.connection;
            connection
                .breaker
                .admit()
                .map_err(|why| BrokerError::Unavailable(format!("Kafka is away, retry: {why}").into()))?;
            let producer = connection.producer().inspect_err(|_| connection.breaker.withdrawn())?;
            let sent = producer.send(&self.0.topic, self.partition_of(&record.key), &record);
            if let Err(BrokerError::Unavailable(_)) = sent {
                self.0.unknown_partition.store(true, Relaxed);
                self.0.signal.check_soon();
            }
            let answer = sent?;
            drop(producer);
            let closed = |_| Err(BrokerError::UnknownOutcome("the Kafka client was closed".into()));
            answer.await.unwrap_or_else(closed).map_err(|error| match error {
                BrokerError::Unavailable(_) => connection.publishing_refused().unwrap_or(error),
                other => other,
            })
        })
    }

    fn tail(
        &self,
        partition: Partition,
        from: u64,
        sink: Arc<dyn TailSink>,
    ) -> BoxFuture<'_, Result<TailHandle, BrokerError>> {
        Box::pin(async move {
            self.known(partition)?;
            let shared = self.0.clone();
            self.0.connection.pool.run(move || shared.start_tail(Tail::new(partition, from, sink))).await
        })
    }

    fn bounds(&self, partition: Partition) -> BoxFuture<'_, Result<Bounds, BrokerError>> {
        Box::pin(async move {
            self.known(partition)?;
            let shared = self.0.clone();
            self.0.connection.pool.run(move || shared.bounds_now(partition)).await
        })
    }

    fn read(
        &self,
        partition: Partition,
        from: u64,
        to: u64,
        limits: PageLimits,
    ) -> BoxFuture<'_, Result<Page, BrokerError>> {
        Box::pin(async move {
            self.known(partition)?;
            let shared = self.0.clone();
            let job = move || {
                let state = shared.state();
                let page = |reader: &_| read::page(reader, &shared.topic, partition, from..to, limits, &state);
                shared.connection.with_reader(page)
            };
            self.0.connection.pool.run(job).await
        })
    }

    fn channel_top(&self, _: &str) -> Option<ChannelTop> {
        None
    }

    fn read_channel<'a>(
        &'a self,
        _: &'a Key,
        _: u64,
        _: PageLimits,
    ) -> BoxFuture<'a, Result<ChannelPage, BrokerError>> {
        let error = BrokerError::Refused("Kafka numbers partitions, not channels".into());
        Box::pin(async move { Err(error) })
    }
}

impl KafkaLog {
    fn known(&self, partition: Partition) -> Result<(), BrokerError> {
        let partitions = self.0.state().info.partitions;
        if partition.0 < partitions {
            return Ok(());
        }
        let text = format!("topic {} has {partitions} partitions, there is no {}", self.0.topic, partition.0);
        Err(BrokerError::Refused(text.into()))
    }
}
