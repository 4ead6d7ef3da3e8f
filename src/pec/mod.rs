//! Certified mail (posta elettronica certificata, PEC): the rules of RFC 6109.
//!
//! The modules here are pure functions over octets and values: what a message of the PEC network
//! looks like, how it is made and how it is judged. The engine that keeps transmissions, queues
//! and timers stands beside them.
//!
//! Not here: signatures (`trust`), octets at rest (`storage`), sessions (`protocols`).

pub mod acceptance;
pub mod access_point;
pub mod address;
mod arriving;
pub mod artefacts;
pub mod brief;
pub mod check;
pub mod classify;
pub mod content;
pub mod daticert;
pub mod delivery_point;
pub mod destination;
pub mod directory;
pub mod disposal;
pub mod distribution;
pub mod dsn;
pub mod encoded_word;
pub mod engine;
pub mod envelope;
pub mod erasure;
pub mod facts;
pub mod filing;
pub mod formal;
pub mod frame;
pub mod header;
pub mod header_addresses;
pub mod identifier;
pub mod incoming_point;
pub mod infected;
pub mod instant;
pub mod issue;
pub mod issuer;
pub mod journal;
pub mod ldif;
pub mod lookups;
pub mod memory;
pub mod mime;
mod needs;
pub mod notices;
pub mod original;
pub mod pressure;
pub mod quarantine;
pub mod queue;
pub mod receipt;
pub mod records;
pub mod refusals;
pub mod relay;
pub mod sending;
mod shared_message;
pub mod space_notice;
mod texts;
pub mod time_limits;
pub mod tls_policy;
pub mod transmissions;
pub mod work;

#[cfg(test)]
mod fixture;
