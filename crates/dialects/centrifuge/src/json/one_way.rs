//! JSON for clients that only listen: a connect request and nothing else goes up, bare pushes come down.

use std::ops::ControlFlow;

use tidegate_protocol::{Command, Data, DecodeError, Dialect, Method, Push, Reply};
use tidegate_types::Publication;

use super::encode;
use crate::{command, request};

/// The unidirectional form of the Centrifuge client protocol v2.
///
/// A message to the server is a connect request, without the command around it; an empty one is a request without
/// anything in it.
#[derive(Clone, Copy, Default, Debug)]
pub struct JsonOneWay;

impl Dialect for JsonOneWay {
    fn name(&self) -> &'static str {
        "centrifuge-json-one-way"
    }

    fn is_text(&self) -> bool {
        true
    }

    fn is_one_way(&self) -> bool {
        true
    }

    fn decode(&self, message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
        let request = match message.trim_ascii_start().first() {
            None => request::Connect::default(),
            // A list would be read as an object's fields in their order.
            Some(b'{') => serde_json::from_slice(message).map_err(|e| DecodeError(format!("connect request: {e}")))?,
            Some(_) => return Err(DecodeError("connect request: not an object".to_owned())),
        };
        let _ = each(Command { id: 1, method: Method::Connect(Box::new(command::connect(request)?)) });
        Ok(())
    }

    fn encode_reply(&self, _: u32, reply: &Reply, out: &mut Vec<u8>) {
        // Nothing else is ever asked for; a refused connect ends the connection.
        if let Reply::Connect(result) = reply {
            encode::push_body(&Push::Connected(result), out);
            encode::padding(result, out);
        }
    }

    fn encode_push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        encode::push_body(push, out);
    }

    fn encode_publication(&self, channel: &str, publication: &Publication, data: Data<'_>, out: &mut Vec<u8>) {
        encode::publication_body(channel, publication, data, out);
    }

    fn encode_ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{}");
    }

    fn separator(&self) -> &'static [u8] {
        b"\n"
    }
}
