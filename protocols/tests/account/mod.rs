//! What tests of IMAP and POP3 share: an account in memory, a small MIME reader, and a client
//! that speaks octets.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]

pub(crate) mod changing;
pub(crate) mod client;
pub(crate) mod handle;
pub(crate) mod memory;
pub(crate) mod message;
mod view;
