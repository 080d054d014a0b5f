//! How producers turn a key into a partition. They do not agree; these are the three that are in use.
//!
//! Byte-exact copies of what the client libraries compute; the tests pin values taken from those libraries.

use std::str::FromStr;

/// A hash of keys onto partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partitioner {
    /// The Java clients, and everything built on them.
    Murmur2,
    /// librdkafka's default (kcat, Python, Go, .NET, PHP, Rust).
    Crc32,
    /// Sarama's default.
    Fnv1a,
}

impl Partitioner {
    /// All of them, the likeliest first.
    pub const ALL: [Self; 3] = [Self::Murmur2, Self::Crc32, Self::Fnv1a];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2",
            Self::Crc32 => "crc32",
            Self::Fnv1a => "fnv1a",
        }
    }

    /// The partition of `key` among `count`; 0 when there are none.
    pub fn partition(self, key: &[u8], count: u32) -> u32 {
        let count = count.max(1);
        match self {
            Self::Murmur2 => (murmur2(key) & 0x7fff_ffff) % count,
            Self::Crc32 => crc32fast::hash(key) % count,
            // Sarama takes the remainder of the signed hash and then its absolute value.
            Self::Fnv1a => fnv1a(key).cast_signed().unsigned_abs() % count,
        }
    }
}

impl FromStr for Partitioner {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or(())
    }
}

/// The variant of the Java client: seed 0x9747b28c, 32 bits.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_that_of_the_java_client() {
        // From the Java client's own tests.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn crc32_and_fnv1a_are_the_published_ones() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn every_partition_is_in_range() {
        for partitioner in Partitioner::ALL {
            for n in 0..1_000_u32 {
                assert!(partitioner.partition(&n.to_le_bytes(), 7) < 7);
                assert_eq!(partitioner.partition(&n.to_le_bytes(), 0), 0);
            }
            assert_eq!(partitioner.name().parse(), Ok(partitioner));
        }
    }
}
