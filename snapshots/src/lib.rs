//! Snapshots: the state of an account at one instant, read-only, provable.
//!
//! * [`tree`]: the ordered hash tree that a mailbox's rows stand in; a change touches few pages.
//! * [`state`]: the mailboxes of an account with their trees: its hash is the [`state::StateRoot`].
//! * [`record`]: what is known of one snapshot, in a fixed layout that can be signed.
//! * [`run`]: one ordered map of all accounts to their latest records, by its root.
//! * [`proof`]: evidence that one message stood, or did not stand, in one mailbox, checked without
//!   the store.
//! * [`keep`]: where snapshots are kept: taking, listing, opening, thinning out.
//! * [`check`]: whether every snapshot is complete.
//! * [`diff`], [`search`], [`restore`], [`export`]: what is done with them.
//! * [`hash`]: every hash of this floor, octet by octet.
//!
//! Invariants:
//!
//! * Equal states have equal [`state::StateRoot`]s, whatever the order of the changes that led
//!   there.
//! * Hashes are SHA-256, so that public tools can follow them.
//! * What a proof discloses about other messages is their UIDs and nothing else: everything that
//!   could be guessed is hashed with a salt ([`hash::SnapshotSecret`]).
//!
//! Not here: when snapshots are taken.

pub mod check;
pub mod diff;
pub mod error;
pub mod export;
mod fields;
#[cfg(test)]
#[path = "../../tests/formats/golden.rs"]
mod golden;
pub mod hash;
pub mod keep;
mod octets;
pub mod proof;
pub mod record;
pub mod restore;
pub mod run;
pub mod search;
#[cfg(test)]
mod simulation;
pub mod state;
pub mod tree;
