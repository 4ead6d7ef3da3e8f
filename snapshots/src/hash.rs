//! Every hash of this floor.
//!
//! All are SHA-256 over one tag octet and fixed-width fields, numbers big-endian, so that no two
//! kinds of input can be confused. `‖` joins octets.
//!
//! | hash | octets |
//! |---|---|
//! | content leaf | `00 ‖ UID u64 ‖ SHA-256 of the message ‖ rest hash` |
//! | flags leaf | `01 ‖ UID u64 ‖ rest hash` |
//! | account leaf | `02 ‖ AccountId u64 ‖ hash of its latest record ‖ address` |
//! | leaf page | `10 ‖ count u16 ‖ count × (key u64 ‖ leaf)` |
//! | inner page | `11 ‖ level u8 ‖ count u16 ‖ count × (last key u64 ‖ rows u64 ‖ page hash)` |
//! | state | `20 ‖ count u32 ‖ count × mailbox entry` (see `state`) |
//! | record | `30 ‖ record` (see `record`) |
//! | run | `31 ‖ record of the run` (see `run::record`) |
//! | page boundary | `40 ‖ level u8 ‖ key u64` |
//! | salt | `41 ‖ secret 32 ‖ kind u8 ‖ MailboxId u64 ‖ key u64` |
//! | rest hash | `42 ‖ salt 32 ‖ rest` |
//!
//! The secret belongs to one account. Whoever is shown the salt of one row can check that row's
//! rest and learns nothing about another.

use std::fmt;

use storage::ids::MailboxId;
use trust::digest::{Sha256Digest, Sha256Hasher};

/// What a hash is of: its first octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    ContentLeaf = 0x00,
    FlagsLeaf = 0x01,
    AccountLeaf = 0x02,
    LeafPage = 0x10,
    InnerPage = 0x11,
    State = 0x20,
    Record = 0x30,
    Run = 0x31,
    Boundary = 0x40,
    Salt = 0x41,
    Rest = 0x42,
}

/// Hashes `parts`, one after the other, behind `tag`.
pub(crate) fn hash(tag: Tag, parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256Hasher::default();
    hasher.update(&[tag as u8]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// What keeps the salts of one account's snapshots from being guessed. 32 random octets, made
/// with the account and kept beside it.
#[derive(Clone)]
pub struct SnapshotSecret(pub [u8; 32]);

impl fmt::Debug for SnapshotSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SnapshotSecret")
    }
}

/// What a salt is for: the second field of its hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SaltKind {
    Content = 0,
    Flags = 1,
    Mailbox = 2,
}

/// The salts of one mailbox.
#[derive(Clone, Debug)]
pub struct Salts {
    secret: SnapshotSecret,
    mailbox: MailboxId,
}

impl Salts {
    /// Takes the account's secret and the mailbox.
    #[must_use]
    pub fn new(secret: SnapshotSecret, mailbox: MailboxId) -> Self {
        Self { secret, mailbox }
    }

    pub(crate) fn salt(&self, kind: SaltKind, key: u64) -> Sha256Digest {
        let mailbox = self.mailbox.0.to_be_bytes();
        hash(Tag::Salt, &[&self.secret.0, &[kind as u8], &mailbox, &key.to_be_bytes()])
    }

    /// Hashes `rest` with the salt that belongs to `key`.
    pub(crate) fn rest_hash(&self, kind: SaltKind, key: u64, rest: &[u8]) -> Sha256Digest {
        hash(Tag::Rest, &[&self.salt(kind, key).0, rest])
    }
}
