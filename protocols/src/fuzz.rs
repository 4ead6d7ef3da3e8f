//! What a fuzzer hands in: each target takes any octets and panics when a promise is broken.
//!
//! Those that look inside a module stand in it. The seeds (`tests/fuzz/seeds`), and mutations of them, run
//! in every test too.
//!
//! Compiled for tests and by `cargo fuzz` only (`cfg(fuzzing)`).

pub use crate::{
    imap::fuzz::imap_search,
    imap::imap_command,
    imap::round_trip as imap_tree,
    sasl::scram::fuzz::scram,
    smtp::server::fuzz::{chunks, data},
};
use crate::{
    net::proxy,
    smtp::grammar::{Command, Verb},
};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("smtp_command", command),
    ("smtp_data", data),
    ("smtp_chunks", chunks),
    ("scram", scram),
    ("imap_command", imap_command),
    ("proxy_header", proxy_header),
    ("imap_search", imap_search),
    ("imap_tree", imap_tree),
];

/// A command line of any octets is refused, or writes as one line that reads as the same command.
///
/// # Panics
///
/// When that is not so.
pub fn command(line: &[u8]) {
    let Ok(command) = Command::parse(line) else { return };
    let verb = Verb::of_line(line.trim_ascii_end()).expect("a command has a verb");
    assert!(!verb.usage().is_empty());
    let written = command.encode();
    let written = written.strip_suffix(b"\r\n").expect("a line");
    assert!(!written.iter().any(|octet| b"\r\n\0".contains(octet)), "{command:?}");
    assert_eq!(Command::parse(written).as_ref(), Ok(&command));
}

/// A PROXY header of any octets is refused or names somebody, and no part of it does.
///
/// # Panics
///
/// When that is not so.
pub fn proxy_header(header: &[u8]) {
    if proxy::parse(header).is_ok() {
        assert!(header.len() <= proxy::HEADER_OCTETS_MAX);
        let (_, part) = header.split_last().expect("a header has octets");
        assert!(proxy::parse(part).is_err());
    }
}

#[cfg(test)]
mod tests;
