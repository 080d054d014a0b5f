//! `presence` and `presence_stats`: who is present in a channel, on all nodes.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::{Control, Hub};
use tidegate_types::{ChannelName, ClientInfo};

use crate::answer::{Failure, number, string};
use crate::history::client_info;
use crate::read::or_default;

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
pub(crate) struct Request {
    #[serde(deserialize_with = "or_default")]
    pub(crate) channel: String,
}

/// Everybody in the channel.
pub(crate) async fn members(hub: &Hub, request: Request) -> Result<Vec<Arc<ClientInfo>>, Failure> {
    let (control, channel) = asked(hub, &request)?;
    Ok(control.presence(&channel).await?)
}

/// Clients and users.
pub(crate) async fn stats(hub: &Hub, request: Request) -> Result<(usize, usize), Failure> {
    let (control, channel) = asked(hub, &request)?;
    Ok(control.presence_stats(&channel).await?)
}

fn asked<'h>(hub: &'h Hub, request: &Request) -> Result<(&'h Control, ChannelName), Failure> {
    let channel = ChannelName::parse(&request.channel).map_err(|e| Failure::bad_request(e.to_string()))?;
    let Some(namespace) = hub.namespace(&channel) else {
        return Err(tidegate_core::HubError::UnknownChannel(channel).into());
    };
    match hub.control().filter(|_| namespace.options.presence) {
        Some(control) => Ok((control, channel)),
        None => Err(Failure::not_available("presence is off in the channel's namespace: set presence = true")),
    }
}

/// `{"presence":{"CLIENT":{...}}}`.
pub(crate) fn write(members: &[Arc<ClientInfo>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"presence\":{");
    for (at, info) in members.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(&info.client, out);
        out.push(b':');
        client_info(info, out);
    }
    out.extend_from_slice(b"}}");
}

/// `{"num_clients":...,"num_users":...}`.
pub(crate) fn write_stats((clients, users): (usize, usize), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"num_clients\":");
    number(clients as u64, out);
    out.extend_from_slice(b",\"num_users\":");
    number(users as u64, out);
    out.push(b'}');
}
