//! Tokens made with keys of the test's own, signed without the library that verifies them.

mod algorithms;
mod claims;
mod endpoint;
mod garbage;
mod key_sets;
mod signer;
mod signing;
mod tls;
