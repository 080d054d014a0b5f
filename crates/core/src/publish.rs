//! Publishing: from a channel's name to a position in its log.

use bytes::Bytes;
use tidegate_broker::{Appended, BrokerError, Keep, Record};
use tidegate_types::limits::{COMMAND_WAIT_MAX, IDEMPOTENCY_KEY_BYTES_MAX, TAGS_MAX};
use tidegate_types::{ChannelName, ClientInfo, Meta, Offset, StreamPosition, Tags, Version};

use crate::config::DataFormat;
use crate::error::HubError;
use crate::hub::{Channel, Hub};
use crate::judge::Verdict;
use crate::payload;
use crate::window::Numbering;

/// What may go with a payload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PublishOptions {
    /// Labels for subscribers.
    pub tags: Tags,
    /// The publisher, when a client publishes.
    pub info: Option<ClientInfo>,
    /// Makes a retried publish land once.
    pub idempotency_key: Option<String>,
    /// Suppresses this publication where a version as high was seen.
    pub version: Option<Version>,
    /// Subscribers who take deltas may get the difference to the publication before.
    pub delta: bool,
    /// Public id of a session that does not get it.
    pub exclude: Option<String>,
}

impl Hub {
    /// Publishes and returns where the publication stands, once the log has acknowledged it. For a duplicate: where the
    /// first one stands; for an old version: the top of the channel.
    ///
    /// # Errors
    /// A bad request, or what the log says. [`HubError::is_retryable`] tells whether to try again.
    pub fn publish<'h>(
        &'h self,
        channel: &ChannelName,
        data: Bytes,
        options: PublishOptions,
    ) -> impl Future<Output = Result<StreamPosition, HubError>> + Send + use<'h> {
        // Publishes wait by the ten thousand: their futures hold what has to wait and nothing else.
        let begun_us = self.clock().monotonic_us();
        let prepared = self.prepare(channel, data, options);
        async move {
            let result = match prepared {
                Ok((channel, record)) => self.append(&channel, record).await,
                Err(error) => Err(error),
            };
            let metrics = self.metrics();
            match &result {
                Ok(_) => metrics.publishes.add(1),
                Err(_) => metrics.publish_errors.add(1),
            }
            metrics.publish_to_ack.record(self.clock().monotonic_us() - begun_us);
            result
        }
    }

    fn prepare(&self, name: &ChannelName, data: Bytes, options: PublishOptions) -> Result<(Channel, Record), HubError> {
        let channel = self.channel(name)?;
        check(&channel, name, &data, &options)?;
        let settings = &channel.namespace.options;
        let meta = Meta {
            tags: options.tags,
            info: options.info,
            idempotency_key: options.idempotency_key,
            version: options.version,
            delta: options.delta,
            exclude: options.exclude,
        };
        let keep = Keep { count_max: settings.history_size, age_max: settings.history_ttl };
        let record = Record { key: channel.key.clone(), payload: data, meta: meta.boxed(), keep };
        Ok((channel, record))
    }

    async fn append(&self, channel: &Channel, record: Record) -> Result<StreamPosition, HubError> {
        let judged = record.meta.as_ref().is_some_and(|m| m.idempotency_key.is_some() || m.version.is_some());
        let wait_for_verdict = judged && self.numbering() == Numbering::Log;
        if wait_for_verdict {
            Box::pin(self.warm_for_verdict(channel)).await?;
        }
        let appended = channel.log.log.append(record).await?;
        let offset = match wait_for_verdict {
            true => Box::pin(self.judged_offset(channel, appended)).await?,
            false => client_offset(appended),
        };
        Ok(StreamPosition { offset, epoch: channel.log.epoch.clone() })
    }

    /// The answer to a publish with a key or version is what the window decides, so this node tails the partition.
    async fn warm_for_verdict(&self, channel: &Channel) -> Result<(), HubError> {
        let warm = async {
            {
                let mut state = channel.cell.lock();
                if state.window.listeners() == 0 {
                    state.idle_since_us = Some(self.clock().monotonic_us());
                }
            }
            self.warm(&channel.log, &channel.cell).await
        };
        Ok(tokio::time::timeout(COMMAND_WAIT_MAX, warm).await.map_err(|_| HubError::Timeout)??)
    }

    async fn judged_offset(&self, channel: &Channel, appended: Appended) -> Result<Offset, HubError> {
        let is_here = channel.log.cells.get(appended.partition.0 as usize).is_some_and(|c| c.id == channel.cell.id);
        if !is_here || channel.log.check().is_err() {
            let why = "the log was made anew or re-partitioned while it took the record";
            return Err(BrokerError::UnknownOutcome(why.into()).into());
        }
        let verdict = channel.cell.verdict(appended.log_offset);
        let shown = async {
            // A tail that has ended since is followed by another, which comes by the record as well.
            self.warm(&channel.log, &channel.cell).await.ok();
            verdict.await
        };
        match tokio::time::timeout(COMMAND_WAIT_MAX, shown).await {
            Ok(Ok(Verdict::Accepted)) => Ok(client_offset(appended)),
            Ok(Ok(Verdict::Duplicate { first })) => Ok(Offset(first + 1)),
            Ok(Ok(Verdict::OldVersion)) => Ok(Offset(appended.log_offset + 1)),
            Ok(Err(_)) | Err(_) => {
                channel.cell.give_up_verdict(appended.log_offset);
                Err(BrokerError::UnknownOutcome("the log took the record but did not show it in time".into()).into())
            }
        }
    }

    pub(crate) fn numbering(&self) -> Numbering {
        self.numbering
    }
}

fn client_offset(appended: Appended) -> Offset {
    Offset(appended.channel_offset.unwrap_or(appended.log_offset + 1))
}

fn check(channel: &Channel, name: &ChannelName, data: &Bytes, options: &PublishOptions) -> Result<(), HubError> {
    let settings = &channel.namespace.options;
    if settings.read_only {
        let text = format!("channel {name:?}: its namespace is read_only, publish to its log by other means");
        return Err(HubError::NotAvailable(text.into()));
    }
    if data.is_empty() {
        return Err(HubError::BadRequest("data is empty".into()));
    }
    if settings.data_format == DataFormat::Json && !payload::is_json(data) {
        return Err(HubError::BadRequest(
            "data is not JSON, which the namespace's publication_data_format asks for".into(),
        ));
    }
    if options.idempotency_key.as_ref().is_some_and(|k| k.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
        let text = format!("idempotency_key is longer than {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(HubError::BadRequest(text.into()));
    }
    if options.tags.len() > TAGS_MAX {
        return Err(HubError::BadRequest(format!("more than {TAGS_MAX} tags").into()));
    }
    Ok(())
}
