//! Bytes to neutral commands.

use std::ops::ControlFlow;

use prost::Message as _;
use prost::encoding::decode_varint;
use tidegate_protocol::{Command, DecodeError};
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

use crate::{command, request};

pub(super) fn message(mut message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
    if message.is_empty() {
        return Err(DecodeError("no command in the message".to_owned()));
    }
    let mut count = 0;
    while !message.is_empty() {
        if count == COMMANDS_PER_FRAME_MAX {
            return Err(DecodeError(format!("more than {COMMANDS_PER_FRAME_MAX} commands in one message")));
        }
        count += 1;
        let wrong = |why: String| DecodeError(format!("command {count}: {why}"));
        let length = decode_varint(&mut message).map_err(|e| wrong(format!("its length: {e}")))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((one, rest)) = message.split_at_checked(length) else {
            return Err(wrong(format!("its length is {length} and {} bytes follow", message.len())));
        };
        message = rest;
        let decoded = request::Command::decode(one).map_err(|e| wrong(e.to_string()))?;
        if each(command::of(decoded)?).is_break() {
            return Ok(());
        }
    }
    Ok(())
}
