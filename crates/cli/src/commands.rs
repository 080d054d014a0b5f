//! One module for each subcommand.

pub(crate) mod config;
pub(crate) mod demo_worker;
#[cfg(feature = "kafka")]
pub(crate) mod doctor;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;
pub(crate) mod token;
