//! Snapshots that a holder asks for by IMAP: some in a day.
//!
//! Not here: how he asks (`protocols`), what an operator takes (`control::operations::snapshot`).

use std::{sync::Arc, time::Duration};

use ::snapshots::{error::SnapshotError, keep::take::Taken, run::Runs};
use protocols::access::SnapshotAsked;
use storage::{account::Account, error::StoreError};
use trust::clock::Clock;

use crate::config::SnapshotSettings;

/// How often one is tried that is of the same second as the latest, and how long after each other: a second
/// has passed before the last time.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(400);

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

    /// Takes one of `account` as it is now, or a second later when the second has one already, such as that of
    /// a run.
    pub(super) async fn take(&self, account: &Account) -> Result<SnapshotAsked, StoreError> {
        let plan = account.settings().await?.plan;
        let limit = self.settings.times(&plan).on_demand_per_day;
        for _ in 1..TRIES {
            match self.try_to_take(account, limit).await {
                Err(SnapshotError::TooSoon(_)) => tokio::time::sleep(PAUSE).await,
                tried => return asked(tried, limit),
            }
        }
        asked(self.try_to_take(account, limit).await, limit)
    }

    async fn try_to_take(
        &self,
        account: &Account,
        limit: u32,
    ) -> Result<Option<Taken>, SnapshotError> {
        self.runs.take_asked(account.id(), limit, self.clock.now()).await
    }
}

fn asked(
    taken: Result<Option<Taken>, SnapshotError>,
    limit: u32,
) -> Result<SnapshotAsked, StoreError> {
    match taken {
        Ok(Some(Taken::New(snapshot))) => Ok(SnapshotAsked::Taken(snapshot.name())),
        Ok(Some(Taken::Unchanged(Some(snapshot)))) => Ok(SnapshotAsked::Unchanged(snapshot.name())),
        Ok(None) => Ok(SnapshotAsked::TooMany(limit)),
        Ok(Some(Taken::Unchanged(None)))
        | Err(SnapshotError::TooSoon(_) | SnapshotError::TooBusy(_)) => Ok(SnapshotAsked::TooSoon),
        Err(error) => Err(error.into()),
    }
}
