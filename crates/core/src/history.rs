//! Reading kept publications.

use std::sync::Arc;

use tidegate_protocol::{History, HistoryResult};
use tidegate_types::limits::{COMMAND_WAIT_MAX, RULE_SECONDS_MAX};
use tidegate_types::{ChannelName, Offset, Publication, StreamPosition};

use crate::error::HubError;
use crate::hub::{Channel, Hub};
use crate::reader::{LogRead, Span};
use crate::rules::Rule;
use crate::start::{Hidden, ReadLimits};
use crate::window::{Numbering, Wanted};

impl Hub {
    /// Kept publications of a channel and where it stands.
    ///
    /// # Errors
    /// [`HubError::NotAvailable`] without history; [`HubError::Unrecoverable`] for a position of another epoch, or when
    /// the log cannot be searched far enough within the bounds: never a silently shorter list.
    pub async fn history(&self, query: &History) -> Result<HistoryResult, HubError> {
        self.history_within(query, usize::MAX).await
    }

    /// The same, with no more than so many bytes of payloads but for the first publication. What does not fit any more comes
    /// after the last of the answer, in the order asked for.
    ///
    /// # Errors
    /// Those of [`Hub::history`].
    pub async fn history_within(&self, query: &History, bytes_max: usize) -> Result<HistoryResult, HubError> {
        let name = ChannelName::parse(&query.channel)?;
        let channel = self.channel(&name)?;
        if !channel.namespace.options.has_history() {
            let text = format!("channel {name:?}: its namespace keeps no history, set history_size and history_ttl");
            return Err(HubError::NotAvailable(text.into()));
        }
        self.check_since(&channel, query)?;
        let read = self.history_of(&channel, query, bytes_max);
        tokio::time::timeout(COMMAND_WAIT_MAX, read).await.map_err(|_| HubError::Timeout)?
    }

    /// Takes the history of a channel away: what was published before is neither history nor can it be recovered. Positions
    /// stay, and who is subscribed notices nothing.
    ///
    /// # Errors
    /// [`HubError::NotAvailable`] without history, or where no rules of backends are kept; an error of the log.
    pub async fn remove_history(&self, name: &ChannelName) -> Result<(), HubError> {
        let channel = self.channel(name)?;
        if !channel.namespace.options.has_history() {
            return Err(HubError::NotAvailable(format!("channel {name:?}: its namespace keeps no history").into()));
        }
        let rules = self.rules().ok_or(HubError::NotAvailable(
            "no history can be removed here: set rules.enabled = true and make its log, on Kafka a topic".into(),
        ))?;
        let offset = match self.numbering() {
            Numbering::Channel => self.broker_top(&channel).unwrap_or_default().last,
            Numbering::Log => channel.log.log.bounds(channel.log.log.partition_of(&channel.key)).await?.end,
        };
        let age = channel.namespace.options.history_ttl.as_secs().min(RULE_SECONDS_MAX.unsigned_abs());
        let until = (self.clock().wall_ms() / 1000).saturating_add(i64::try_from(age).unwrap_or(RULE_SECONDS_MAX)) + 1;
        let epoch = channel.log.epoch.as_str().to_owned();
        let (log, key) = (self.log_name(&channel).to_owned(), channel.key.to_string());
        rules.decide(Rule::Remove { log, key, offset, epoch, until }).await
    }

    fn check_since(&self, channel: &Channel, query: &History) -> Result<(), HubError> {
        let Some(since) = &query.since else { return Ok(()) };
        if !since.epoch.is_empty() && since.epoch != channel.log.epoch.as_str() {
            return Err(HubError::Unrecoverable("since.epoch is not the stream's epoch".into()));
        }
        if query.reverse && since.offset == 0 {
            return Err(HubError::BadRequest(
                "reverse needs a since.offset above 0: nothing comes before the beginning".into(),
            ));
        }
        Ok(())
    }

    async fn history_of(
        &self,
        channel: &Channel,
        query: &History,
        bytes_max: usize,
    ) -> Result<HistoryResult, HubError> {
        self.warm_idle(channel).await?;
        if self.numbering() == Numbering::Log {
            // Another node may have answered a publish that this one has not read.
            let end = channel.log.log.bounds(channel.log.log.partition_of(&channel.key)).await?.end;
            self.read_up_to(channel, Offset(end)).await?;
        }
        let wanted = wanted(query, bytes_max);
        let (top, publications) = match query.limit {
            0 => (self.top_of(channel), Vec::new()),
            _ => self.visible(channel, &wanted).await?,
        };
        Ok(HistoryResult { publications, top: StreamPosition { offset: top, epoch: channel.log.epoch.clone() } })
    }

