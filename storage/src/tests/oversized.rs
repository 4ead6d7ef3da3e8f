//! Objects that are larger than any pack, or whose index says that a chunk is larger than any: each
//! is named, and nobody reads it into memory.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::house::{ANNA, House};
use crate::{
    catalog::{engine::Batch, simulated::SimulatedEngine},
    collector::CollectOptions,
    ids::{MailboxId, StoredId},
    pack::{
        format::{self, ENTRY_OCTETS, FOOTER_OCTETS, HEADER_OCTETS, PACK_OCTETS_LIMIT},
        index::{CHUNK_INDEX, IndexRow, PACKS, PackRow, Place, stored_id_key},
        store::{PackId, local_objects},
        stored::STORED_OCTETS_MAX,
    },
    store::Store,
};

const CHUNK: StoredId = StoredId([5; 32]);

/// A sparse file whose header, index and footer are right: a pack of one chunk of so many octets.
fn sparse_pack(folder: &Path, pack: PackId, chunk_octets: u32) -> (PathBuf, u64) {
    let path = folder.join(pack.path());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
    let file = File::create(&path).expect("create");
    let mut entry = CHUNK.0.to_vec();
    entry.extend_from_slice(&HEADER_OCTETS.to_be_bytes());
    entry.extend_from_slice(&chunk_octets.to_be_bytes());
    entry.extend_from_slice(&10_u32.to_be_bytes());
    let index_offset = HEADER_OCTETS + u64::from(chunk_octets);
    let end = format::sealed_end(index_offset, &entry);
    assert_eq!(end.len(), ENTRY_OCTETS + FOOTER_OCTETS);
    file.write_all_at(&format::header(), 0).expect("write");
    file.write_all_at(&end, index_offset).expect("write");
    (path, index_offset + end.len() as u64)
}

/// A store on a folder, with one message in a pack.
async fn house(folder: &Path) -> House {
    let engine = SimulatedEngine::new(&Store::families(&[]));
    let house = House::open(engine, local_objects(folder).expect("objects")).await;
    let anna = house.create(ANNA, "anna@pec.example", None).await;
    house.append(&anna, MailboxId(1), 1).await.expect("append");
    for _ in 0..20 {
        house.store.octets().pack_once().await.expect("pack");
    }
    house
}

#[tokio::test]
async fn an_object_that_is_too_large_for_a_pack_is_named_by_whoever_meets_it() {
    let limit = u32::try_from(PACK_OCTETS_LIMIT).expect("it fits");
    for chunk_octets in [limit, STORED_OCTETS_MAX + 1, u32::MAX - 200] {
        let folder = tempfile::tempdir().expect("a folder");
        let house = house(folder.path()).await;
        let pack = PackId([9; 16]);
        let (path, pack_octets) = sparse_pack(folder.path(), pack, chunk_octets);
        let octets = house.store.octets();
        let read = octets.packs.read_index(pack).await;
        assert!(matches!(read, Err(crate::error::StoreError::Damaged { .. })), "{read:?}");

        let rebuilt = octets.rebuild_index(&|_| {}).await.expect("rebuilt");
        assert!(rebuilt.damaged.iter().any(|(object, _)| *object == pack.path()), "{rebuilt:?}");

        let options =
            CollectOptions { grace: std::time::Duration::ZERO, ..CollectOptions::default() };
        let dry = CollectOptions { dry_run: true, ..options.clone() };
        let report = house.store.collect(&dry, &|_| {}).await.expect("a dry run");
        let stranger = report.strangers.contains(&pack.path());
        assert_eq!(stranger, pack_octets > PACK_OCTETS_LIMIT, "it cannot be one of ours");

        let mut batch = Batch::default();
        let row = PackRow { pack_octets, chunks: 1 };
        batch.put(PACKS, pack.0.to_vec(), row.encode());
        house.store.commit(batch).await.expect("commit");
        for options in [&dry, &options] {
            let report = house.store.collect(options, &|_| {}).await.expect("collect");
            assert!(report.damaged.iter().any(|text| text.contains(&pack.path())), "{report:?}");
        }
        assert!(path.exists(), "it stays");
        let mut damages = Vec::new();
        loop {
            let step = octets.scrub_step(0).await.expect("scrub");
            damages.extend(step.damages);
            if step.ended {
                break;
            }
        }
        assert!(damages.iter().any(|(object, _)| *object == pack.path()), "{damages:?}");
        let check = octets.check_octets(&|_| {}).await.expect("check");
        assert_eq!(check.damages.len(), 1, "{:?}", check.damages);
    }
}

#[tokio::test]
async fn an_index_row_that_asks_for_too_much_is_damaged_and_nothing_is_read_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = house(folder.path()).await;
    let pack = PackId([9; 16]);
    sparse_pack(folder.path(), pack, u32::MAX - 200);
    let place = Place::Packed { pack, offset: HEADER_OCTETS };
    let row = IndexRow { place, stored_octets: u32::MAX - 200, plain_octets: 10 };
    let mut batch = Batch::default();
    batch.put(CHUNK_INDEX, stored_id_key(CHUNK), row.encode());
    house.store.commit(batch).await.expect("commit");
    let check = house.store.octets().check_octets(&|_| {}).await.expect("check");
    assert_eq!(check.damages.len(), 1, "{:?}", check.damages);
    assert!(check.damages[0].to_string().contains("chunk_index"), "{:?}", check.damages);
}
