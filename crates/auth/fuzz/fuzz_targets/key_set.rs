//! Key sets and PEM: whatever an endpoint or a file says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_auth::{Endpoint, PublicKey};

fuzz_target!(|data: &[u8]| {
    let _ = tidegate_auth::check_jwks(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PublicKey::from_pem(text);
        let _ = Endpoint::parse(text);
    }
});
