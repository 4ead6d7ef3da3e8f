//! Snapshots that are read at length, by an export or a comparison: thinning leaves them there meanwhile.
//!
//! Known in memory only, since whoever reads ends with the process; and for a bounded time, so that one
//! who waits for ever keeps nothing for ever.
//!
//! Not here: restores, which outlive the process and have rows (`restore`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use storage::ids::AccountId;
use trust::clock::UnixMillis;

use super::Snapshots;
use crate::error::SnapshotError;

/// For how long a snapshot is left there at most.
const READING_MILLIS: i64 = 24 * 3_600_000;

/// Who reads what, each under a number of its own: account, snapshot, until when at most.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<BTreeMap<u64, (AccountId, u64, UnixMillis)>>);

impl Readings {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, (AccountId, u64, UnixMillis)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves a snapshot there as long as this is held.
#[derive(Debug)]
#[must_use = "the snapshot may go when this is dropped"]
pub struct Reading {
    readings: Arc<Readings>,
    number: u64,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readings.all().remove(&self.number);
    }
}

impl Snapshots {
    /// Keeps [`Snapshots::thin`] from a snapshot while the answer is held, for a day from `now` on at the
    /// longest. [`Snapshots::forget`] does not ask. [`SnapshotError::NoSuchSnapshot`].
    pub async fn begin_reading(
        &self,
        account: AccountId,
        number: u64,
        now: UnixMillis,
    ) -> Result<Reading, SnapshotError> {
        // None is let go of under this place.
        let _place = self.place(account).await;
        self.kept(account, number).await?;
        let until = UnixMillis(now.0.saturating_add(READING_MILLIS));
        let mut all = self.readings.all();
        let reading = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(reading, (account, number, until));
        drop(all);
        Ok(Reading { readings: Arc::clone(&self.readings), number: reading })
    }

    /// The snapshots of an account that are read at `now`.
    pub(super) fn being_read(&self, account: AccountId, now: UnixMillis) -> BTreeSet<u64> {
        let all = self.readings.all();
        let read = all.values().filter(|(of, _, until)| *of == account && until.0 > now.0);
        read.map(|(_, number, _)| *number).collect()
    }
}
