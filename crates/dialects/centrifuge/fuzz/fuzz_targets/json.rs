//! JSON commands: what is taken out of them to be put into other clients' messages is one JSON value on one line.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tidegate_dialect_centrifuge::{Emulation, Json, JsonOneWay};
use tidegate_protocol::{Dialect as _, Method, Positions};
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

fn is_one_line_of_json(data: &[u8]) -> bool {
    !data.contains(&b'\n') && serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

fuzz_target!(|message: &[u8]| {
    let mut commands = 0;
    let decoded = Json.decode(message, &mut |command| {
        commands += 1;
        match &command.method {
            Method::Publish { data, .. } | Method::Rpc { data, .. } | Method::Send { data } => {
                assert!(data.is_empty() || is_one_line_of_json(data), "{data:?}");
            }
            Method::Connect(connect) => assert!(connect.data.is_empty() || is_one_line_of_json(&connect.data)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    assert!(commands <= COMMANDS_PER_FRAME_MAX && (commands > 0 || decoded.is_err()));
    let mut first = 0;
    let _ = Json.decode(message, &mut |_| {
        first += 1;
        ControlFlow::Break(())
    });
    assert_eq!(first, commands.min(1));
    let _ = JsonOneWay.decode(message, &mut |_| ControlFlow::Continue(()));
    let _ = Emulation::from_json(message);
    let _ = Positions::parse(&String::from_utf8_lossy(message));
});
