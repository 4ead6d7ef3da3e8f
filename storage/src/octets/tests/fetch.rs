//! What is asked of the object store to read messages.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::TryStreamExt as _;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

use super::{super::fetch::Asked, *};
use crate::{
    objects::metrics::{Metered, Operation, Outcome, RequestObserver},
    pack::disk_cache::DiskCacheConfig,
};

/// Counts reads.
#[derive(Debug, Default)]
struct Reads(AtomicUsize);

impl Reads {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl RequestObserver for Reads {
    fn request(&self, operation: Operation, _: Outcome, _: u64, _: Duration) {
        self.0.fetch_add(usize::from(operation == Operation::Get), Ordering::SeqCst);
    }

    fn retry(&self, _: Operation) {}
}

/// A house whose object store answers after a moment and counts reads.
async fn counted(config: OctetStoreConfig) -> (House, Arc<Reads>) {
    let pause =
        ThrottleConfig { wait_get_per_call: Duration::from_millis(2), ..ThrottleConfig::default() };
    let reads = Arc::new(Reads::default());
    let slow = ThrottledStore::new(InMemory::new(), pause);
    let objects = Arc::new(Metered::new(slow, reads.clone()));
    let engine = SimulatedEngine::new(OctetStore::families());
    (House::open(engine, objects, config).await, reads)
}

/// The same house with empty memory.
async fn again(house: &House, config: OctetStoreConfig) -> House {
    House::open(house.engine.clone(), house.objects.clone(), config).await
}

#[tokio::test]
async fn a_large_message_is_read_in_few_requests_and_a_part_of_it_in_no_more_than_it_needs() {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let (house, reads) = counted(config.clone()).await;
    let octets = message_with_text(&random(8 << 20, 21));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    let chunks = message.stored_ids().count();
    let single = OctetStoreConfig { read_ahead_octets_max: 0, ..config.clone() };
    let one_by_one = again(&house, single).await;
    reads.take();
    assert_eq!(one_by_one.read_all(&message).await.unwrap(), octets);
    assert_eq!(reads.take(), chunks);
    let ahead = again(&house, config.clone()).await;
    assert_eq!(ahead.read_all(&message).await.unwrap(), octets);
    let together = reads.take();
    assert!(together <= chunks / 2, "{together} requests for {chunks} chunks");
    let part = again(&house, config).await;
    assert_eq!(part.store.read(&message, 100..1_000).await.unwrap(), octets[100..1_000]);
    assert!(reads.take() <= 2, "the chunks of the part and no more");
}

#[tokio::test]
async fn a_small_message_of_several_chunks_is_read_in_one_request() {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let (house, reads) = counted(config.clone()).await;
    let octets = message_with_text(&random(20_000, 25));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    assert!(message.stored_ids().count() > 1);
    let cold = again(&house, config).await;
    reads.take();
    assert_eq!(cold.store.read(&message, 0..message.size()).await.unwrap(), octets);
    assert_eq!(reads.take(), 1);
}

#[tokio::test]
async fn copies_of_a_message_that_are_read_together_ask_for_what_they_share_once() {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let (house, reads) = counted(config.clone()).await;
    let text = message_with_text(&random(20_000, 26));
    let mut copies = Vec::new();
    for number in 0..8 {
        let octets = [format!("X-Copy: {number}\r\n").as_bytes(), &text].concat();
        copies.push((house.add(&octets).await, octets));
        // Each header lies in a pack of its own.
        house.store.pack_once().await.unwrap();
    }
    let cold = again(&house, config).await;
    reads.take();
    let read = copies.iter().map(|(message, _)| cold.store.read(message, 0..message.size()));
    for (octets, (_, copy)) in futures::future::join_all(read).await.into_iter().zip(&copies) {
        assert_eq!(octets.unwrap(), *copy);
    }
    let chunks: BTreeSet<_> = copies.iter().flat_map(|(copy, _)| copy.stored_ids()).collect();
    assert!(reads.take() <= chunks.len(), "no chunk is asked for twice");
    let figures = cold.store.cache.figures();
    assert_eq!(figures.misses, chunks.len() as u64);
}

#[tokio::test]
async fn a_pack_that_ends_early_is_damage_that_is_named_also_to_who_reads_ahead() {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    for keep in [0, 100, 15_000] {
        let house = House::new(config.clone()).await;
        let message = house.add(&message_with_text(&random(20_000, 27))).await;
        house.store.pack_once().await.unwrap();
        let path = only_object(&house).await;
        let octets = house.objects.get(&path).await.unwrap().bytes().await.unwrap();
        house.objects.put(&path, octets.slice(..keep).into()).await.unwrap();
        let cold = again(&house, config.clone()).await;
        let error = cold.store.read(&message, 0..message.size()).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{keep}: {error:?}");
    }
}

async fn only_object(house: &House) -> Path {
    let objects: Vec<_> = house.objects.list(None).try_collect().await.unwrap();
    let [object] = &objects[..] else { panic!("{objects:?}") };
    object.location.clone()
}

#[tokio::test]
async fn what_cannot_be_had_behind_the_window_does_not_keep_the_window_from_its_reader() {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let (house, _) = counted(config.clone()).await;
    let octets = message_with_text(&random(3 << 20, 28));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    let last = message.recipe().chunks.last().unwrap().stored;
    let mut batch = Batch::default();
    batch.put(CHUNK_INDEX, stored_id_key(last), "no row");
    house.engine.commit(batch).await.unwrap();
    let cold = again(&house, config).await;
    let first = cold.store.read(&message, 0..message.size()).await.unwrap();
    assert_eq!(first, octets[..first.len()]);
    assert!(cold.read_all(&message).await.is_err());
}

#[tokio::test]
async fn staged_chunks_that_are_fetched_together_are_misses_and_not_hits() {
    let (house, reads) = counted(OctetStoreConfig::default()).await;
    let octets = message_with_text(&random(20_000, 29));
    let message = house.add(&octets).await;
    let cold = again(&house, OctetStoreConfig::default()).await;
    assert_eq!(cold.store.read(&message, 0..message.size()).await.unwrap(), octets);
    let figures = cold.store.cache.figures();
    let chunks = message.stored_ids().count() as u64;
    assert_eq!((figures.hits, figures.misses, reads.take()), (0, chunks, 0));
}

#[tokio::test]
async fn readers_who_miss_a_chunk_together_ask_for_it_once() {
    let (house, reads) = counted(uncached()).await;
    let octets = message_with_text(&random(100_000, 22));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    let chunks = message.stored_ids().count();
    reads.take();
    let readers = (0..16).map(|_| house.store.read(&message, 0..60_000));
    for read in futures::future::join_all(readers).await {
        assert_eq!(read.unwrap(), octets[..60_000]);
    }
    assert!(reads.take() <= chunks, "nothing is kept in memory, and yet one request for each");
}

#[tokio::test]
async fn the_disk_cache_answers_for_the_object_store_and_never_with_wrong_octets() {
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCacheConfig { folder: folder.path().to_path_buf(), octets_max: 64 << 20 };
    let config = OctetStoreConfig { disk_cache: Some(disk), ..uncached() };
    let (house, reads) = counted(config.clone()).await;
    let octets = message_with_text(&random(300_000, 23));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    house.store.disk.as_ref().unwrap().settle().await;
    drop(house.store);
    let house = House::open(house.engine, house.objects, config).await;
    reads.take();
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    assert_eq!(reads.take(), 0, "all of it was on disk");
    let mut damaged = 0;
    for stored in message.stored_ids() {
        let first = format!("{:02x}", stored.0[0]);
        let path = folder.path().join(first).join(format!("{stored}.chunk"));
        let mut file = std::fs::read(&path).unwrap();
        let last = file.len() - 1;
        file[last] ^= 1;
        std::fs::write(&path, file).unwrap();
        damaged += 1;
    }
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    assert!(reads.take() >= damaged, "each damaged file was read again from its pack");
}

#[tokio::test]
async fn a_reader_who_ends_after_the_sweep_leaves_nothing_of_the_chunk_in_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCacheConfig { folder: folder.path().to_path_buf(), octets_max: 64 << 20 };
    let cache_octets_max = 64 << 20;
    let config = OctetStoreConfig { disk_cache: Some(disk), cache_octets_max, ..uncached() };
    let (house, _) = counted(config).await;
    let message = house.add(&message_with_text(&random(300_000, 24))).await;
    house.store.pack_once().await.unwrap();
    let disk = house.store.disk.as_ref().unwrap();
    for (swept, asked) in [(false, Asked::Now), (true, Asked::Ahead), (true, Asked::Now)] {
        let mut rows = Vec::new();
        for chunk in &message.recipe().chunks {
            let row = house.store.index_row(chunk.stored).await.unwrap().unwrap();
            let form = house.store.stored_form(chunk.stored, &row).await.unwrap().unwrap();
            if swept {
                // Both steps of the collector, while the reader has the octets in his hands.
                rows.push((
                    chunk.stored,
                    house.engine.get(CHUNK_INDEX, &chunk.stored.0).await.unwrap(),
                ));
                let mut batch = Batch::default();
                batch.delete(CHUNK_INDEX, stored_id_key(chunk.stored));
                house.engine.commit(batch).await.unwrap();
            }
            house.store.forget_cached(chunk.stored).await;
            house.store.verified(chunk, &row, form, asked).await.unwrap();
            disk.settle().await;
            assert_eq!(disk.get(chunk.stored).await.is_none(), swept);
            assert_eq!(house.store.cache.get(chunk.stored, chunk.chunk).is_none(), swept);
        }
        let mut batch = Batch::default();
        for (stored, row) in rows {
            batch.put(CHUNK_INDEX, stored_id_key(stored), row.unwrap());
        }
        house.engine.commit(batch).await.unwrap();
    }
}
