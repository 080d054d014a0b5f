//! Beginning a subscription, and reading on from a cursor.
//!
//! Both are answered from the window on the caller's thread where that is enough, which is the usual case. Otherwise a
//! task warms the partition up, waits for a tail that is behind the client, or reads the log, and then looks again: the
//! last look is always at the window, under its lock, so that what follows is exactly the live stream.

use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::BrokerError;
use tidegate_protocol::Since;
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::COMMAND_WAIT_MAX;
use tidegate_types::{Offset, Publication, StreamPosition};

use crate::config::RecoveryMode;
use crate::error::HubError;
use crate::hub::{Channel, Hub};
use crate::inbox::{ShardEvent, Ticket};
use crate::reader::{LogRead, Span};
use crate::rules::Rules;
use crate::start::{Hidden, ReadAfter, ReadLimits, Start};
use crate::window::{Numbering, all_visible};

/// Where a shard wants an answer.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTo {
    /// The shard.
    pub shard: u16,
    /// Whose command.
    pub ticket: Ticket,
}

/// How far a recovery has come.
struct Recovery<'a> {
    since: &'a Since,
    after: Offset,
    gathered: Vec<Arc<Publication>>,
}

enum Attempt {
    Ready(Start),
    Cold,
    /// The client saw more than this node has read.
    Ahead(Offset),
    NeedsLog {
        until: Offset,
    },
    /// What is missing is more than may be recovered.
    Unrecoverable,
}

/// Looks at the window that one subscription may cost: each look but the last is followed by progress.
const LOOKS_MAX: usize = 16;

/// Pause before a slow reader asks the log again.
const LOG_RETRY: Duration = Duration::from_millis(500);

impl Hub {
    /// Where a subscription begins. The channel must be listened to already. `None`: the answer comes as
    /// [`ShardEvent::Started`] within [`COMMAND_WAIT_MAX`].
    pub fn subscribe(self: &Arc<Self>, channel: &Channel, since: Option<&Since>, reply_to: ReplyTo) -> Option<Start> {
        let by_cache = channel.namespace.options.recovery_mode == RecoveryMode::Cache;
        let mut recovery = since.map(Recovery::new);
        let start = match since.filter(|_| by_cache) {
            Some(since) => self.start_from_cached(channel, since),
            None => match self.attempt(channel, recovery.as_mut()) {
                Attempt::Ready(start) => Some(start),
                _ => None,
            },
        };
        if let Some(start) = start {
            self.count(since, &start);
            return Some(start);
        }
        let (hub, channel, since) = (self.clone(), channel.clone(), since.cloned());
        self.runtime().spawn(async move {
            let slow = async {
                match since.as_ref().filter(|_| by_cache) {
                    Some(since) => hub.start_from_cache(&channel, since).await,
                    None => hub.start_slowly(&channel, since.as_ref()).await,
                }
            };
            let result = match tokio::time::timeout(COMMAND_WAIT_MAX, slow).await {
                Ok(Ok(start)) => {
                    hub.count(since.as_ref(), &start);
                    Ok(start)
                }
                Ok(Err(error)) => Err(hub.refuse(&channel, &error)),
                Err(_) => Err(hub.refuse(&channel, &HubError::Timeout)),
            };
            let ReplyTo { shard, ticket } = reply_to;
            hub.inbox(shard).send(ShardEvent::Started { ticket, result });
        });
        None
    }

    /// What a client is told whose subscription cannot begin. The operator is told too: it may be all clients.
    fn refuse(&self, channel: &Channel, error: &HubError) -> ErrorCode {
        if self.unbegun.is_due(self.clock()) {
            tracing::warn!(partition = channel.cell.name(), %error, "subscriptions cannot begin");
        }
        error.code()
    }

    /// What follows a cursor, from the window alone.
    pub fn read_after(&self, channel: &Channel, after: Offset, bytes_max: usize) -> ReadAfter {
        let top = self.broker_top(channel);
        let limits = ReadLimits { count_max: usize::MAX, bytes_max };
        channel.cell.lock().window.read_on(&channel.key, after, top, limits)
    }