    pub(crate) fn top_of(&self, channel: &Channel) -> Offset {
        let broker_top = self.broker_top(channel);
        channel.cell.lock().window.top(&channel.key, broker_top)
    }

    /// Warms the partition up for a reader that is no subscriber: the tail lingers and stops by itself.
    async fn warm_idle(&self, channel: &Channel) -> Result<(), HubError> {
        {
            let mut state = channel.cell.lock();
            if state.window.listeners() == 0 {
                state.idle_since_us = Some(self.clock().monotonic_us());
            }
        }
        Ok(self.warm(&channel.log, &channel.cell).await?)
    }

    /// What is asked for of all that the channel's namespace shows, and the channel's top. The log is read only for what
    /// the window does not hold.
    pub(crate) async fn visible(
        &self,
        channel: &Channel,
        wanted: &Wanted,
    ) -> Result<(Offset, Vec<Arc<Publication>>), HubError> {
        let hidden = self.hidden(channel);
        let broker_top = self.broker_top(channel);
        let (top, floor, shown) = {
            let state = channel.cell.lock();
            let window = &state.window;
            let shown = window.shown(&channel.key, hidden, wanted);
            (window.top(&channel.key, broker_top), window.floor(&channel.key, broker_top), shown)
        };
        let complete = floor == Offset::ZERO || shown.held >= hidden.size;
        if complete || wanted.is_met_above(floor, &shown) {
            return Ok((top, shown.publications));
        }
        let needed = wanted.needs(hidden.size).saturating_sub(shown.count);
        let older = self.older(channel, floor, hidden, needed).await?;
        Ok((top, wanted.join(hidden, &older, &shown)))
    }

    /// What the log has of the channel up to `until`: at least the newest `needed` of what shows.
    async fn older(
        &self,
        channel: &Channel,
        until: Offset,
        hidden: Hidden,
        needed: usize,
    ) -> Result<Vec<Arc<Publication>>, HubError> {
        let reach = match self.numbering() {
            Numbering::Channel => hidden.size as u64,
            Numbering::Log => self.options.client.recovery_scan_records_max as u64,
        };
        let after = Offset(until.0.saturating_sub(reach));
        let limits = ReadLimits { count_max: usize::MAX, bytes_max: HISTORY_READ_BYTES_MAX };
        let span = Span { after, until, limits, partial: false, from_oldest: true };
        match self.read_log(channel, span).await? {
            LogRead::Publications(read) => {
                let found = read.iter().filter(|p| hidden.shows(p)).count();
                // Before what was removed, or is too old, nothing shows.
                let is_old = |p: &Arc<Publication>| !hidden.shows(p);
                let nothing_before =
                    after < hidden.removed || (read.len() >= needed && read.first().is_some_and(is_old));
                let whole = nothing_before || self.reached(channel, after, found, needed).await?;
                if whole { Ok(read) } else { Err(too_far()) }
            }
            LogRead::TooMuch => Err(too_far()),
            LogRead::Gone => Ok(Vec::new()),
        }
    }

    /// Whether a read back to `after` found all there is to find.
    async fn reached(&self, channel: &Channel, after: Offset, found: usize, needed: usize) -> Result<bool, HubError> {
        if self.numbering() == Numbering::Channel || found >= needed || after == Offset::ZERO {
            return Ok(true);
        }
        let bounds = channel.log.log.bounds(channel.log.log.partition_of(&channel.key)).await?;
        Ok(after.0 <= bounds.start)
    }
}

fn too_far() -> HubError {
    let text = "the log would have to be searched further back than client.recovery_scan_records_max allows";
    HubError::Unrecoverable(text.into())
}

fn wanted(query: &History, bytes_max: usize) -> Wanted {
    let count_max = usize::try_from(query.limit).unwrap_or(usize::MAX);
    Wanted {
        since: query.since.as_ref().map(|since| Offset(since.offset)),
        reverse: query.reverse,
        limits: ReadLimits { count_max, bytes_max },
    }
}

/// Bytes that one history answer may gather from the log.
const HISTORY_READ_BYTES_MAX: usize = 16 << 20;
