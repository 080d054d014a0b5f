//! Values that every crate shares: names, positions, publications, limits and codes.
//!
//! No I/O, no async, no clock. Anything that can be swapped by mistake is a type of its own.

pub mod codes;
pub mod limits;

mod channel;
mod client;
mod position;
mod publication;

pub use channel::{ChannelName, ChannelNameError};
pub use client::{ClientId, ClientInfo};
pub use position::{Epoch, Offset, StreamPosition};
pub use publication::{Meta, Payload, PayloadKind, Publication, Tags, Version};
