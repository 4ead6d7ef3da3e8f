//! Foreign mail clients against a running provider: curl, swaks, fetchmail, mbsync, Python's imaplib,
//! poplib and smtplib, IMAPClient.
//!
//! Each test starts a provider of its own. A client that is absent fails its test with the command that
//! installs it.

mod erasure;
#[path = "../support/ports.rs"]
mod ports;
mod provider;
mod reading;
mod submission;
