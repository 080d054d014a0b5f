//! Fossil deltas, applied: what a client that asked for deltas does with each.
//!
//! Written out by hand as the rest of what is said to a server, and for the same reason: this is to find mistakes of the
//! server's encoder, not to share them. Format: <https://fossil-scm.org/home/doc/trunk/www/delta_format.wiki>.

/// The digits of its numbers, to the base 64.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// The text that a delta makes of the one before; `None` when it does not fit, or is no delta.
pub(crate) fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let size = number(&mut rest)?;
    rest = rest.strip_prefix(b"\n")?;
    let mut out = Vec::with_capacity(base.len());
    loop {
        let count = number(&mut rest)?;
        let (command, after) = rest.split_first()?;
        rest = after;
        match command {
            b'@' => {
                let offset = number(&mut rest)?;
                rest = rest.strip_prefix(b",")?;
                out.extend_from_slice(base.get(offset as usize..)?.get(..count as usize)?);
            }
            b':' => {
                let (piece, after) = rest.split_at_checked(count as usize)?;
                out.extend_from_slice(piece);
                rest = after;
            }
            b';' => return (rest.is_empty() && out.len() == size as usize && checksum(&out) == count).then_some(out),
            _ => return None,
        }
    }
}

/// Takes a number off the front.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let digit = |byte: &u8| DIGITS.iter().position(|d| d == byte);
    let length = rest.iter().take_while(|byte| digit(byte).is_some()).count();
    let (digits, after) = rest.split_at(length);
    *rest = after;
    (length > 0).then(|| digits.iter().filter_map(digit).fold(0u32, |n, d| n.wrapping_mul(64).wrapping_add(d as u32)))
}

/// The sum of big-endian words, the last one filled up with zeros.
fn checksum(text: &[u8]) -> u32 {
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_be_bytes(word)
    };
    text.chunks(4).map(word).fold(0, u32::wrapping_add)
}

/// A delta with these commands that makes `target`.
#[cfg(test)]
pub(crate) fn delta_to(target: &[u8], commands: &[u8]) -> Vec<u8> {
    let digits = |mut n: u32| {
        let mut digits = Vec::new();
        while n > 0 || digits.is_empty() {
            digits.insert(0, DIGITS[(n % 64) as usize]);
            n /= 64;
        }
        digits
    };
    [&*digits(target.len() as u32), b"\n", commands, &*digits(checksum(target)), b";"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_are_applied_and_those_that_do_not_fit_are_refused() {
        let delta = delta_to(b"hello there", b"6@0,5:there");
        assert_eq!(apply(b"hello world", &delta).as_deref(), Some(&b"hello there"[..]));
        assert_eq!(apply(b"jello world", &delta), None);
        assert_eq!(apply(b"hell", &delta), None);
        for end in 0..delta.len() {
            assert_eq!(apply(b"hello world", &delta[..end]), None);
        }
    }

    #[test]
    fn numbers_and_checksums_are_those_of_the_format() {
        assert_eq!(number(&mut &b"1~_"[..]), Some((64 + 63) * 64 + 36));
        assert_eq!(checksum(b"abcde"), 0x6162_6364 + 0x6500_0000);
    }
}
