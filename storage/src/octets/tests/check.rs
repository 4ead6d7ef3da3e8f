//! The check finds what was changed or lost, and only that; the index comes back from packs.

use super::*;
use crate::{octets::check::OctetCheck, pack::index::IndexRow};

async fn check(house: &House) -> OctetCheck {
    house.store.check_octets(&|_| {}).await.unwrap()
}

async fn packed() -> (House, StoredMessage, Vec<u8>, Path) {
    let house = House::new(uncached()).await;
    let octets = message_with_text(&random(900, 20));
    let message = house.add(&octets).await;
    house.store.pack_once().await.unwrap();
    let (packs, _) = house.store.packs.list().await.unwrap();
    (house, message, octets, Path::from(packs[0].path()))
}

#[tokio::test]
async fn a_sound_store_has_nothing_to_report() {
    let house = House::new(uncached()).await;
    house.add(&message_with_text(&random(2 << 20, 21))).await;
    house.store.pack_once().await.unwrap();
    house.add(&message_with_text(&random(10_000, 22))).await;
    let found = check(&house).await;
    assert!(found.damages.is_empty(), "{:?}", found.damages);
    assert!(found.unnamed.is_empty());
    assert!(found.staged > 0 && found.chunks > found.staged && found.packs > 1);
    assert_eq!(house.store.staged_chunks(10).await.unwrap() as u64, found.staged);
}

#[tokio::test]
async fn every_changed_octet_of_a_pack_is_found() {
    let (house, _, _, path) = packed().await;
    let whole = house.objects.get(&path).await.unwrap().bytes().await.unwrap();
    for position in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[position] ^= 0x20;
        house.objects.put(&path, changed.into()).await.unwrap();
        let found = check(&house).await;
        assert!(!found.damages.is_empty(), "octet {position} of {}", whole.len());
        assert!(found.damages.iter().all(|damage| damage.to_string().contains(path.as_ref())));
    }
    house.objects.delete(&path).await.unwrap();
    assert!(!check(&house).await.damages.is_empty());
}

#[tokio::test]
async fn a_lost_or_changed_staged_chunk_is_found() {
    let house = House::new(uncached()).await;
    house.add(&message_with_text(&random(900, 23))).await;
    let staged = house.engine.scan(&Scan::prefix(STAGED_CHUNKS, b"", 10)).await.unwrap();
    let (key, octets) = staged[0].clone();
    let mut changed = octets.to_vec();
    changed[20] ^= 1;
    let mut batch = Batch::default();
    batch.put(STAGED_CHUNKS, key.clone(), changed);
    house.engine.commit(batch).await.unwrap();
    assert_eq!(check(&house).await.damages.len(), 1);
    let mut batch = Batch::default();
    batch.delete(STAGED_CHUNKS, key);
    house.engine.commit(batch).await.unwrap();
    assert_eq!(check(&house).await.damages.len(), 1);
}

#[tokio::test]
async fn a_pack_of_a_batch_that_was_never_committed_is_unnamed_and_no_damage() {
    let house = House::new(uncached()).await;
    let _abandoned = house.stage(&message_with_text(&random(500_000, 24))).await;
    let found = check(&house).await;
    assert!(found.damages.is_empty());
    assert_eq!((found.chunks, found.unnamed.len()), (0, 1));
}

#[tokio::test]
async fn the_index_is_rebuilt_from_packs_alone() {
    let (house, message, octets, _) = packed().await;
    let mut batch = Batch::default();
    for family in [CHUNK_INDEX, PACKS] {
        for (key, _) in house.engine.scan(&Scan::prefix(family, b"", 100)).await.unwrap() {
            batch.delete(family, key);
        }
    }
    house.engine.commit(batch).await.unwrap();
    assert!(house.read_all(&message).await.is_err());
    let rebuilt = house.store.rebuild_index(&|_| {}).await.unwrap();
    let right =
        IndexRebuilt { packs: 1, packs_total: 1, chunks: 1, added: 1, ..Default::default() };
    assert_eq!(rebuilt, right);
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    assert!(check(&house).await.damages.is_empty());
    let again = house.store.rebuild_index(&|_| {}).await.unwrap();
    assert_eq!(again, IndexRebuilt { added: 0, ..right });
}

#[tokio::test]
async fn an_index_row_that_gives_another_length_is_found_and_mended_from_what_is_there() {
    let house = House::new(uncached()).await;
    house.add(&message_with_text(&random(900, 25))).await;
    let (key, octets) =
        house.engine.scan(&Scan::prefix(CHUNK_INDEX, b"", 10)).await.unwrap()[0].clone();
    let stored = crate::pack::index::stored_id_of(&key).unwrap();
    let right = IndexRow::decode(&octets, stored).unwrap();
    for stored_octets in [right.stored_octets - 1, right.stored_octets + 1] {
        let mut batch = Batch::default();
        batch.put(CHUNK_INDEX, key.clone(), IndexRow { stored_octets, ..right }.encode());
        house.engine.commit(batch).await.unwrap();
        assert_eq!(check(&house).await.damages.len(), 1);
        let rebuilt = house.store.rebuild_index(&|_| {}).await.unwrap();
        assert_eq!((rebuilt.mended, rebuilt.added), (1, 0), "{rebuilt:?}");
        let row = house.engine.get(CHUNK_INDEX, &key).await.unwrap().unwrap();
        assert_eq!(IndexRow::decode(&row, stored).unwrap(), right);
        assert!(check(&house).await.damages.is_empty());
    }
}
