//! Certified mail (posta elettronica certificata, PEC): the rules of RFC 6109.
//!
//! The modules here are pure functions over octets and values: what a message of the PEC network
//! looks like, how it is made and how it is judged. The engine that keeps transmissions, queues
//! and timers stands beside them.
//!
//! Not here: signatures (`trust`), octets at rest (`storage`), sessions (`protocols`).

pub mod address;
pub mod brief;
pub mod classify;
pub mod daticert;
pub mod directory;
pub mod encoded_word;
pub mod envelope;
pub mod facts;
pub mod formal;
pub mod frame;
pub mod header;
pub mod header_addresses;
pub mod identifier;
pub mod instant;
pub mod issuer;
pub mod ldif;
pub mod mime;
pub mod original;
pub mod receipt;
mod texts;

#[cfg(test)]
mod fixture;
