//! The octet store as a whole, over the simulated engine and object stores in memory and on disk.

mod check;
mod dedup;
mod fetch;
mod hostile;
mod races;
mod ranges;
mod scrub;

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path};
use trust::{
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom},
};

use super::*;
use crate::{
    catalog::{
        engine::{Batch, Engine, Expected, Reader as _, Scan},
        simulated::SimulatedEngine,
    },
    error::StoreError,
    pack::{
        index::{CHUNK_INDEX, CONDEMNED, PACKS, STAGED_CHUNKS, stored_id_key},
        store::local_objects,
    },
    tests::objects::fresh,
};

pub(super) struct House {
    pub(super) engine: Arc<SimulatedEngine>,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) store: Arc<OctetStore>,
}

impl House {
    pub(super) async fn new(config: OctetStoreConfig) -> Self {
        let engine = SimulatedEngine::new(OctetStore::families());
        Self::open(engine, fresh(), config).await
    }

    pub(super) async fn open(
        engine: Arc<SimulatedEngine>,
        objects: Arc<dyn ObjectStore>,
        config: OctetStoreConfig,
    ) -> Self {
        let random = Arc::new(SeededRandom::new(11));
        let store =
            OctetStore::open(engine.clone(), objects.clone(), random, config).await.unwrap();
        Self { engine, objects, store }
    }

    pub(super) async fn stage(&self, octets: &[u8]) -> StagedMessage {
        let mut writer = self.store.writer();
        writer.write(octets).await.unwrap();
        writer.finish().await.unwrap()
    }

    pub(super) async fn add(&self, octets: &[u8]) -> StoredMessage {
        let staged = self.stage(octets).await;
        let mut batch = Batch::default();
        staged.add_to(&mut batch);
        self.engine.commit(batch).await.unwrap();
        assert_eq!(staged.digest(), Sha256Digest::of(octets));
        staged.stored().clone()
    }

    pub(super) async fn read_all(&self, message: &StoredMessage) -> Result<Vec<u8>, StoreError> {
        let mut octets = Vec::new();
        loop {
            let next = self.store.read(message, octets.len() as u64..u64::MAX).await?;
            if next.is_empty() {
                return Ok(octets);
            }
            octets.extend_from_slice(&next);
        }
    }

    /// Stored octets of every chunk in the index.
    pub(super) async fn stored_octets(&self) -> u64 {
        let rows = self.engine.scan(&Scan::prefix(CHUNK_INDEX, b"", 10_000)).await.unwrap();
        rows.iter()
            .map(|(key, row)| {
                let stored = crate::pack::index::stored_id_of(key).unwrap();
                u64::from(crate::pack::index::IndexRow::decode(row, stored).unwrap().stored_octets)
            })
            .sum()
    }

    async fn rows(&self, family: crate::catalog::engine::Family) -> usize {
        self.engine.scan(&Scan::prefix(family, b"", 10_000)).await.unwrap().len()
    }
}

/// Nothing is cached, everything is packed at once.
pub(super) fn uncached() -> OctetStoreConfig {
    OctetStoreConfig { cache_octets_max: 0, pack_patience_calls: 0, ..OctetStoreConfig::default() }
}

pub(super) fn random(octets: usize, seed: u64) -> Vec<u8> {
    let mut buffer = vec![0; octets];
    SeededRandom::new(seed).fill(&mut buffer);
    buffer
}

pub(super) fn message_with_text(octets: &[u8]) -> Vec<u8> {
    let mut message = b"From: a@example.test\r\nSubject: ciao\r\n\r\n".to_vec();
    message.extend_from_slice(octets);
    message
}

#[tokio::test]
async fn messages_of_every_size_read_back_whole_and_in_ranges() {
    let house = House::new(uncached()).await;
    for (seed, size) in [0, 1, 100, 4_095, 4_096, 70_000, 300_000, 3 << 20].into_iter().enumerate()
    {
        let octets = message_with_text(&random(size, seed as u64));
        let message = house.add(&octets).await;
        assert_eq!(message.size(), octets.len() as u64);
        assert_eq!(house.read_all(&message).await.unwrap(), octets);
        let middle = octets.len() as u64 / 2;
        let range = middle.saturating_sub(20)..middle + 20;
        let part = house.store.read(&message, range.clone()).await.unwrap();
        let start = usize::try_from(range.start).unwrap();
        assert_eq!(part, octets[start..(start + part.len())]);
        house.store.verify_message(&message).await.unwrap();
    }
}

