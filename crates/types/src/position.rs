//! Places in a channel's stream.

use std::fmt;
use std::sync::Arc;

/// A place in a channel's stream: 0 is before everything, the first publication is 1 or more.
///
/// Within a channel offsets only grow. Whether they are contiguous depends on the broker; nothing above a broker
/// may count by subtracting them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Offset(pub u64);

impl Offset {
    /// Before everything.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The incarnation of a numbering. Opaque: only equality means anything. Positions of another epoch are unrecoverable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// An epoch with this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An offset together with the incarnation that it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamPosition {
    /// The place.
    pub offset: Offset,
    /// The incarnation of the numbering.
    pub epoch: Epoch,
}
