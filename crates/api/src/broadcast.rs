//! `broadcast`: the same publication to many channels, each with an answer of its own.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tidegate_core::Hub;
use tidegate_types::{ChannelName, StreamPosition};

use crate::answer::{Failure, position, separate};
use crate::publication;
use crate::read::Text;

/// Publications of one request that wait for the log at the same time.
pub(crate) const IN_FLIGHT_MAX: usize = 64;

publication::request! {
    'a,
    // As many as the bound of a body holds.
    /// The channels.
    #[schemars(with = "Vec<String>")]
    channels: Vec<Text<'a>>
}

/// `{"responses":[...]}`, one for each channel in the order of the request.
pub(crate) async fn run(hub: &Hub, request: Request<'_>) -> Result<Vec<u8>, Failure> {
    if request.channels.is_empty() {
        return Err(Failure::bad_request("channels is empty"));
    }
    let (channels, payload, options) = request.parts()?;
    let mut out = b"{\"responses\":[".to_vec();
    let mut waiting = FuturesOrdered::new();
    for channel in &channels {
        if waiting.len() == IN_FLIGHT_MAX
            && let Some(result) = waiting.next().await
        {
            write(result, &mut out);
        }
        let (payload, options) = (payload.clone(), options.clone());
        waiting.push_back(async move {
            let channel = ChannelName::parse(&channel.0).map_err(|e| Failure::bad_request(e.to_string()))?;
            Ok(hub.publish(&channel, payload, options).await?)
        });
    }
    while let Some(result) = waiting.next().await {
        write(result, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn write(result: Result<StreamPosition, Failure>, out: &mut Vec<u8>) {
    separate(out);
    match result {
        Ok(at) => {
            out.extend_from_slice(b"{\"result\":");
            position(&at, out);
            out.push(b'}');
        }
        Err(failure) => failure.write_wrapped(out),
    }
}
