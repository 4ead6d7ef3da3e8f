//! SMTP, IMAP and POP3 sessions over byte streams.
//!
//! Not here: RocksDB, PEC, the registry. Sessions ask traits for everything else: [`access`] for
//! identities and mail, [`smtp::transport`] for messages on their way.

pub mod access;
mod deflate;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod imap;
mod lines;
pub mod net;
mod pace;
pub mod pop3;
pub mod sasl;
pub mod sessions;
pub mod smtp;
