//! The PdV (*pacchetto di versamento*, submission package): what a producer hands over.
//!
//! A PdV *declares* its messages: name, size and SHA-256 of each, in the order of their names. What
//! was really received is compared with the declaration by `rdv`.
//!
//! Not here: when a PdV is closed, where its messages' octets are read from.

use trust::{
    clock::UnixMillis,
    digest::{Sha256Digest, Sha256Hasher},
};

use crate::name::{PackageId, PayloadPath};

/// What a conserved message is to its package.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MessageKind {
    /// A message as it was sent or received.
    Message,
    /// A receipt or notice of the certified-mail system that belongs to a message
    /// (RFC 6109 §2.1.1).
    Receipt,
}

/// A message as the producer declares it, or as it was received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PackagedMessage {
    /// Its name in the package.
    pub name: PayloadPath,
    /// What it is.
    pub kind: MessageKind,
    /// Its octets.
    pub size: u64,
    /// SHA-256 of its octets.
    pub digest: Sha256Digest,
}

/// A submission package.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pdv {
    /// Its identifier, unique in the system.
    pub id: PackageId,
    /// Who hands it over (*produttore*).
    pub producer: String,
    /// The agreement under which it is handed over.
    pub agreement: String,
    /// When it was closed.
    pub closed: UnixMillis,
    /// The messages it declares.
    pub messages: Vec<PackagedMessage>,
}

impl Pdv {
    /// Returns the digest over the whole content: the SHA-256 of the lines that `sha256sum` prints
    /// for the messages, in the order of their names. Independent of the order of declaration.
    pub fn content_digest(&self) -> Sha256Digest {
        let mut messages: Vec<_> = self.messages.iter().collect();
        messages.sort_by_key(|message| &message.name);
        let mut hasher = Sha256Hasher::default();
        for message in messages {
            hasher.update(format!("{}  {}\n", message.digest, message.name).as_bytes());
        }
        hasher.finish()
    }

    /// Octets of all messages.
    pub fn octets(&self) -> u64 {
        self.messages.iter().fold(0, |sum, message| sum.saturating_add(message.size))
    }
}
