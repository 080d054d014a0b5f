//! The encoder over any two texts: its delta is shorter than the target and makes it again.
//!
//! The target is told as pieces of the base and bytes of its own, as else the two would hardly ever have something in common.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_delta::{apply, create};

const BYTES_MAX: usize = 64 << 10;

fuzz_target!(|input: (&[u8], Vec<(u16, u16, &[u8])>)| {
    let (base, pieces) = input;
    let mut target = Vec::new();
    for (from, count, own) in pieces {
        let from = usize::from(from).min(base.len());
        let to = (from + usize::from(count)).min(base.len());
        target.extend_from_slice(&base[from..to]);
        target.extend_from_slice(own);
        if target.len() > BYTES_MAX {
            return;
        }
    }
    if let Some(delta) = create(base, &target) {
        assert!(delta.len() < target.len());
        assert_eq!(apply(base, &delta, target.len()).as_ref(), Ok(&target));
    }
});
