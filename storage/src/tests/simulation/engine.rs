//! An engine with a pause before and after everything that it does.
//!
//! Like [`world`](super::world) and [`objects`](super::objects) it is part of the simulation of the
//! floor above, too.

use std::sync::Arc;

use bytes::Bytes;

use storage::{
    catalog::engine::{Batch, Engine, Family, Page, Reader, Scan},
    error::StoreError,
};

use super::world::World;

pub(super) struct PacedEngine {
    world: Arc<World>,
    engine: Arc<dyn Engine>,
}

impl PacedEngine {
    pub(super) fn new(world: &Arc<World>, engine: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self { world: Arc::clone(world), engine })
    }
}

#[async_trait::async_trait]
impl Reader for PacedEngine {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.world.pause("get").await;
        self.engine.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.world.pause("multi_get").await;
        self.engine.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.world.pause("scan").await;
        self.engine.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for PacedEngine {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.world.pause("snapshot").await;
        let reader = self.engine.snapshot().await?;
        Ok(Arc::new(PacedSnapshot { world: Arc::clone(&self.world), reader }))
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.world.pause("commit").await;
        let outcome = self.engine.commit(batch).await;
        if matches!(outcome, Err(StoreError::Engine { .. })) {
            self.world.break_down();
        }
        self.world.pause("committed").await;
        outcome
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

struct PacedSnapshot {
    world: Arc<World>,
    reader: Arc<dyn Reader>,
}

#[async_trait::async_trait]
impl Reader for PacedSnapshot {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.world.pause("snapshot get").await;
        self.reader.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.world.pause("snapshot multi_get").await;
        self.reader.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.world.pause("snapshot scan").await;
        self.reader.page(scan, octets_max).await
    }
}
