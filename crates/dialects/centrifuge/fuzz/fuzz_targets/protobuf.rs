//! Protobuf commands: any bytes give commands or an error, and no more commands than a message may have.
#![no_main]

use std::ops::ControlFlow;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_dialect_centrifuge::{Emulation, Protobuf};
use tidegate_protocol::Dialect as _;
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

fuzz_target!(|message: &[u8]| {
    let mut commands = 0;
    let decoded = Protobuf.decode(message, &mut |_| {
        commands += 1;
        ControlFlow::Continue(())
    });
    assert!(commands <= COMMANDS_PER_FRAME_MAX && (commands > 0 || decoded.is_err()));
    let mut first = 0;
    let _ = Protobuf.decode(message, &mut |_| {
        first += 1;
        ControlFlow::Break(())
    });
    assert_eq!(first, commands.min(1));
    let _ = Emulation::from_protobuf(Bytes::copy_from_slice(message));
});