    /// What follows a cursor that the window has left behind: comes as [`ShardEvent::Read`].
    pub fn read_behind(self: &Arc<Self>, channel: &Channel, after: Offset, bytes_max: usize, reply_to: ReplyTo) {
        let (hub, channel) = (self.clone(), channel.clone());
        self.runtime().spawn(async move {
            let until = {
                let broker_top = hub.broker_top(&channel);
                channel.cell.lock().window.live_floor(&channel.key, broker_top)
            };
            let limits = ReadLimits { count_max: usize::MAX, bytes_max };
            let span = Span { after, until, limits, partial: true, from_oldest: false };
            let result = match hub.read_log(&channel, span).await {
                Ok(LogRead::Publications(publications)) => ReadAfter::Publications(publications),
                Ok(LogRead::TooMuch | LogRead::Gone) => ReadAfter::Lost,
                Err(error) => {
                    if hub.unserved.is_due(hub.clock()) {
                        tracing::warn!(partition = channel.cell.name(), %error, "slow readers cannot be served from the log");
                    }
                    if error.is_retryable() {
                        tokio::time::sleep(LOG_RETRY).await;
                        ReadAfter::NeedsLog
                    } else {
                        ReadAfter::Lost
                    }
                }
            };
            let ReplyTo { shard, ticket } = reply_to;
            hub.inbox(shard).send(ShardEvent::Read { ticket, until, result });
        });
    }

    async fn start_slowly(&self, channel: &Channel, since: Option<&Since>) -> Result<Start, HubError> {
        let mut recovery = since.map(Recovery::new);
        for _ in 0..LOOKS_MAX {
            let given_up = match self.attempt(channel, recovery.as_mut()) {
                Attempt::Ready(start) => return Ok(start),
                Attempt::Cold => {
                    self.warm(&channel.log, &channel.cell).await?;
                    false
                }
                Attempt::Ahead(position) => !self.catch_up_with(channel, position).await?,
                Attempt::NeedsLog { until } => !self.gather(channel, recovery.as_mut(), until).await?,
                Attempt::Unrecoverable => true,
            };
            if given_up {
                recovery = None;
            }
        }
        Err(HubError::Timeout)
    }

    /// One look at the window, under its lock.
    fn attempt(&self, channel: &Channel, recovery: Option<&mut Recovery<'_>>) -> Attempt {
        // Before the broker is asked: what comes between its answer and the beginning of a tail is in neither.
        let Some(serving) = channel.cell.lock().serving() else { return Attempt::Cold };
        let broker_top = self.broker_top(channel);
        let mut state = channel.cell.lock();
        if state.serving() != Some(serving) {
            return Attempt::Cold;
        }
        let top = state.window.begin(&channel.key, broker_top);
        let epoch = &channel.log.epoch;
        let start = |publications: Vec<_>, offset, recovered| {
            let position = StreamPosition { offset, epoch: epoch.clone() };
            Attempt::Ready(Start { cursor: top, position, publications, recovered })
        };
        let Some(recovery) = recovery else { return start(Vec::new(), top, false) };
        if !recovery.since.epoch.is_empty() && recovery.since.epoch != epoch.as_str() {
            return start(Vec::new(), top, false);
        }
        if recovery.after > top {
            return Attempt::Ahead(recovery.after);
        }
        let count_max = self.options.client.recovery_publications_max;
        let limits = ReadLimits { count_max: count_max + 1, bytes_max: usize::MAX };
        match state.window.read_after(&channel.key, recovery.after, broker_top, limits) {
            ReadAfter::Publications(newer) => {
                drop(state);
                recovery.gathered.extend(newer);
                if !self.may_recover(channel, &recovery.gathered) {
                    return Attempt::Unrecoverable;
                }
                let publications = std::mem::take(&mut recovery.gathered);
                let own = Offset(recovery.since.offset);
                let offset = if publications.is_empty() { top } else { own };
                start(publications, offset, true)
            }
            ReadAfter::NeedsLog => Attempt::NeedsLog { until: state.window.floor(&channel.key, broker_top) },
            ReadAfter::Lost => Attempt::Unrecoverable,
        }
    }

