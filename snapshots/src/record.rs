//! What is known of one snapshot, in a fixed layout.
//!
//! | octets | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | AccountId |
//! | 8 | instant, milliseconds since 1970, signed |
//! | 32 | hash of the record of the snapshot that was the latest before, zeros when there was none |
//! | 32 | StateRoot |
//! | 4 | mailboxes |
//! | 8 | messages |
//! | 8 | octets of the messages |
//!
//! 101 octets. Records of an account form a chain by their hashes, so that none can be taken out
//! unseen. An account whose StateRoot has not changed gets no new record.

use storage::ids::AccountId;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    error::SnapshotError,
    hash::{SnapshotSecret, Tag, hash},
    octets::{Cursor, joined},
    state::{State, StateRoot},
};

const VERSION: u8 = 1;

/// Octets of a record.
pub const RECORD_OCTETS: usize = 101;

/// One snapshot of one account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotRecord {
    /// The account.
    pub account: AccountId,
    /// When the state was like that.
    pub instant: UnixMillis,
    /// The hash of the record of the snapshot that was the latest then, `None` when there was none.
    pub previous: Option<Sha256Digest>,
    /// The state.
    pub state_root: StateRoot,
    /// Mailboxes in the state.
    pub mailboxes: u32,
    /// Messages in all mailboxes.
    pub messages: u64,
    /// Octets of these messages.
    pub octets: u64,
}

impl SnapshotRecord {
    /// Makes the record that follows `previous` for `state`, or `None` when the state is the
    /// previous one.
    pub fn following(
        previous: Option<&Self>,
        account: AccountId,
        instant: UnixMillis,
        state: &State,
        secret: &SnapshotSecret,
    ) -> Result<Option<Self>, SnapshotError> {
        let state_root = state.root(secret)?;
        if previous.is_some_and(|previous| previous.state_root == state_root) {
            return Ok(None);
        }
        Ok(Some(Self {
            account,
            instant,
            previous: previous.map(Self::hash),
            state_root,
            // The root above has counted them in 32 bits already.
            mailboxes: u32::try_from(state.mailboxes.len()).unwrap_or(u32::MAX),
            messages: state.messages(),
            octets: state.octets(),
        }))
    }

    /// Returns the record's octets.
    pub fn encode(&self) -> [u8; RECORD_OCTETS] {
        let previous = self.previous.map_or([0; 32], |digest| digest.0);
        joined(&[
            &[VERSION],
            &self.account.0.to_be_bytes(),
            &self.instant.0.to_be_bytes(),
            &previous,
            &self.state_root.0.0,
            &self.mailboxes.to_be_bytes(),
            &self.messages.to_be_bytes(),
            &self.octets.to_be_bytes(),
        ])
    }

    /// Reads a record; `None` when it is of another version or length.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        cursor.u8().filter(|version| *version == VERSION)?;
        let record = Self {
            account: AccountId(cursor.u64()?),
            instant: UnixMillis(cursor.i64()?),
            previous: Some(cursor.digest()?).filter(|digest| digest.0 != [0; 32]),
            state_root: StateRoot(cursor.digest()?),
            mailboxes: cursor.u32()?,
            messages: cursor.u64()?,
            octets: cursor.u64()?,
        };
        cursor.end()?;
        Some(record)
    }

    /// The record's hash: what the next record and the map of all accounts name it by.
    pub fn hash(&self) -> Sha256Digest {
        hash(Tag::Record, &[&self.encode()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_chains_and_an_equal_state_makes_none() {
        let secret = SnapshotSecret([1; 32]);
        let make = |previous: Option<&SnapshotRecord>, instant, state: &State| {
            let instant = UnixMillis(instant);
            SnapshotRecord::following(previous, AccountId(5), instant, state, &secret)
                .expect("hashed")
        };
        let empty = State::default();
        let first = make(None, -1, &empty).expect("a record");
        assert_eq!(SnapshotRecord::decode(&first.encode()), Some(first.clone()));
        assert_eq!(make(Some(&first), 2, &empty), None);
        let other = SnapshotRecord { state_root: StateRoot(first.hash()), ..first.clone() };
        let second = make(Some(&other), 2, &empty).expect("a record");
        assert_eq!(second.previous, Some(other.hash()));
        assert_ne!(other.hash(), first.hash());
        assert_eq!(SnapshotRecord::decode(&first.encode()[1..]), None);
        assert_eq!(SnapshotRecord::decode(&[&first.encode()[..], &[0]].concat()), None);
    }
}
