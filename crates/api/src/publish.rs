//! `publish`: one publication to one channel. The call that is made most: the request is borrowed from the body.

use tidegate_core::{Hub, HubError};
use tidegate_types::{ChannelName, StreamPosition};

use crate::answer::Failure;
use crate::publication;
use crate::read::Text;

publication::request! {
    'a,
    /// The channel.
    #[schemars(with = "String")]
    channel: Text<'a>
}

/// Publishes and returns where the publication stands. The request is read before the first wait.
pub(crate) fn run<'h>(
    hub: &'h Hub,
    request: Request<'_>,
) -> Result<impl Future<Output = Result<StreamPosition, HubError>> + Send + use<'h>, Failure> {
    let (channel, payload, options) = request.parts()?;
    let channel = ChannelName::parse(&channel.0).map_err(|e| Failure::bad_request(e.to_string()))?;
    Ok(hub.publish(&channel, payload, options))
}
