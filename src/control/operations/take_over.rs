//! `store take-over`: this node becomes the store's again, after a restore that was a mistake. The store
//! must be free.

use serde::{Deserialize, Serialize};
use storage::backup::{repository::ObjectStore, repository::list_checkpoints};
use trust::clock::{Clock as _, SystemClock};

use crate::{
    backup::{held, target},
    control::{Operation, OperationError, Run, Site},
    pec::engine::EngineSettings,
};

/// Asks for the store to be taken over by the node of this data folder.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct StoreTakeOver {}

/// What the node is from now on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct TakenOver {
    /// The store's epoch.
    pub epoch: u32,
    /// Accounts whose numbers were raised.
    pub accounts: u64,
}

fn of_machine(error: anyhow::Error) -> OperationError {
    OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
}

#[async_trait::async_trait]
impl Operation for StoreTakeOver {
    const NAME: &'static str = "store/take-over";

    type Outcome = TakenOver;

    async fn run(&self, site: &Site, _: &Run) -> Result<TakenOver, OperationError> {
        let target = target::open(&site.config).map_err(of_machine)?;
        let mut others: Vec<&dyn ObjectStore> = Vec::new();
        let mut pinned = Vec::new();
        if let Some(target) = &target {
            others.push(&*target.objects);
            if target.packs_in_place {
                pinned = list_checkpoints(&*target.objects)
                    .await
                    .map_err(|error| OperationError::of_machine(&error))?;
            }
        }
        let applied = site.store.take_over(&others, pinned).await?;
        let detail = format!("taken over: epoch {} from now on", applied.epoch);
        let (engine, node) = (&**site.store.engine(), EngineSettings::default().node);
        held::note_restore(engine, node, SystemClock.now(), detail).await?;
        Ok(TakenOver { epoch: applied.epoch, accounts: applied.accounts })
    }
}
