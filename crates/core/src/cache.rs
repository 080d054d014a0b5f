//! Beginning a subscription in cache mode: the newest publication of the channel, whatever the client has missed.
//!
//! For channels whose publications say how things are and not what has happened: prices, scores, whole documents. As
//! elsewhere the last look is at the window under its lock, so that the live stream follows exactly.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::Since;
use tidegate_types::{Offset, Publication, StreamPosition};

use crate::error::HubError;
use crate::hub::{Channel, Hub};
use crate::start::Start;
use crate::window::Wanted;

/// Looks at the log before the window could follow: each look but the last met publications that came and went meanwhile.
const LOOKS_MAX: usize = 4;
/// Between two of them.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

impl Hub {
    /// Where a subscription begins, from the window alone; `None` when it does not hold the newest publication, or the client
    /// has seen more elsewhere.
    pub(crate) fn start_from_cached(&self, channel: &Channel, since: &Since) -> Option<Start> {
        let broker_top = self.broker_top(channel);
        let state = channel.cell.lock();
        let newest = state.is_warm().then(|| state.window.newest(&channel.key)).flatten()?.clone();
        let top = state.window.top(&channel.key, broker_top);
        drop(state);
        if is_ahead(channel, since, top) {
            return None;
        }
        Some(self.cached(channel, since, top, Some(newest)))
    }

    /// The same with what the log has.
    pub(crate) async fn start_from_cache(&self, channel: &Channel, since: &Since) -> Result<Start, HubError> {
        let unknown = Since { offset: 0, epoch: String::new() };
        let mut since = since;
        for _ in 0..LOOKS_MAX {
            self.warm(&channel.log, &channel.cell).await?;
            // Where the log itself does not go so far, the position says nothing.
            let is_ahead = is_ahead(channel, since, self.top_of(channel));
            if is_ahead && !self.catch_up_with(channel, Offset(since.offset)).await? {
                since = &unknown;
            }
            if let Some(start) = self.start_from_cached(channel, since) {
                return Ok(start);
            }
            let floor = self.floor(channel);
            let kept = match channel.namespace.options.has_history() {
                true => self.newest_kept(channel).await?,
                false => None,
            };
            if let Some(start) = self.follow_kept(channel, since, floor, kept) {
                return Ok(start);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(HubError::Timeout)
    }

    /// The newest publication that shows; `None` also where the log would have to be searched too far for it.
    async fn newest_kept(&self, channel: &Channel) -> Result<Option<Arc<Publication>>, HubError> {
        match self.visible(channel, &Wanted::NEWEST).await {
            Ok((_, mut found)) => Ok(found.pop()),
            Err(HubError::Unrecoverable(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the window does not hold lies in the log up to `floor`, and `kept` was read from there; `None` when the window
    /// has taken something since.
    fn follow_kept(
        &self,
        channel: &Channel,
        since: &Since,
        floor: Offset,
        kept: Option<Arc<Publication>>,
    ) -> Option<Start> {
        let broker_top = self.broker_top(channel);
        let top = {
            let mut state = channel.cell.lock();
            let is_same = state.window.floor(&channel.key, broker_top) == floor;
            (state.window.newest(&channel.key).is_none() && is_same)
                .then(|| state.window.begin(&channel.key, broker_top))?
        };
        Some(self.cached(channel, since, top, kept))
    }

    fn cached(&self, channel: &Channel, since: &Since, top: Offset, newest: Option<Arc<Publication>>) -> Start {
        let hidden = self.hidden(channel);
        let newest = newest.filter(|p| hidden.shows(p));
        let epoch = &channel.log.epoch;
        let has = |p: &Arc<Publication>| since.epoch == epoch.as_str() && since.offset >= p.offset.0;
        let recovered = newest.is_some();
        let publications: Vec<_> = newest.into_iter().filter(|p| !has(p)).collect();
        let offset = publications.first().map_or(top, |p| p.offset);
        Start { cursor: top, position: StreamPosition { offset, epoch: epoch.clone() }, publications, recovered }
    }
}

/// Whether a client has seen more of the channel than this node has read.
fn is_ahead(channel: &Channel, since: &Since, top: Offset) -> bool {
    since.epoch == channel.log.epoch.as_str() && since.offset > top.0
}
