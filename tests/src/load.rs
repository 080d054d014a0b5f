//! A verifying load: numbered publications through any node, and subscribers that check that each channel counts
//! 1, 2, 3, … whatever happens in between.

mod clients;
mod publishers;

pub use clients::{Board, Client};
pub use publishers::{Channel, Publishers};