#[tokio::test]
async fn the_empty_message_is_a_message() {
    let house = House::new(uncached()).await;
    let message = house.add(b"").await;
    assert_eq!(message.size(), 0);
    assert!(house.read_all(&message).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_packer_moves_staged_chunks_and_everything_reads_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let engine = SimulatedEngine::new(OctetStore::families());
    let objects = local_objects(folder.path()).unwrap();
    let house = House::open(engine, objects, uncached()).await;
    let octets = message_with_text(&random(50_000, 1));
    let message = house.add(&octets).await;
    let before = house.store.physical(&message).await.unwrap();
    assert!(before.iter().all(|chunk| chunk.place == ChunkPlace::Staged));
    let report = house.store.pack_once().await.unwrap();
    assert_eq!(report.chunks, before.len() as u64);
    assert_eq!(house.rows(STAGED_CHUNKS).await, 0);
    assert_eq!(house.rows(PACKS).await, 1);
    let after = house.store.physical(&message).await.unwrap();
    assert!(after.iter().all(|chunk| matches!(chunk.place, ChunkPlace::Pack { .. })));
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    assert_eq!(house.store.pack_once().await.unwrap(), PackReport::default());
}

#[tokio::test]
async fn few_staged_octets_wait_for_company_but_not_for_ever() {
    let config = OctetStoreConfig { pack_patience_calls: 2, ..uncached() };
    let house = House::new(config).await;
    house.add(&message_with_text(b"short")).await;
    for _ in 0..2 {
        let report = house.store.pack_once().await.unwrap();
        assert_eq!((report.chunks, report.waiting), (0, 1));
    }
    assert_eq!(house.store.pack_once().await.unwrap().chunks, 1);
}

#[tokio::test]
async fn the_same_octets_are_stored_once() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(600_000, 3));
    let first = house.add(&octets).await;
    let stored = house.stored_octets().await;
    let second = house.add(&octets).await;
    assert_eq!(house.stored_octets().await, stored);
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_batch_that_uses_a_chunk_again_takes_back_its_condemnation_and_fails_when_it_is_gone() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(10_000, 4));
    let message = house.add(&octets).await;
    let chunk = message.stored_ids().next().unwrap();
    let mut condemn = Batch::default();
    condemn.put(CONDEMNED, stored_id_key(chunk), Bytes::from_static(b"\x01"));
    house.engine.commit(condemn).await.unwrap();
    let again = house.stage(&octets).await;
    let mut batch = Batch::default();
    again.add_to(&mut batch);
    house.engine.commit(batch).await.unwrap();
    assert_eq!(house.rows(CONDEMNED).await, 0);
    let mut remove = Batch::default();
    remove.delete(CHUNK_INDEX, stored_id_key(chunk));
    house.engine.commit(remove).await.unwrap();
    let mut batch = Batch::default();
    StagedMessage::restage(message, again.summary().clone()).add_to(&mut batch);
    assert!(matches!(house.engine.commit(batch).await, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn a_chunk_that_moves_while_it_is_read_is_looked_up_once_more() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(10_000, 5));
    let message = house.add(&octets).await;
    let reader = house.store.clone();
    let reads = tokio::spawn(async move {
        let mut all = Vec::new();
        for _ in 0..200 {
            all.push(reader.read(&message, 0..100).await.unwrap());
            tokio::task::yield_now().await;
        }
        all
    });
    house.store.pack_once().await.unwrap();
    assert!(reads.await.unwrap().iter().all(|octets_read| octets_read == &octets[..100]));
}

