//! What forbids that a message's octets are taken away: holds of its account, and of snapshots that may
//! hold it.
//!
//! Not here: holding and letting go ([`super::Snapshots::hold`]), what becomes of the octets
//! (`storage::account::erase`).

use storage::{
    account::Account,
    catalog::{
        engine::{Batch, Expected},
        pages::Pages,
    },
    ids::EmailNumber,
};

use super::{
    PAGE, account_entry,
    keys::{self, SNAPSHOT_ACCOUNTS, SNAPSHOTS},
    records::decode_snapshot,
    scan_of,
    settings::Hold,
};
use crate::error::SnapshotError;

/// A hold that concerns a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HoldOf {
    /// All snapshots of the account stay.
    Account(Hold),
    /// One snapshot stays, which may hold the message.
    Snapshot {
        /// The name of the snapshot.
        name: String,
        /// Why it stays.
        hold: Hold,
    },
}

impl HoldOf {
    /// Why, in the words of who holds.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Account(hold) | Self::Snapshot { hold, .. } => &hold.reason,
        }
    }

    /// The snapshot that stays, when it is a single one.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        match self {
            Self::Account(_) => None,
            Self::Snapshot { name, .. } => Some(name),
        }
    }
}

/// Says which hold concerns the message `number` of an account: the account's own, else that of the
/// first held snapshot that was taken after the message came, whether or not it was still there. `None`
/// = none; then `also` gets the conditions that it stays so: the account's entry and those snapshots
/// are as they were read, and no other was taken.
///
/// # Errors
///
/// [`SnapshotError::Store`]; a record that cannot be read is one, for it may be of a hold.
pub async fn hold_of(
    account: &Account,
    number: EmailNumber,
    also: &mut Batch,
) -> Result<Option<HoldOf>, SnapshotError> {
    let (id, state) = (account.id(), account.state().await?);
    let reader = &**state.reader();
    let (entry, expected) = account_entry(reader, id).await?;
    if let Some(hold) = entry.hold {
        return Ok(Some(HoldOf::Account(hold)));
    }
    let mut conditions = Batch::default();
    conditions.expect(SNAPSHOT_ACCOUNTS, keys::account(id), expected);
    conditions.expect(SNAPSHOTS, keys::snapshot(id, state.next_snapshot()), Expected::Absent);
    let mut pages = Pages::new(scan_of(id, PAGE));
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            let (snapshot, going) = decode_snapshot(&key, &value)?;
            // One that is going can be held no more.
            if going || snapshot.email_numbers_below <= number {
                continue;
            }
            let name = snapshot.name();
            if let Some(hold) = snapshot.hold {
                return Ok(Some(HoldOf::Snapshot { name, hold }));
            }
            conditions.expect(SNAPSHOTS, key, Expected::Value(value));
        }
    }
    also.expect.extend(conditions.expect);
    Ok(None)
}
