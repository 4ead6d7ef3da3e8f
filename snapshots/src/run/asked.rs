//! Snapshots that the holder of an account asks for: some in a day.
//!
//! Not here: who may ask, how many a plan allows (the floor above).

use storage::ids::AccountId;
use trust::clock::UnixMillis;

use super::Runs;
use crate::{
    error::SnapshotError,
    keep::{
        snapshot::SnapshotKind,
        take::{Asked, Taken},
    },
};

/// Requests that are worked on beside each other: accounts share these places.
pub(super) const PLACES: usize = 256;

const DAY: i64 = 24 * 3_600_000;

impl Runs {
    /// Takes a snapshot on demand, of which an account has at most `limit` in a day (UTC). `None` when
    /// it has them already and has changed since the latest one. However many ask at once, they are
    /// counted one after the other.
    pub async fn take_asked(
        &self,
        account: AccountId,
        limit: u32,
        now: UnixMillis,
    ) -> Result<Option<Taken>, SnapshotError> {
        let begun = Asked { at: now, of_store: self.store.now() };
        let at = usize::try_from(account.0 % PLACES as u64).unwrap_or(0);
        let _place = self.asked[at].lock().await;
        let mut all = self.snapshots.list(account).await?;
        let now = begun.later(self.store.now());
        let today = now.0.div_euclid(DAY).saturating_mul(DAY);
        let asked = all
            .iter()
            .filter(|one| one.kind == SnapshotKind::OnDemand)
            .filter(|one| (today..today.saturating_add(DAY)).contains(&one.taken().0))
            .count();
        if asked < usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(Some(self.snapshots.take(account, SnapshotKind::OnDemand, now).await?));
        }
        let before = account.0.checked_sub(1).map(AccountId);
        let changed = self.store.accounts_to_capture(before, 1).await?;
        let latest = all.pop().filter(|_| !changed.accounts.contains(&account));
        Ok(latest.map(|latest| Taken::Unchanged(Some(latest))))
    }
}
