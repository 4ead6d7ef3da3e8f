//! Objects under `packs/` that the catalog does not name: packs of batches that were never
//! committed, and files of somebody else.
//!
//! Unnamed packs are doomed, not deleted: the batch that names one may be on its way. Files that
//! are no packs, or are larger than a pack can be, are reported and left alone.

use std::collections::HashSet;

use futures::TryStreamExt as _;

use super::{
    CollectPhase, Run,
    doomed::{self, DoomedRow},
};
use crate::{
    catalog::engine::Batch,
    error::StoreError,
    pack::{
        format::PACK_OCTETS_LIMIT,
        index::PACKS,
        store::{ListedObject, PackId},
    },
};

/// Objects looked up at a time.
const PAGE: usize = 1_000;

impl Run<'_> {
    /// Lists every object.
    pub(super) async fn look_at_objects(&mut self) -> Result<(), StoreError> {
        let doomed: HashSet<PackId> =
            self.all_doomed().await?.into_iter().map(|doomed| doomed.pack).collect();
        let octets = self.octets;
        let mut pages = std::pin::pin!(octets.packs.pages(PAGE));
        while let Some(page) = pages.try_next().await? {
            self.budget.pay(0, 1).await;
            self.doom_unnamed(page, &doomed).await?;
            self.tell(CollectPhase::Objects);
        }
        Ok(())
    }

    async fn doom_unnamed(
        &mut self,
        page: Vec<ListedObject>,
        doomed: &HashSet<PackId>,
    ) -> Result<(), StoreError> {
        let mut packs = Vec::with_capacity(page.len());
        for object in page {
            self.report.octets_before += object.octets;
            match object.pack {
                Some(pack) if doomed.contains(&pack) => {}
                Some(pack) => packs.push((pack, object.octets)),
                None => self.report.stranger(object.path),
            }
        }
        let rows = packs.iter().map(|(pack, _)| (PACKS, pack.0.to_vec().into()));
        let rows = self.octets.engine.multi_get(&rows.collect::<Vec<_>>()).await?;
        // Read after the listing: whoever wrote one of these read his generation before.
        let generation = self.octets.generation().await?;
        let mut batch = Batch::default();
        for ((pack, pack_octets), row) in packs.into_iter().zip(rows) {
            if row.is_none() && pack_octets > PACK_OCTETS_LIMIT {
                self.report.stranger(pack.path());
            } else if row.is_none() {
                self.report.packs_unnamed += 1;
                let row = DoomedRow { generation, pack_octets };
                doomed::doom(pack, &row, &mut batch);
                if self.options.dry_run {
                    self.dry_doomed.push((pack, pack_octets));
                }
            }
        }
        self.commit_unless_dry(batch).await
    }
}
