//! Reading one channel from the log itself, for what the window no longer holds.
//!
//! Invariant: an answer is whole or says that it is not. A read that meets a bound is [`LogRead::TooMuch`], one that
//! starts before what the log keeps is [`LogRead::Gone`]; neither is a shorter list.

use std::sync::Arc;

use tidegate_broker::{BrokerError, PageLimits};
use tidegate_types::{Offset, Publication};

use crate::cell::CellLife;
use crate::hub::{Channel, Hub};
use crate::judge::{Judge, Verdict};
use crate::reads::{Known, Page, PageEnd, What};
use crate::start::ReadLimits;
use crate::window::{Numbering, to_publication};

/// What a read of the log brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LogRead {
    /// Everything asked for, oldest first (with [`Span::partial`]: the first part of it, never empty unless all is).
    Publications(Vec<Arc<Publication>>),
    /// More than the limits allow.
    TooMuch,
    /// The log no longer has the first of it.
    Gone,
}

/// What to read: publications with an offset above `after` and up to `until`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Span {
    pub(crate) after: Offset,
    pub(crate) until: Offset,
    pub(crate) limits: ReadLimits,
    /// Stop at the limits with what there is, instead of [`LogRead::TooMuch`].
    pub(crate) partial: bool,
    /// Begin where the log begins when `after` lies before that, instead of [`LogRead::Gone`].
    pub(crate) from_oldest: bool,
}

/// Records and bytes of one page asked of the log.
const PAGE: PageLimits = PageLimits { records_max: 2_000, bytes_max: 1 << 20 };

struct Gathered {
    publications: Vec<Arc<Publication>>,
    bytes: usize,
    limits: ReadLimits,
}

impl Gathered {
    fn new(limits: ReadLimits) -> Self {
        Self { publications: Vec::new(), bytes: 0, limits }
    }

    /// Takes one more; `false` when that is too much. The first one never is. The last of a page is taken all the same, so
    /// that the next page begins behind it.
    fn push(&mut self, publication: Publication, is_page: bool) -> bool {
        let bytes = self.bytes + publication.payload.json().len();
        let fits = self.publications.len() < self.limits.count_max && bytes <= self.limits.bytes_max;
        let has_room = fits || self.publications.is_empty();
        if has_room || is_page {
            self.bytes = bytes;
            self.publications.push(Arc::new(publication));
        }
        has_room
    }
}

impl Hub {
    /// Reads one channel from the log. At most a few such reads run at the same time, and the same one once.
    pub(crate) async fn read_log(&self, channel: &Channel, span: Span) -> Result<LogRead, BrokerError> {
        let read = self.reads.join(What { cell: channel.cell.life(), key: channel.key.clone(), span });
        read.get_or_init(|| self.read_alone(channel, span)).await.clone()
    }

    async fn read_alone(&self, channel: &Channel, span: Span) -> Result<LogRead, BrokerError> {
        let _permit = self.reads.permit().await;
        let life = channel.cell.life();
        let read = match self.numbering() {
            Numbering::Channel => {
                self.metrics().log_reads.add(1);
                read_channel(channel, span).await?
            }
            Numbering::Log => self.scan(channel, life, span).await?,
        };
        // What was read of a log that was made anew meanwhile is not what the positions meant.
        channel.log.check()?;
        Ok(read)
    }

