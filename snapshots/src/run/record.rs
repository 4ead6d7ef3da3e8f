//! The run's record: what is signed and time-stamped, in a fixed layout.
//!
//! | octets | field |
//! |---|---|
//! | 1 | version: 1 |
//! | 8 | number of the run, from 1 without gaps |
//! | 8 | when it began, milliseconds since 1970-01-01T00:00:00Z, two's complement |
//! | 8 | when it was closed, the same |
//! | 32 | root page of the tree of accounts |
//! | 8 | accounts in the tree |
//! | 32 | hash of the record of the run before; zeros for the first |

use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    hash::{Tag, hash},
    octets::{Cursor, joined},
    tree::page::PageId,
};

const VERSION: u8 = 1;

/// Octets of a run's record.
pub const RUN_RECORD_OCTETS: usize = 97;

/// One run over all accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRecord {
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// When it began: every account was looked at after this.
    pub begun: UnixMillis,
    /// When it was closed: every account was looked at before this.
    pub closed: UnixMillis,
    /// The root page of the tree of accounts.
    pub root: PageId,
    /// Accounts in the tree.
    pub accounts: u64,
    /// The hash of the record of the run before; `None` for the first.
    pub previous: Option<Sha256Digest>,
}

impl RunRecord {
    /// Returns the record's octets: exactly what is signed.
    #[must_use]
    pub fn encode(&self) -> [u8; RUN_RECORD_OCTETS] {
        let previous = self.previous.map_or([0; 32], |digest| digest.0);
        joined(&[
            &[VERSION],
            &self.number.to_be_bytes(),
            &self.begun.0.to_be_bytes(),
            &self.closed.0.to_be_bytes(),
            &self.root.0.0,
            &self.accounts.to_be_bytes(),
            &previous,
        ])
    }

    /// Reads a record; `None` when it is of another version or length.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        cursor.u8().filter(|version| *version == VERSION)?;
        let record = Self {
            number: cursor.u64()?,
            begun: UnixMillis(cursor.i64()?),
            closed: UnixMillis(cursor.i64()?),
            root: PageId(cursor.digest()?),
            accounts: cursor.u64()?,
            previous: Some(cursor.digest()?).filter(|digest| digest.0 != [0; 32]),
        };
        cursor.end()?;
        Some(record)
    }

    /// The record's hash: what the next run names it by.
    #[must_use]
    pub fn hash(&self) -> Sha256Digest {
        hash(Tag::Run, &[&self.encode()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_back_and_every_octet_counts() {
        let run = RunRecord {
            number: 7,
            begun: UnixMillis(-1),
            closed: UnixMillis(5),
            root: PageId(Sha256Digest([3; 32])),
            accounts: 12,
            previous: Some(Sha256Digest([4; 32])),
        };
        let octets = run.encode();
        assert_eq!(RunRecord::decode(&octets), Some(run.clone()));
        assert_eq!(RunRecord::decode(&octets[1..]), None);
        for at in 0..octets.len() {
            let mut changed = octets;
            changed[at] ^= 1;
            assert!(RunRecord::decode(&changed).is_none_or(|read| read.hash() != run.hash()));
        }
    }
}
