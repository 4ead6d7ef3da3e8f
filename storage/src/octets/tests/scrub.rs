//! Scrubbing finds every changed octet, remembers how far it is and what is damaged; the index comes
//! back whatever was lost of it.

use super::*;
use crate::{
    catalog::engine::Family,
    octets::{IndexRebuilt, ScrubStep},
    pack::index::{CHUNK_INDEX, DAMAGED_CHUNKS, PACKS},
};

/// Two packs and a staged chunk: messages and their octets.
async fn furnished() -> (House, Vec<(StoredMessage, Vec<u8>)>) {
    let house = House::new(uncached()).await;
    let mut messages = Vec::new();
    for seed in [31, 32] {
        let octets = message_with_text(&random(5_000, seed));
        messages.push((house.add(&octets).await, octets));
        house.store.pack_once().await.unwrap();
    }
    let octets = message_with_text(&random(5_000, 33));
    messages.push((house.add(&octets).await, octets));
    assert_eq!(house.store.packs.list().await.unwrap().0.len(), 2);
    (house, messages)
}

async fn scrub(house: &House) -> Vec<ScrubStep> {
    let mut steps = Vec::new();
    loop {
        let step = house.store.scrub_step(1_000).await.unwrap();
        let ended = step.ended;
        steps.push(step);
        if ended {
            return steps;
        }
    }
}

fn damages(steps: &[ScrubStep]) -> Vec<(String, String)> {
    steps.iter().flat_map(|step| step.damages.clone()).collect()
}

async fn first_pack(house: &House) -> (Path, Vec<u8>) {
    let path = Path::from(house.store.packs.list().await.unwrap().0[0].path());
    let whole = house.objects.get(&path).await.unwrap().bytes().await.unwrap();
    (path, whole.to_vec())
}

async fn lose(house: &House, family: Family) {
    let mut batch = Batch::default();
    for (key, _) in house.engine.scan(&Scan::prefix(family, b"", 1_000)).await.unwrap() {
        batch.delete(family, key);
    }
    house.engine.commit(batch).await.unwrap();
}

async fn all_are_read(house: &House, messages: &[(StoredMessage, Vec<u8>)]) {
    for (message, octets) in messages {
        assert_eq!(&house.read_all(message).await.unwrap(), octets);
    }
}

#[tokio::test]
async fn a_run_goes_on_after_a_stop_and_leaves_its_result() {
    let (house, _) = furnished().await;
    let first = house.store.scrub_step(1_000).await.unwrap();
    assert!(first.octets > 5_000 && !first.ended);
    let state = house.store.scrub_state().await.unwrap();
    assert_eq!((state.present.unwrap().packs, state.last), (1, None));
    let rest = scrub(&house).await;
    assert_eq!(rest.len(), 2, "the second pack, and the end");
    let last = house.store.scrub_state().await.unwrap().last.unwrap();
    assert_eq!((last.packs, last.damaged_packs, last.damaged_chunks), (2, 0, 0));
    assert!(last.chunks >= 2 && last.octets > 10_000);
    assert_eq!(scrub(&house).await.len(), 3, "a new run");
}

#[tokio::test]
async fn every_changed_octet_is_found_and_damaged_chunks_are_remembered_until_they_are_healed() {
    let (house, messages) = furnished().await;
    let (path, whole) = first_pack(&house).await;
    for position in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let mut changed = whole.clone();
        changed[position] ^= 0x20;
        house.objects.put(&path, changed.into()).await.unwrap();
        let found = damages(&scrub(&house).await);
        assert!(!found.is_empty(), "octet {position} of {}", whole.len());
        assert!(found.iter().all(|(object, _)| object.contains(path.as_ref())), "{found:?}");
    }
    let mut changed = whole.clone();
    changed[100] ^= 0x20;
    house.objects.put(&path, changed.into()).await.unwrap();
    scrub(&house).await;
    let damaged = house.store.damaged_chunks(10).await.unwrap();
    assert_eq!(damaged.len(), 1);
    let of_it = |message: &StoredMessage| message.stored_ids().any(|id| damaged.contains(&id));
    let (_, octets) = messages.iter().find(|(message, _)| of_it(message)).unwrap();
    // The same octets once more: the chunk is stored anew, and all its messages are well.
    house.add(octets).await;
    assert_eq!(house.store.damaged_chunks(10).await.unwrap(), []);
    assert!(house.engine.scan(&Scan::prefix(DAMAGED_CHUNKS, b"", 9)).await.unwrap().is_empty());
    all_are_read(&house, &messages).await;
}

#[tokio::test]
async fn a_pack_that_is_gone_is_damage_of_every_chunk_in_it() {
    let (house, _) = furnished().await;
    let (path, _) = first_pack(&house).await;
    house.objects.delete(&path).await.unwrap();
    let found = damages(&scrub(&house).await);
    assert!(found.iter().any(|(_, detail)| detail == "there is no such object"), "{found:?}");
    assert!(!house.store.damaged_chunks(10).await.unwrap().is_empty());
    let last = house.store.scrub_state().await.unwrap().last.unwrap();
    assert_eq!(last.damaged_packs, 1);
}

async fn rebuild(house: &House) -> IndexRebuilt {
    house.store.rebuild_index(&|_| {}).await.unwrap()
}

#[tokio::test]
async fn the_index_comes_back_from_packs_and_staged_chunks() {
    let (house, messages) = furnished().await;
    lose(&house, CHUNK_INDEX).await;
    lose(&house, PACKS).await;
    assert!(house.read_all(&messages[0].0).await.is_err());
    let rebuilt = rebuild(&house).await;
    assert_eq!((rebuilt.packs, rebuilt.mended, rebuilt.lost), (2, 0, 0), "{rebuilt:?}");
    assert_eq!((rebuilt.added, rebuilt.damaged.len()), (rebuilt.chunks, 0));
    all_are_read(&house, &messages).await;
    assert!(house.store.check_octets(&|_| {}).await.unwrap().damages.is_empty());
    assert_eq!(rebuild(&house).await.added, 0);
}

#[tokio::test]
async fn a_row_that_leads_to_a_lost_pack_is_mended_when_another_pack_has_the_chunk() {
    let (house, messages) = furnished().await;
    let (path, whole) = first_pack(&house).await;
    // The same pack once more under another name, and the first one gone.
    let copy = crate::pack::store::PackId([0xfe; 16]);
    house.store.packs.put(copy, whole.into()).await.unwrap();
    house.objects.delete(&path).await.unwrap();
    let rebuilt = rebuild(&house).await;
    assert!(rebuilt.mended > 0 && rebuilt.lost == 0, "{rebuilt:?}");
    all_are_read(&house, &messages).await;
}

#[tokio::test]
async fn a_damaged_pack_is_passed_over_and_nothing_is_thrown_away() {
    let (house, messages) = furnished().await;
    let (path, whole) = first_pack(&house).await;
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    house.objects.put(&path, changed.into()).await.unwrap();
    let rebuilt = rebuild(&house).await;
    assert_eq!((rebuilt.packs, rebuilt.lost), (1, 0), "its rows still lead to the chunks");
    assert_eq!(rebuilt.damaged.len(), 1);
    all_are_read(&house, &messages).await;
    lose(&house, CHUNK_INDEX).await;
    let rebuilt = rebuild(&house).await;
    assert!(rebuilt.damaged[0].0.contains(path.as_ref()), "{rebuilt:?}");
    // Whoever puts the pack right and repeats has everything again.
    house.objects.put(&path, whole.into()).await.unwrap();
    assert_eq!(rebuild(&house).await.damaged, []);
    all_are_read(&house, &messages).await;
}
