//! Masking (RFC 6455 section 5.3): an exclusive or with a repeated four-byte key.

/// Masks or unmasks `data` in place. `at` is the place of `data` within the frame's payload, for one that comes in
/// pieces.
///
/// Eight bytes at a time: the key repeats every four, so one widened key serves the whole of it.
pub fn apply_mask(data: &mut [u8], key: [u8; 4], at: usize) {
    let turn = at % 4;
    let key: [u8; 4] = std::array::from_fn(|i| key[(i + turn) % 4]);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (chunks, rest) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_place_agrees_with_the_definition() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..40 {
            for at in 0..9 {
                let mut data: Vec<u8> = (0..len).collect();
                apply_mask(&mut data, key, at);
                for (i, byte) in data.iter().enumerate() {
                    assert_eq!(*byte, i as u8 ^ key[(i + at) % 4], "len {len} at {at}");
                }
            }
        }
    }
}
