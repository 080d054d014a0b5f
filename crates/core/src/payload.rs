//! Decides, once per record, what JSON clients get in the place of a payload.
//!
//! Invariant: [`Payload::json`] is always one valid JSON value without a raw newline, because the JSON encodings are
//! separated by newlines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use tidegate_types::{Payload, PayloadKind};

/// Whether the bytes are one valid JSON value, and UTF-8 as such a value is (RFC 8259 section 8.1).
pub fn is_json(raw: &[u8]) -> bool {
    // Whoever ignores a string does not look whether it is UTF-8.
    std::str::from_utf8(raw).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Valid JSON stays as it is but for newlines between tokens; other UTF-8 becomes a JSON string; anything else a
/// base64 string.
pub fn classify(raw: Bytes) -> Payload {
    if is_json(&raw) {
        let json = if raw.iter().any(|b| matches!(b, b'\n' | b'\r')) {
            // Inside strings JSON has no raw newlines, so all of them stand between tokens.
            raw.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect()
        } else {
            raw.clone()
        };
        return Payload::new(raw, json, PayloadKind::Json);
    }
    match std::str::from_utf8(&raw) {
        Ok(text) => {
            let json = serde_json::to_vec(text).expect("a string serialises");
            Payload::new(raw, json.into(), PayloadKind::Text)
        }
        Err(_) => {
            let json = format!("\"{}\"", STANDARD.encode(&raw));
            Payload::new(raw, json.into(), PayloadKind::Binary)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &'static [u8], json: &str, kind: PayloadKind) {
        let payload = classify(Bytes::from_static(raw));
        assert_eq!(std::str::from_utf8(payload.json()).unwrap(), json);
        assert_eq!(payload.kind(), kind);
        assert_eq!(payload.raw(), raw);
    }

    #[test]
    fn json_stays_text_is_quoted_and_bytes_become_base64() {
        check(b"{\"a\":1}", "{\"a\":1}", PayloadKind::Json);
        check(b"{\n \"a\":\r\n 1}", "{ \"a\": 1}", PayloadKind::Json);
        check(b"42", "42", PayloadKind::Json);
        check(b"step 1\nof 2", "\"step 1\\nof 2\"", PayloadKind::Text);
        check(b"{\"a\":", "\"{\\\"a\\\":\"", PayloadKind::Text);
        check(b"", "\"\"", PayloadKind::Text);
        check(b"\xff\x00", "\"/wA=\"", PayloadKind::Binary);
        check(b"\"\xff\"", "\"Iv8i\"", PayloadKind::Binary);
        check(b"{\"\xc3\":1}", "\"eyLDIjoxfQ==\"", PayloadKind::Binary);
    }

    proptest::proptest! {
        #[test]
        fn what_json_clients_get_is_always_json_in_one_line(
            raw in proptest::collection::vec(proptest::prop_oneof![
                proptest::sample::select(b"\"{}[]:,\\u0d8 \n1e-tru".to_vec()),
                proptest::num::u8::ANY,
            ], 0..12),
            quoted: bool,
        ) {
            let raw = if quoted { [b"\"", raw.as_slice(), b"\""].concat() } else { raw };
            let payload = classify(raw.into());
            let text = std::str::from_utf8(payload.json()).unwrap();
            proptest::prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_ok() && !text.contains('\n'));
        }
    }
}
