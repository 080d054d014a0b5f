//! Numbers to the base 64, and the checksum.

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// Appends a number.
pub(crate) fn write(mut value: u32, out: &mut Vec<u8>) {
    let mut digits = [0u8; 6];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[(value & 63) as usize];
        value >>= 6;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// How many digits a number has.
pub(crate) fn digits(value: u32) -> usize {
    ((u32::BITS - value.leading_zeros()).div_ceil(6) as usize).max(1)
}

/// Reads a number; what follows it. `None` when there is none or it does not fit.
pub(crate) fn read(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u32;
    let mut used = 0;
    while let Some(digit) = bytes.get(used).and_then(|b| digit(*b)) {
        value = value.checked_mul(64)?.checked_add(digit)?;
        used += 1;
    }
    (used > 0).then(|| (value, &bytes[used..]))
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'_' => 36,
        b'a'..=b'z' => byte - b'a' + 37,
        b'~' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// The checksum of a target.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    words.fold(0, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_counted() {
        for value in [0, 1, 9, 10, 35, 36, 37, 62, 63, 64, 4_095, 4_096, 123_456_789, u32::MAX] {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out.len(), digits(value), "{value}");
            out.push(b'@');
            assert_eq!(read(&out), Some((value, &b"@"[..])));
        }
        assert_eq!(read(b""), None);
        assert_eq!(read(b"@"), None);
        assert_eq!(read(b"~~~~~~"), None, "more than 32 bits");
    }

    #[test]
    fn the_checksum_is_of_big_endian_words_with_zeros_behind() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"\x01"), 0x0100_0000);
        assert_eq!(checksum(b"\x01\x02\x03\x04\x05\x06"), 0x0102_0304 + 0x0506_0000);
        assert_eq!(checksum(&[0xff; 8]), 0xffff_fffe);
    }
}
