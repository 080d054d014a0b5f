//! Tests across crates: the suites are in the `tests/` folder beside this file.
