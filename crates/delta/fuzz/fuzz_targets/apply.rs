//! Deltas that anybody may have made: no more comes out than was allowed, and a second time the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_delta::apply;

const MAX: usize = 64 << 10;

fuzz_target!(|parts: (&[u8], &[u8])| {
    let (base, delta) = parts;
    let applied = apply(base, delta, MAX);
    assert_eq!(applied, apply(base, delta, MAX));
    if let Ok(target) = applied {
        assert!(target.len() <= MAX);
    }
});
