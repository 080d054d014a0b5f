//! The difference of a publication to the one before in its channel, made once for all who take it.
//!
//! Text encodings carry text: there the difference is made of what their clients end up with, and has to be text itself.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_types::Publication;

use crate::channel::Channel;

/// See the module docs.
pub(crate) struct Differences<'a> {
    base: Option<&'a Arc<Publication>>,
    publication: &'a Publication,
    text: Option<Option<Vec<u8>>>,
    raw: Option<Option<Vec<u8>>>,
}

impl<'a> Differences<'a> {
    /// None are made where the publication is not for that, or nothing is known that came before.
    pub(crate) fn new(channel: &'a Channel, publication: &'a Publication) -> Self {
        let asked = publication.meta.as_ref().is_some_and(|meta| meta.delta);
        let wanted = asked || channel.hub.namespace().options.delta_publish;
        Self { base: channel.last.as_ref().filter(|_| wanted), publication, text: None, raw: None }
    }

    /// The difference for encodings that are text, or that are not; `None` when the whole is no longer.
    pub(crate) fn of(&mut self, text: bool) -> Option<&[u8]> {
        let base = self.base?;
        let publication = self.publication;
        let made = match text {
            true => self.text.get_or_insert_with(|| {
                let made = between(base.payload.text()?, publication.payload.text()?)?;
                std::str::from_utf8(&made).is_ok().then_some(made)
            }),
            false => self.raw.get_or_insert_with(|| between(base.payload.raw(), publication.payload.raw())),
        };
        made.as_deref()
    }
}

fn between(base: &Bytes, target: &Bytes) -> Option<Vec<u8>> {
    tidegate_delta::create(base, target)
}