    /// Whether all that was missed may be returned: bounds of recovery, and what the namespace hides.
    fn may_recover(&self, channel: &Channel, missed: &[Arc<Publication>]) -> bool {
        let client = &self.options.client;
        let bytes: usize = missed.iter().map(|p| p.payload.json().len()).sum();
        missed.len() <= client.recovery_publications_max
            && bytes <= client.recovery_bytes_max
            && all_visible(missed, self.hidden(channel))
    }

    /// What the namespace hides now.
    pub(crate) fn hidden(&self, channel: &Channel) -> Hidden {
        let settings = &channel.namespace.options;
        let age_ms = i64::try_from(settings.history_ttl.as_millis()).unwrap_or(i64::MAX);
        let removed =
            |rules: &Arc<Rules>| rules.removed(self.log_name(channel), &channel.key, channel.log.epoch.as_str());
        Hidden {
            size: settings.history_size as usize,
            oldest_ms: self.clock().wall_ms().saturating_sub(age_ms),
            removed: self.rules().map_or(Offset::ZERO, removed),
        }
    }

    /// Reads what the window no longer has. `false`: it cannot be recovered.
    async fn gather(
        &self,
        channel: &Channel,
        recovery: Option<&mut Recovery<'_>>,
        until: Offset,
    ) -> Result<bool, HubError> {
        let Some(recovery) = recovery else { return Ok(false) };
        let client = &self.options.client;
        let limits = ReadLimits { count_max: client.recovery_publications_max, bytes_max: client.recovery_bytes_max };
        let span = Span { after: recovery.after, until, limits, partial: false, from_oldest: false };
        match self.read_log(channel, span).await? {
            LogRead::Publications(read) => {
                recovery.gathered.extend(read);
                recovery.after = until;
                Ok(true)
            }
            LogRead::TooMuch | LogRead::Gone => Ok(false),
        }
    }

    /// Waits until this node has read what the client saw elsewhere. `false`: the log itself does not reach that far.
    pub(crate) async fn catch_up_with(&self, channel: &Channel, position: Offset) -> Result<bool, HubError> {
        let end = match self.numbering() {
            Numbering::Channel => self.broker_top(channel).unwrap_or_default().last,
            Numbering::Log => channel.log.log.bounds(channel.log.log.partition_of(&channel.key)).await?.end,
        };
        if end < position.0 {
            return Ok(false);
        }
        self.read_up_to(channel, position).await?;
        Ok(true)
    }

    /// Waits until this node has read the log up to a position.
    ///
    /// # Errors
    /// As [`Hub::warm`].
    pub(crate) async fn read_up_to(&self, channel: &Channel, position: Offset) -> Result<(), BrokerError> {
        loop {
            let progressed = channel.cell.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            let top = {
                let broker_top = self.broker_top(channel);
                channel.cell.lock().window.top(&channel.key, broker_top)
            };
            if top >= position {
                return Ok(());
            }
            // Its tail may have ended since.
            self.warm(&channel.log, &channel.cell).await?;
            progressed.await;
        }
    }

    /// Everything of the channel above this is in the window.
    pub(crate) fn floor(&self, channel: &Channel) -> Offset {
        let broker_top = self.broker_top(channel);
        channel.cell.lock().window.floor(&channel.key, broker_top)
    }

    /// What the broker says of the channel, where it numbers channels. Must be asked before the cell is locked.
    pub(crate) fn broker_top(&self, channel: &Channel) -> Option<tidegate_broker::ChannelTop> {
        match self.numbering() {
            Numbering::Channel => Some(channel.log.log.channel_top(&channel.key).unwrap_or_default()),
            Numbering::Log => None,
        }
    }

    fn count(&self, since: Option<&Since>, start: &Start) {
        match (since, start.recovered) {
            (Some(_), true) => self.metrics().recovered.add(1),
            (Some(_), false) => self.metrics().unrecovered.add(1),
            (None, _) => {}
        }
    }
}

impl<'a> Recovery<'a> {
    fn new(since: &'a Since) -> Self {
        Self { since, after: Offset(since.offset), gathered: Vec::new() }
    }
}
