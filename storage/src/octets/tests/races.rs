//! What happens when something else comes between two steps: an engine that lets it come.

use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;

use super::*;
use crate::catalog::engine::{Entries, Family, Reader};

/// Lets the packer run before a staged chunk is read, or a batch be applied before another.
struct Interposed {
    engine: Arc<SimulatedEngine>,
    /// Packs everything before the next read of a staged chunk, when set.
    packer: OnceLock<Arc<OctetStore>>,
    packed: Mutex<bool>,
    /// Applied before the next batch.
    before_commit: Mutex<Option<Batch>>,
}

#[async_trait]
impl Reader for Interposed {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let first =
            family == STAGED_CHUNKS && !std::mem::replace(&mut *self.packed.lock().unwrap(), true);
        if let Some(packer) = self.packer.get().filter(|_| first) {
            packer.pack_once().await?;
        }
        self.engine.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.engine.multi_get(keys).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Entries, StoreError> {
        self.engine.scan(scan).await
    }
}

#[async_trait]
impl Engine for Interposed {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.engine.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let before = self.before_commit.lock().unwrap().take();
        if let Some(before) = before {
            self.engine.commit(before).await?;
        }
        self.engine.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

async fn interposed(house: &House) -> (Arc<Interposed>, Arc<OctetStore>) {
    let engine = Arc::new(Interposed {
        engine: house.engine.clone(),
        packer: OnceLock::new(),
        packed: Mutex::new(false),
        before_commit: Mutex::new(None),
    });
    let random = Arc::new(SeededRandom::new(12));
    let objects = house.objects.clone();
    let store = OctetStore::open(engine.clone(), objects, random, uncached()).await.unwrap();
    (engine, store)
}

#[tokio::test]
async fn a_chunk_that_moves_between_index_and_read_is_found_at_its_new_place() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(900, 50));
    let message = house.add(&octets).await;
    let (engine, store) = interposed(&house).await;
    assert!(engine.packer.set(house.store.clone()).is_ok());
    assert_eq!(store.read(&message, 0..u64::MAX).await.unwrap(), octets);
    assert_eq!(house.rows(STAGED_CHUNKS).await, 0, "the packer came between");
}

#[tokio::test]
async fn a_chunk_that_goes_while_it_is_packed_leaves_index_and_objects_as_they_were() {
    let house = House::new(uncached()).await;
    let message = house.add(&message_with_text(&random(900, 51))).await;
    let (engine, store) = interposed(&house).await;
    let mut remove = Batch::default();
    remove.delete(CHUNK_INDEX, stored_id_key(message.stored_ids().next().unwrap()));
    *engine.before_commit.lock().unwrap() = Some(remove);
    assert_eq!(store.pack_once().await.unwrap(), PackReport::default());
    assert_eq!(house.rows(CHUNK_INDEX).await, 0, "a removed chunk does not come back");
    assert!(house.store.packs.list().await.unwrap().0.is_empty(), "the pack is gone again");
}
