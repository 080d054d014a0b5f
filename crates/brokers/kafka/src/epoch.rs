//! The incarnation of a topic's numbering, and what a change of it is called.

use tidegate_broker::LogInfo;
use tidegate_types::Epoch;

use crate::partitioner::Partitioner;

/// What a topic was found to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// Its id; empty from brokers that have none.
    pub(crate) topic_id: String,
    /// How keys find their partition.
    pub(crate) partitioner: Partitioner,
    /// What the traits show of it.
    pub(crate) info: LogInfo,
}

impl State {
    pub(crate) fn new(
        topic_id: String,
        partitions: u32,
        partitioner: Partitioner,
        compacted: bool,
        stamps_time: bool,
    ) -> Self {
        let epoch = Epoch::new(&format!("{topic_id}-{partitions}-{}", partitioner.name()));
        Self { topic_id, partitioner, info: LogInfo { partitions, epoch, compacted, stamps_time } }
    }

    /// The same with another identity.
    pub(crate) fn changed(&self, topic_id: &str, partitions: u32, partitioner: Partitioner) -> Self {
        Self::new(topic_id.to_owned(), partitions, partitioner, self.info.compacted, self.info.stamps_time)
    }

    /// What changed since `old`, for a log line; `None` when the numbering is the same.
    pub(crate) fn change_since(&self, old: &Self) -> Option<String> {
        if self.topic_id != old.topic_id {
            return Some(format!("the topic was deleted and created again (its id is {} now)", self.topic_id));
        }
        if self.info.partitions != old.info.partitions {
            return Some(format!(
                "the topic has {} partitions now and had {}: keys moved",
                self.info.partitions, old.info.partitions
            ));
        }
        (self.partitioner != old.partitioner).then(|| {
            format!(
                "the records lie where {} puts their keys, {} was assumed",
                self.partitioner.name(),
                old.partitioner.name()
            )
        })
    }
}
