//! What happens when something else comes between two steps: an engine that lets it come.

use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;

use super::*;
use crate::{
    catalog::engine::{Family, Page, Reader, Scan},
    ids::StoredId,
    pack::index::{GenerationRow, IndexRow, PACK_GENERATIONS, Place, generation_key, staged_key},
    sabotage::{PlantedBug, plant},
};

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

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.engine.page(scan, octets_max).await
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

/// Removes a chunk as the sweep of the collector does: only while it is condemned as before.
async fn condemn(house: &House, stored: StoredId) -> Batch {
    let mut batch = Batch::default();
    batch.put(CONDEMNED, stored_id_key(stored), Bytes::from_static(b"condemned"));
    house.engine.commit(batch).await.unwrap();
    let row = house.engine.get(CHUNK_INDEX, &stored.0).await.unwrap().unwrap();
    let mut sweep = Batch::default();
    let condemned = Expected::Value(Bytes::from_static(b"condemned"));
    sweep.expect(CONDEMNED, stored_id_key(stored), condemned);
    sweep.delete(CONDEMNED, stored_id_key(stored)).delete(CHUNK_INDEX, stored_id_key(stored));
    if let Place::Staged { sequence } = IndexRow::decode(&row, stored).unwrap().place {
        sweep.delete(STAGED_CHUNKS, staged_key(sequence, stored));
    }
    sweep
}

async fn commit_staged(house: &House, staged: &StagedMessage) -> Result<Vec<u64>, StoreError> {
    let mut batch = Batch::default();
    staged.add_to(&mut batch);
    house.engine.commit(batch).await
}

#[tokio::test]
async fn a_chunk_stored_as_new_twice_outlives_the_collector_that_condemned_the_first() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(900, 52));
    let late = house.stage(&octets).await;
    let early = house.add(&octets).await;
    // The early message is expunged, its chunk condemned; then the late one comes.
    let sweep = condemn(&house, early.stored_ids().next().unwrap()).await;
    commit_staged(&house, &late).await.unwrap();
    assert!(matches!(house.engine.commit(sweep).await, Err(StoreError::Conflict)));
    assert_eq!(house.read_all(late.stored()).await.unwrap(), octets);
}

#[tokio::test]
async fn a_session_that_met_a_condemned_chunk_finds_it_at_its_end() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(900, 53));
    let early = house.add(&octets).await;
    let sweep = condemn(&house, early.stored_ids().next().unwrap()).await;
    let late = house.stage(&octets).await;
    assert!(matches!(house.engine.commit(sweep).await, Err(StoreError::Conflict)));
    commit_staged(&house, &late).await.unwrap();
    assert_eq!(house.read_all(late.stored()).await.unwrap(), octets);
}

#[tokio::test]
async fn a_message_staged_before_its_generation_was_retired_is_refused_and_not_lost() {
    let house = House::new(uncached()).await;
    let small = house.stage(&message_with_text(&random(900, 54))).await;
    let large = house.stage(&message_with_text(&random(600_000, 55))).await;
    commit_staged(&house, &large).await.unwrap();
    commit_staged(&house, &large).await.unwrap();
    let mut retire = Batch::default();
    retire.put(PACK_GENERATIONS, generation_key(2), GenerationRow { since_millis: 1 }.encode());
    retire.delete(PACK_GENERATIONS, generation_key(1));
    house.engine.commit(retire).await.unwrap();
    assert!(matches!(commit_staged(&house, &large).await, Err(StoreError::Conflict)));
    commit_staged(&house, &small).await.unwrap();
    house.add(&message_with_text(&random(600_000, 56))).await;
}

#[tokio::test]
async fn every_batch_that_names_a_pack_puts_another_row_for_it() {
    let house = House::new(uncached()).await;
    let large = house.stage(&message_with_text(&random(600_000, 57))).await;
    let mut rows = Vec::new();
    for _ in 0..3 {
        commit_staged(&house, &large).await.unwrap();
        rows.push(house.engine.scan(&Scan::prefix(PACKS, b"", 10)).await.unwrap());
    }
    assert!(rows[0] != rows[1] && rows[1] != rows[2]);
}

#[tokio::test]
async fn without_the_rules_of_a_batch_the_same_races_lose_a_chunk() {
    for (bug, late_is_new) in [
        (PlantedBug::NewChunkKeepsCondemnation, true),
        (PlantedBug::DedupHitKeepsCondemnation, false),
    ] {
        let _planted = plant(bug);
        let house = House::new(uncached()).await;
        let octets = message_with_text(&random(900, 58));
        let before = house.stage(&octets).await;
        let early = house.add(&octets).await;
        let late = if late_is_new { before } else { house.stage(&octets).await };
        let sweep = condemn(&house, early.stored_ids().next().unwrap()).await;
        commit_staged(&house, &late).await.unwrap();
        house.engine.commit(sweep).await.unwrap();
        assert!(house.read_all(late.stored()).await.is_err(), "{bug:?}");
    }
}
