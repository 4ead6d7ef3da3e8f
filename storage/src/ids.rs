//! Identifiers and counters, one type each, so that two of them never swap silently.
//!
//! All of them are given out by the catalog, ascend, and are never used twice. On disk they are
//! big-endian and of fixed width, so that key order is number order.

use std::{fmt, num::NonZeroU32};

macro_rules! u64_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

u64_id! {
    /// An account ("casella") in this store.
    AccountId
}
u64_id! {
    /// A mailbox (folder), unique within its account; also IMAP's MAILBOXID (RFC 8474 §5.1).
    MailboxId
}
u64_id! {
    /// A message in its account: ascending, never reused; also IMAP's EMAILID (RFC 8474 §5.2) and
    /// JMAP's Email id.
    EmailNumber
}
u64_id! {
    /// The modification sequence of an account (RFC 7162 §3.1.1): every change takes the next.
    ModSeq
}

/// A message's number in one mailbox, 1 to 2³² − 1 (RFC 9051 §2.3.1.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uid(pub NonZeroU32);

/// The epoch of a mailbox's UIDs (RFC 9051 §2.3.1.1), from an ascending counter per account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UidValidity(pub NonZeroU32);

impl Uid {
    /// The UID `number`, or `None` for 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The UID as a bare number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for UidValidity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({self})", stringify!($name))
            }
        }
    };
}

digest_id! {
    /// BLAKE3-256 of a chunk's plain octets. Known only to recipes.
    ChunkId
}
digest_id! {
    /// Keyed BLAKE3 of the [`ChunkId`] under the store's secret: the only name that packs and
    /// indexes know a chunk by.
    StoredId
}
