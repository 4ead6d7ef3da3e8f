//! The content-addressed mailbox store.
//!
//! Every octet is kept once; quotas are exact; nothing acknowledged is ever lost. The rooms:
//!
//! * [`ids`], [`error`], [`summary`]: the values that cross the floor's boundary.
//! * [`catalog`]: the ordered key-value space and its engines.
//! * [`mime`]: the streaming walk over a message, and the summary made from it.
//! * [`text`]: letters and header values made comparable.
//! * [`objects`]: where packs lie: a local folder or an S3 server, retries, time-outs, the probe.
//! * [`octets`]: messages as recipes over chunks that are stored once.
//! * [`pack`]: the stored form of chunks, packs, and the index that finds a chunk.
//! * [`store`]: what floors above open; it hands out accounts. [`held`]: octets that a floor above
//!   owns.
//! * [`account`]: the tree of mailboxes, settings, quota and events of one account.
//! * [`mailbox`]: rows, flags, and the [`mailbox::view::MailboxView`] that protocols read.
//! * [`collector`]: gives back the space of chunks that nothing refers to.
//! * [`find`]: where else the octets of a message are.
//! * [`figures`]: logical and physical octets, per account and in total.
//! * [`backup`]: checkpoints of the catalog in an object store elsewhere, and what a restore changes.
//! * [`check`]: says whether a store keeps its invariants, object by object.
//!
//! Not here: IMAP or any other protocol, the wall clock (handed in), the environment.

pub mod account;
pub mod backup;
pub mod catalog;
pub mod check;
pub mod claim;
pub mod collector;
pub mod concerned;
pub mod error;
pub mod figures;
pub mod find;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod held;
pub mod ids;
pub mod mailbox;
pub mod mime;
pub mod objects;
pub mod octets;
pub mod pack;
mod record;
pub mod repair;
mod sabotage;
mod sealed;
pub mod store;
pub mod summary;
pub mod text;

// Parts of the simulation are also parts of that of the floor above, under the same names.
#[cfg(test)]
extern crate self as storage;

#[cfg(test)]
#[path = "../../tests/formats/golden.rs"]
mod golden;
#[cfg(test)]
#[path = "../tests/support/seaweedfs.rs"]
mod seaweedfs;
#[cfg(test)]
mod tests;
