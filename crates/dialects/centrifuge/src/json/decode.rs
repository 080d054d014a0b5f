//! Bytes to neutral commands.

use std::ops::ControlFlow;

use tidegate_protocol::{Command, DecodeError};
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

use crate::{command, request};

pub(super) fn message(message: &[u8], each: &mut dyn FnMut(Command) -> ControlFlow<()>) -> Result<(), DecodeError> {
    let mut commands = serde_json::Deserializer::from_slice(message).into_iter::<request::Command>();
    let mut count = 0;
    loop {
        // A list would be read as an object's fields in their order.
        let next = message.get(commands.byte_offset()..).unwrap_or_default().trim_ascii_start().first();
        if next.is_some_and(|byte| *byte != b'{') {
            return Err(DecodeError(format!("command {}: not an object", count + 1)));
        }
        let Some(decoded) = commands.next() else { break };
        if count == COMMANDS_PER_FRAME_MAX {
            return Err(DecodeError(format!("more than {COMMANDS_PER_FRAME_MAX} commands in one message")));
        }
        count += 1;
        let decoded = decoded.map_err(|e| DecodeError(format!("command {count}: {e}")))?;
        if each(command::of(decoded)?).is_break() {
            return Ok(());
        }
    }
    if count == 0 {
        return Err(DecodeError("no command in the message".to_owned()));
    }
    Ok(())
}
