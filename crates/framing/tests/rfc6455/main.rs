//! RFC 6455 as a table of cases: bytes in, and what they mean or with which code the connection ends.
//!
//! The cases are made by generators over opcodes, lengths, fragments, bits, codes and spellings, one module per part of
//! the RFC; a name starts with the section that demands what the case checks. The bytes are built here, by the text of
//! the RFC and not by the encoder under test. [`case`] says how often each is fed.

mod bytes;
mod case;
mod close;
mod control;
mod encoding;
mod fragments;
mod heads;
mod limits;
mod masks;
mod opening;
mod opening_client;
mod utf8;

use std::collections::HashSet;

use case::Case;

/// Runs a part of the table and names every case that fails.
fn hold(cases: &[Case]) {
    let failed: Vec<String> =
        cases.iter().filter_map(|case| case.run().err().map(|why| format!("{}: {why}", case.name))).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn the_table_is_large_and_every_case_has_a_name_of_its_own() {
    let parts = [
        opening::cases(),
        opening_client::cases(),
        masks::cases(),
        heads::cases(),
        fragments::cases(),
        control::cases(),
        close::cases(),
        encoding::cases(),
        utf8::cases(),
        limits::cases(),
    ];
    let names: Vec<&str> = parts.iter().flatten().map(|case| &*case.name).collect();
    assert!(names.len() >= 300, "{} cases", names.len());
    let mut seen = HashSet::new();
    for name in names {
        assert!(seen.insert(name), "twice: {name}");
        let section = name.split(' ').next().unwrap_or_default();
        let numbers = section.split('.').all(|part| part.parse::<u8>().is_ok());
        assert!(numbers && section.contains('.') && name.len() > section.len(), "names no section: {name}");
    }
}

#[test]
fn section_4_1_a_client_reads_the_answer() {
    hold(&opening_client::cases());
}

#[test]
fn section_4_2_a_server_reads_the_request() {
    hold(&opening::cases());
}

#[test]
fn section_5_1_and_5_3_masks() {
    hold(&masks::cases());
}

#[test]
fn section_5_2_heads_of_frames() {
    hold(&heads::cases());
}

#[test]
fn section_5_4_fragments() {
    hold(&fragments::cases());
}

#[test]
fn section_5_5_control_frames() {
    hold(&control::cases());
}

#[test]
fn section_5_5_1_and_7_close() {
    hold(&close::cases());
}

#[test]
fn section_6_1_frames_that_are_sent() {
    hold(&encoding::cases());
}

#[test]
fn section_8_1_text_is_utf8() {
    hold(&utf8::cases());
}

#[test]
fn section_10_4_limits() {
    hold(&limits::cases());
}