#[tokio::test]
async fn a_collector_that_takes_a_staged_chunk_first_makes_the_packer_leave_everything() {
    let house = House::new(uncached()).await;
    house.add(&message_with_text(&random(10_000, 6))).await;
    let index = house.engine.scan(&Scan::prefix(CHUNK_INDEX, b"", 10)).await.unwrap();
    let mut batch = Batch::default();
    batch.expect(CHUNK_INDEX, index[0].0.clone(), Expected::Present);
    batch.delete(CHUNK_INDEX, index[0].0.clone());
    house.engine.commit(batch).await.unwrap();
    let report = house.store.pack_once().await.unwrap();
    assert_eq!((report.superseded, report.chunks), (1, index.len() as u64 - 1));
    assert_eq!(house.rows(STAGED_CHUNKS).await, 0);
}

#[tokio::test]
async fn every_changed_octet_of_a_pack_on_disk_reads_as_damage_that_names_the_pack() {
    // In memory always: an object is replaced for each octet.
    let engine = SimulatedEngine::new(OctetStore::families());
    let house = House::open(engine, Arc::new(InMemory::new()), uncached()).await;
    let octets = message_with_text(&random(900, 7));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    let (packs, _) = house.store.packs.list().await.unwrap();
    let path = packs[0].path();
    let whole = house.objects.get(&Path::from(path.as_str())).await.unwrap().bytes().await.unwrap();
    let uses = house.store.physical(&message).await.unwrap();
    let ChunkPlace::Pack { offset, .. } = uses[0].place else { panic!() };
    let start = usize::try_from(offset).unwrap();
    for position in start..start + uses[0].stored_octets as usize {
        let mut changed = whole.to_vec();
        changed[position] ^= 0x10;
        house.objects.put(&Path::from(path.as_str()), changed.into()).await.unwrap();
        match house.store.read(&message, 0..10).await {
            Ok(read) => assert_eq!(read, octets[..10]),
            Err(StoreError::Damaged { object, .. }) => assert!(object.contains(&path)),
            Err(error) => panic!("{error}"),
        }
    }
    house.objects.delete(&Path::from(path.as_str())).await.unwrap();
    let lost = house.store.read(&message, 0..10).await;
    assert!(matches!(lost, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn an_acknowledged_message_survives_a_crash() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(2 << 20, 8));
    let message = house.add(&octets).await;
    let again = House::open(house.engine.crash(), house.objects.clone(), uncached()).await;
    assert_eq!(again.read_all(&message).await.unwrap(), octets);
}

#[tokio::test]
async fn a_message_that_shares_a_damaged_chunk_heals_it_when_it_is_sent_again() {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(900, 9));
    let first = house.add(&octets).await;
    let staged = house.engine.scan(&Scan::prefix(STAGED_CHUNKS, b"", 1)).await.unwrap();
    let (key, stored) = staged[0].clone();
    let mut changed = stored.to_vec();
    changed[100] ^= 1;
    let mut batch = Batch::default();
    batch.put(STAGED_CHUNKS, key, changed);
    house.engine.commit(batch).await.unwrap();
    let mut writer = house.store.writer();
    writer.write(&octets).await.unwrap();
    assert!(matches!(writer.finish().await, Err(StoreError::Conflict)), "not acknowledged");
    assert!(matches!(house.read_all(&first).await, Err(StoreError::Damaged { .. })));
    let again = house.add(&octets).await;
    assert_eq!(house.read_all(&again).await.unwrap(), octets);
    assert_eq!(house.read_all(&first).await.unwrap(), octets, "the first message is healed");
    house.stage(&octets).await;
}

#[tokio::test]
#[ignore = "reads the folder named by CERALACCA_MAIL_SAMPLES"]
async fn samples_of_real_mail_are_rebuilt_and_summarised() {
    let folder = std::env::var("CERALACCA_MAIL_SAMPLES").unwrap();
    let house = House::new(uncached()).await;
    let mut folders = vec![std::path::PathBuf::from(folder)];
    let mut messages = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let octets = std::fs::read(&path).unwrap();
            let staged = house.stage(&octets).await;
            let mut batch = Batch::default();
            staged.add_to(&mut batch);
            house.engine.commit(batch).await.unwrap();
            assert_eq!(
                house.read_all(staged.stored()).await.unwrap(),
                octets,
                "{}",
                path.display()
            );
            messages += 1;
        }
    }
    assert!(messages > 0);
}
