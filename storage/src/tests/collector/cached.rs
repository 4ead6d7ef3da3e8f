//! What the caches still have of chunks that are gone.

use std::path::Path;

use super::yard::{INBOX, Yard, at_once, letter, small};
use crate::{
    catalog::engine::{Batch, Engine as _},
    mailbox::view::MailboxView as _,
    octets::OctetStoreConfig,
    pack::{
        disk_cache::DiskCacheConfig,
        index::{CHUNK_INDEX, stored_id_key},
    },
    store::Store,
    tests::house::{ANNA, limits},
};

fn files(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).expect("the cache");
    folders.map(|of| std::fs::read_dir(of.expect("an entry").path()).expect("read").count()).sum()
}

#[tokio::test]
async fn a_run_forgets_what_a_sweep_that_was_cut_off_left_in_the_caches() {
    let yard = Yard::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let disk = DiskCacheConfig { folder: folder.path().to_path_buf(), octets_max: 1 << 20 };
    let cache_octets_max = 1 << 20;
    let config = OctetStoreConfig { cache_octets_max, disk_cache: Some(disk), ..small() };
    let random = std::sync::Arc::new(trust::random::SeededRandom::new(8));
    let (objects, clock) = (yard.objects.clone(), yard.clock.clone());
    let engine = yard.engine.clone();
    let store = Store::open_with_engine(engine, objects, clock, random, config, limits());
    let store = store.await.expect("open");
    let stays = yard.add(&letter(1, 6_000)).await;
    let goes = yard.add(&letter(2, 6_000)).await;
    yard.pack().await;
    let inbox = store.account(ANNA).await.expect("Anna").mailbox(INBOX).await.expect("INBOX");
    let mut chunks = Vec::new();
    for uid in [stays, goes] {
        let row = inbox.row(uid).await.expect("row").expect("there");
        inbox.read(row.email_number, 0..row.size).await.expect("read");
        let stored = yard.anna.stored(row.email_number).await.expect("stored");
        chunks.push(stored.stored_ids().collect::<Vec<_>>());
    }
    let octets = store.octets();
    octets.disk.as_ref().expect("a disk cache").settle().await;
    let count = chunks[0].len() + chunks[1].len();
    assert_eq!((octets.cached_page(None, 99).len(), files(folder.path())), (count, count));

    yard.expunge(&[goes]).await;
    let mut sweep = Batch::default();
    for stored in &chunks[1] {
        sweep.delete(CHUNK_INDEX, stored_id_key(*stored));
    }
    yard.engine.commit(sweep).await.expect("commit");
    let dry = crate::collector::CollectOptions { dry_run: true, ..at_once() };
    store.collect(&dry, &|_| {}).await.expect("a dry run");
    assert_eq!(files(folder.path()), count, "a dry run changes nothing");
    store.collect(&at_once(), &|_| {}).await.expect("collect");
    let mut kept = chunks[0].clone();
    kept.sort_unstable();
    assert_eq!(octets.cached_page(None, 99), kept);
    assert_eq!(files(folder.path()), kept.len());
    yard.is_sound().await;
}