    /// A log with holes is read as a range of the partition. It starts early enough to see the duplicates that
    /// everybody else suppressed.
    async fn scan(&self, channel: &Channel, life: CellLife, span: Span) -> Result<LogRead, BrokerError> {
        let scan_max = self.options.client.recovery_scan_records_max as u64;
        if channel.log.compacted {
            return Ok(LogRead::Gone);
        }
        if span.until.0.saturating_sub(span.after.0) > scan_max {
            return Ok(LogRead::TooMuch);
        }
        let known = span.partial.then(|| self.reads.known(life, &channel.key, span.after)).flatten();
        if let Some(Known::Publications(publications)) = known {
            return Ok(LogRead::Publications(publications));
        }
        self.metrics().log_reads.add(1);
        if let Some(Known::End(end)) = known {
            return match self.scan_from(channel, life, span, end).await {
                Err(BrokerError::OutOfRange(_)) => Ok(LogRead::Gone),
                read => read,
            };
        }
        // Retention may move the start while it is read, and what is asked for may lie behind that all the same.
        for _ in 0..2 {
            let Some(begin) = self.begin_of(channel, span).await? else { return Ok(LogRead::Gone) };
            match self.scan_from(channel, life, span, begin).await {
                Err(BrokerError::OutOfRange(_)) => {}
                read => return read,
            }
        }
        match span.from_oldest {
            true => Err(BrokerError::Unavailable("the start of the log moves while it is read, retry".into())),
            false => Ok(LogRead::Gone),
        }
    }

    /// Where to begin so that duplicates are seen; `None` where the first of what is asked for is gone.
    async fn begin_of(&self, channel: &Channel, span: Span) -> Result<Option<PageEnd>, BrokerError> {
        let log = &channel.log.log;
        let start = log.bounds(log.partition_of(&channel.key)).await?.start;
        let depth = self.options.window.dedup_offsets;
        let next = span.after.0.saturating_sub(depth).max(start);
        let is_there = span.after.0 >= start || span.from_oldest;
        Ok(is_there.then(|| PageEnd { next, judge: Judge::new(depth) }))
    }

    async fn scan_from(
        &self,
        channel: &Channel,
        life: CellLife,
        span: Span,
        from: PageEnd,
    ) -> Result<LogRead, BrokerError> {
        let partition = channel.log.log.partition_of(&channel.key);
        let mut gathered = Gathered::new(span.limits);
        let PageEnd { next: mut at, mut judge } = from;
        while at < span.until.0 {
            let page = channel.log.log.read(partition, at, span.until.0, PAGE).await?;
            if page.next <= at {
                return Err(BrokerError::Unavailable(format!("the log did not go on at offset {at}, retry").into()));
            }
            at = page.next;
            for record in page.records {
                let counts = record.key == channel.key
                    && judge.judge(&record) == Verdict::Accepted
                    && record.payload.is_some()
                    && channel.namespace.takes(&record);
                if !counts {
                    continue;
                }
                let offset = Offset(record.log_offset + 1);
                if offset <= span.after {
                    continue;
                }
                let has_room = gathered.push(to_publication(record, offset), span.partial);
                if !has_room && span.partial {
                    let end = PageEnd { next: offset.0, judge };
                    let (cell, key, publications) = (life, channel.key.clone(), gathered.publications);
                    let read = LogRead::Publications(publications.clone());
                    self.reads.keep(Page { cell, key, after: span.after, publications, end: Some(end) });
                    return Ok(read);
                }
                if !has_room {
                    return Ok(LogRead::TooMuch);
                }
            }
        }
        Ok(LogRead::Publications(gathered.publications))
    }
}

/// A broker that numbers per channel reads by channel.
async fn read_channel(channel: &Channel, span: Span) -> Result<LogRead, BrokerError> {
    let mut gathered = Gathered::new(span.limits);
    let mut after = span.after;
    let mut first = true;
    while after < span.until {
        let page = channel.log.log.read_channel(&channel.key, after.0, PAGE).await?;
        let gone = page.first_kept() > after.0 + 1;
        if gone && !(first && span.from_oldest) {
            return Ok(LogRead::Gone);
        }
        if page.records.is_empty() {
            break;
        }
        first = false;
        for record in page.records {
            let offset = Offset(record.channel_offset.unwrap_or_default());
            after = offset;
            if offset > span.until {
                break;
            }
            let counts = record.payload.is_some() && channel.namespace.takes(&record);
            if counts && !gathered.push(to_publication(record, offset), span.partial) {
                return Ok(if span.partial { LogRead::Publications(gathered.publications) } else { LogRead::TooMuch });
            }
        }
    }
    Ok(LogRead::Publications(gathered.publications))
}
