//! Which channels have subscribers, over all nodes: one node asks by the control log, and each answers by it.
//!
//! No table of this is kept: a channel comes and goes with every subscriber, and it is asked for by people and scripts.
//! Answers are bounded; who asks for too much is told so, and never gets a shorter list.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use tidegate_broker::BrokerError;
use tidegate_types::limits::{CHANNEL_NAME_BYTES_MAX, COMMAND_WAIT_MAX};
use tokio::sync::oneshot;

use crate::error::HubError;
use crate::inbox::ShardEvent;

use super::outbox::Outcome;
use super::presence::NodeId;
use super::record::{Counts, Entry, Survey};
use super::{Control, lock};

/// Channels that one node answers with.
pub const CHANNELS_MAX: usize = 10_000;
/// Stars of a pattern: each may go through the rest of a name.
const STARS_MAX: usize = 8;
/// Channels in one entry of the log.
const PART: usize = 500;
/// Questions of this node at the same time.
const SURVEYS_MAX: usize = 16;

/// Which channels are meant: `*` is any run of characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelPattern(Arc<str>);

impl ChannelPattern {
    /// Reads a pattern; empty = every channel.
    ///
    /// # Errors
    /// When it is longer than a channel's name may be, or has more than eight `*`.
    pub fn parse(pattern: &str) -> Result<Self, HubError> {
        if pattern.len() > CHANNEL_NAME_BYTES_MAX || pattern.matches('*').count() > STARS_MAX {
            let why = format!("a pattern has {CHANNEL_NAME_BYTES_MAX} bytes and {STARS_MAX} stars at most");
            return Err(HubError::BadRequest(why.into()));
        }
        Ok(Self(if pattern.is_empty() { "*" } else { pattern }.into()))
    }

    /// Whether a channel is meant.
    pub fn matches(&self, channel: &str) -> bool {
        &*self.0 == "*" || tidegate_auth::wildcard(self.0.as_bytes(), channel.as_bytes())
    }
}

/// Channels of a shard and how many subscribers each has there.
pub type ChannelCounts = Vec<(Arc<str>, u32)>;

/// The answers to a question of this node, as far as they are there.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    channels: BTreeMap<String, u64>,
    done: HashSet<NodeId>,
    too_many: bool,
}

/// The questions of this node that are not answered yet.
pub(super) type Gatherings = HashMap<u64, Gathering>;

/// A question that is waited for. Who asks may hang up.
struct Asking<'a> {
    control: &'a Control,
    id: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.control.gatherings).remove(&self.id);
    }
}

impl Control {
    /// Channels with subscribers on any node, and how many.
    ///
    /// # Errors
    /// When a node does not answer in [`COMMAND_WAIT_MAX`], or has more channels than an answer may name.
    pub async fn channels(&self, pattern: &str) -> Result<BTreeMap<String, u64>, HubError> {
        ChannelPattern::parse(pattern)?;
        let id = u64::from_le_bytes(crate::hub::random_id().0.to_le_bytes()[..8].try_into().unwrap_or_default());
        let full = || BrokerError::Overloaded("too many questions for channels at the same time, try again".into());
        let asking = {
            let mut gatherings = lock(&self.gatherings);
            if gatherings.len() >= SURVEYS_MAX {
                return Err(full().into());
            }
            gatherings.insert(id, Gathering::default());
            Asking { control: self, id }
        };
        let found = tokio::time::timeout(COMMAND_WAIT_MAX, self.survey(id, pattern)).await;
        let gathering = lock(&self.gatherings).remove(&id).unwrap_or_default();
        drop(asking);
        found.map_err(|_| HubError::Timeout)??;
        if gathering.too_many {
            let why = format!("a node has more than {CHANNELS_MAX} such channels: ask with a pattern for fewer");
            return Err(HubError::BadRequest(why.into()));
        }
        Ok(gathering.channels)
    }

