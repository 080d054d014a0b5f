//! Appends JSON tokens to a buffer: no allocation but the buffer's growth, no formatting machinery.

/// Appends an object member by member; knows when a comma is due.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Begins a member with a name that needs no escape; its value is to be appended.
    #[inline]
    pub(super) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Begins a member with any name.
    pub(super) fn key_escaped(&mut self, name: &str) -> &mut Vec<u8> {
        self.separate();
        string(name, self.out);
        self.out.push(b':');
        self.out
    }

    #[inline]
    fn separate(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// A nested object.
    #[inline]
    pub(super) fn object(&mut self, name: &str) -> Object<'_> {
        Object::begin(self.key(name))
    }

    /// A number; 0 is left out.
    #[inline]
    pub(super) fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            number(value, self.key(name));
        }
    }

    /// A string; an empty one is left out.
    #[inline]
    pub(super) fn string(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            string(value, self.key(name));
        }
    }

    /// A truth; `false` is left out.
    pub(super) fn truth(&mut self, name: &str, value: bool) {
        if value {
            self.key(name).extend_from_slice(b"true");
        }
    }

    /// Raw JSON; nothing is left out.
    pub(super) fn raw(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            raw(value, self.key(name));
        }
    }

    #[inline]
    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// A decimal number.
#[inline]
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// JSON as it is, but for newlines between tokens.
pub(super) fn raw(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A string with quotes and escapes (RFC 8259 section 7).
#[inline]
pub(super) fn string(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut clean_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..at]);
        escape(byte, out);
        clean_from = at + 1;
    }
    out.extend_from_slice(&bytes[clean_from..]);
    out.push(b'"');
}

#[cold]
fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn strings_read_back_and_hold_no_newline(text in any::<String>()) {
            let json = written(|out| string(&text, out));
            prop_assert!(!json.contains(['\n', '\r']));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn numbers_read_back(value in any::<u64>()) {
            prop_assert_eq!(written(|out| number(value, out)), value.to_string());
        }
    }

    #[test]
    fn numbers_at_the_ends() {
        assert_eq!(written(|out| number(0, out)), "0");
        assert_eq!(written(|out| number(u64::MAX, out)), "18446744073709551615");
    }

    #[test]
    fn raw_json_loses_its_newlines_only() {
        assert_eq!(written(|out| raw(b"{\r\n \"a\":\n1}\n", out)), "{ \"a\":1}");
    }
}
