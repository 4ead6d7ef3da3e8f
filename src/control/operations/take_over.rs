//! `store take-over`: this node becomes the store's again, after a restore that was a mistake. The store
//! must be free.
//!
//! The other node may have served: it may have given out numbers, which are raised here as by a restore;
//! fulfilled duties that stand here as owed, which are held for an operator as by a restore; and taken packs
//! away that only this node names, which are fetched from the back-up's copies.

use serde::{Deserialize, Serialize};
use storage::backup::{
    manifest::CheckpointName,
    repository::{ObjectStore, list_checkpoints},
};
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TakenOver {
    /// The store's epoch.
    pub epoch: u32,
    /// Accounts whose numbers were raised.
    pub accounts: u64,
    /// Duties that wait for an operator.
    pub held: u64,
    /// Packs that were gone and came back from the back-up.
    pub mended_packs: u64,
    /// Packs that are gone.
    pub lost_packs: Vec<String>,
}

fn of_machine(error: anyhow::Error) -> OperationError {
    OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
}

#[async_trait::async_trait]
impl Operation for StoreTakeOver {
    const NAME: &'static str = "store/take-over";

    type Outcome = TakenOver;

    async fn run(&self, site: &Site, _: &Run) -> Result<TakenOver, OperationError> {
        let backup = |error| OperationError::of_machine(&error);
        let target = target::open(&site.config).map_err(of_machine)?;
        let others: Vec<&dyn ObjectStore> = target.iter().map(|target| &*target.objects).collect();
        let names = match &target {
            Some(target) => list_checkpoints(&*target.objects).await.map_err(backup)?,
            None => Vec::new(),
        };
        let newest = names.iter().map(|name| name.epoch).max().unwrap_or_default();
        let in_place = target.as_ref().is_some_and(|target| target.packs_in_place);
        let before = site.store.epoch().await?;
        let pinned = if in_place { names } else { Vec::new() };
        // First what must not be sent twice, then numbers, the node's own standing after both: cut short
        // anywhere, the node is refused until this is done again.
        let (engine, node) = (&**site.store.engine(), EngineSettings::default().node);
        let now = SystemClock.now();
        let name = CheckpointName { epoch: before, instant: now };
        let held = held::hold_all(engine, name, now).await?;
        let claimed = site.store.claim_again(&others, newest).await?;
        let epochs = claimed.0.saturating_sub(before);
        site.registry.raise_numbers(epochs).await.map_err(|error| of_machine(error.into()))?;
        let applied = site.store.take_over(claimed, pinned).await?;

        let copies = target.as_ref().filter(|target| !target.packs_in_place);
        let copies = copies.map(|target| &*target.objects);
        let packs = site.store.mend_packs(copies).await.map_err(backup)?;
        let detail = format!("taken over: epoch {} from now on, {held} duties held", applied.epoch);
        held::note_restore(engine, node, now, detail).await?;
        Ok(TakenOver {
            epoch: applied.epoch,
            accounts: applied.accounts,
            held,
            mended_packs: packs.mended,
            lost_packs: packs.lost,
        })
    }
}