    async fn survey(&self, id: u64, pattern: &str) -> Result<(), HubError> {
        self.until(|| self.is_whole().then_some(())).await;
        let (verdict, accepted) = oneshot::channel();
        let survey = Entry::Survey(Survey { id, pattern: pattern.to_owned() });
        self.propose(survey, Some(verdict))?;
        match accepted.await {
            Ok(Outcome::Accepted) => {}
            Ok(Outcome::Refused(why)) => return Err(why.into()),
            Ok(Outcome::Declined) | Err(_) => return Err(HubError::Timeout),
        }
        let answered = |id| lock(&self.gatherings).get(&id).map(|g| g.done.clone()).unwrap_or_default();
        let all = || {
            let done = answered(id);
            self.nodes().iter().all(|(node, _)| done.contains(node)).then_some(())
        };
        self.until(all).await;
        Ok(())
    }

    /// A node asks: the shards are, and what they have is proposed.
    pub(super) fn answer(&self, to: NodeId, survey: &Survey) {
        let Some(runtime) = self.runtime.get().cloned() else { return };
        let Ok(pattern) = ChannelPattern::parse(&survey.pattern) else { return };
        let answers: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let (reply, answer) = oneshot::channel();
                // A shard that has too much to do drops the question, and with it the answer.
                let _ = shard.offer(ShardEvent::Survey { pattern: pattern.clone(), reply });
                answer
            })
            .collect();
        let (control, id) = (self.this.clone(), survey.id);
        runtime.spawn(async move {
            let mut channels: BTreeMap<Arc<str>, u32> = BTreeMap::new();
            for answer in answers {
                let Ok(Ok(counts)) = tokio::time::timeout(COMMAND_WAIT_MAX, answer).await else {
                    tracing::warn!("a shard did not say which channels it has: the question is not answered");
                    return;
                };
                for (channel, count) in counts {
                    *channels.entry(channel).or_default() += count;
                }
            }
            tell(&control, &to, id, channels);
        });
    }

    /// A part of an answer to a question of this node.
    pub(super) fn gather(&self, from: &NodeId, counts: Counts) {
        let mut gatherings = lock(&self.gatherings);
        let Some(gathering) = gatherings.get_mut(&counts.id) else { return };
        for (channel, count) in counts.channels {
            *gathering.channels.entry(channel).or_default() += u64::from(count);
        }
        gathering.too_many |= counts.too_many;
        if counts.last {
            gathering.done.insert(from.clone());
        }
    }
}

fn tell(control: &Weak<Control>, to: &NodeId, id: u64, channels: BTreeMap<Arc<str>, u32>) {
    let Some(control) = control.upgrade() else { return };
    let too_many = channels.len() > CHANNELS_MAX;
    let kept: Vec<_> = channels.into_iter().take(if too_many { 0 } else { CHANNELS_MAX }).collect();
    let mut parts: Vec<_> = kept.chunks(PART).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let count = parts.len();
    for (at, part) in parts.into_iter().enumerate() {
        let channels = part.iter().map(|(channel, count)| (channel.to_string(), *count)).collect();
        let counts = Counts { to: to.to_string(), id, last: at + 1 == count, too_many, channels };
        if let Err(error) = control.propose(Entry::Counts(counts), None) {
            tracing::warn!(%error, "which channels this node has could not be told");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_globs() {
        let matches = |pattern: &str, channel: &str| ChannelPattern::parse(pattern).unwrap().matches(channel);
        assert!(matches("", "anything") && matches("*", "a:b"));
        assert!(matches("job:*", "job:1") && !matches("job:*", "jobs:1") && !matches("job:*", "a job:1"));
        assert!(matches("a*b*", "a-b") && !matches("a*b", "a-b-") && matches("a.?", "a.?") && !matches("a.?", "a.b"));
        assert!(ChannelPattern::parse(&"*".repeat(9)).is_err() && ChannelPattern::parse(&"x".repeat(256)).is_err());
        assert!(matches("(x)", "(x)") && !matches("(x)", "x"));
    }
}
