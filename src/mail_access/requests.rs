//! Snapshots that a holder asks for by IMAP: some in a day.
//!
//! Not here: how he asks (`protocols`), what an operator takes (`control::operations::snapshot`).

use std::sync::Arc;

use ::snapshots::{error::SnapshotError, keep::take::Taken, run::Runs};
use protocols::access::SnapshotAsked;
use storage::{account::Account, error::StoreError};
use trust::clock::Clock;

use crate::config::SnapshotSettings;

/// Who takes them, how many, when.
#[derive(Debug)]
pub(super) struct Requests {
    runs: Arc<Runs>,
    settings: SnapshotSettings,
    clock: Arc<dyn Clock>,
}

impl Requests {
    pub(super) fn new(runs: Arc<Runs>, settings: SnapshotSettings, clock: Arc<dyn Clock>) -> Self {
        Self { runs, settings, clock }
    }

    /// Takes one of `account` as it is now.
    pub(super) async fn take(&self, account: &Account) -> Result<SnapshotAsked, StoreError> {
        let plan = account.settings().await?.plan;
        let limit = self.settings.times(&plan).on_demand_per_day;
        match self.runs.take_asked(account.id(), limit, self.clock.now()).await {
            Ok(Some(Taken::New(snapshot))) => Ok(SnapshotAsked::Taken(snapshot.name())),
            Ok(Some(Taken::Unchanged(Some(snapshot)))) => {
                Ok(SnapshotAsked::Unchanged(snapshot.name()))
            }
            Ok(Some(Taken::Unchanged(None))) => Ok(SnapshotAsked::TooSoon),
            Ok(None) => Ok(SnapshotAsked::TooMany(limit)),
            Err(SnapshotError::TooSoon(_) | SnapshotError::TooBusy(_)) => {
                Ok(SnapshotAsked::TooSoon)
            }
            Err(error) => Err(error.into()),
        }
    }
}
