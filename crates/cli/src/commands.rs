//! One module for each subcommand.

pub(crate) mod config;
pub(crate) mod demo_worker;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;
pub(crate) mod token;
