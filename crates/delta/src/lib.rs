//! Deltas in the format of Fossil: the difference between two byte strings, as text.
//!
//! Pure functions. The encoder makes what decoders of the format accept; how it finds what is the same is its own
//! affair. The decoder is for tests and for clients of our own: it takes any bytes and never panics.
//!
//! # Format
//! Source: <https://fossil-scm.org/home/doc/trunk/www/delta_format.wiki>.
//!
//! ```text
//! delta    = size "\n" *command checksum ";"
//! command  = length "@" offset ","     copy from the base
//!          | length ":" bytes          insert these
//! ```
//!
//! Numbers are written to the base 64, the most significant digit first, with the digits `0-9A-Z_a-z~`. `size` is that
//! of the target, `checksum` the sum of its big-endian 32-bit words modulo 2^32, the last one filled up with zeros.

mod decode;
mod encode;
mod number;

pub use decode::{DeltaError, apply};
pub use encode::create;
