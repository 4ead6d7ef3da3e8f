//! After an erasure and a run of the collector no file of the data folder has an octet of the message:
//! not the catalog's log and tables, no pack, no file of the disk cache.
//!
//! Bodies are random octets, which every compression leaves as they are: a part of one is searched for
//! in every file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use storage::{
    account::{Account, erase::EraseRequest},
    catalog::engine::Batch,
    collector::CollectOptions,
    ids::{AccountId, EmailNumber},
    mailbox::view::MailboxView as _,
    octets::ErasureReason,
    store::Store,
    summary::Envelope,
};

use super::store::{account, append, message, open_cached};

const ANNA: AccountId = AccountId(1);
/// Staged when it is erased, and swept so.
const STAGED: u64 = 1;
/// In a pack of the packer.
const PACKED: u64 = 2;
/// So large that it went to a pack at once.
const LARGE: u64 = 7;
/// In one pack with [`COMPANIONS`], which stay.
const AMONG_OTHERS: u64 = 8;
const COMPANIONS: [u64; 5] = [10, 11, 13, 16, 17];
/// Staged when it is erased; the packer takes it before the collector comes.
const PACKED_LATE: u64 = 4;

const ERASED: [u64; 4] = [STAGED, PACKED, AMONG_OTHERS, LARGE];

/// Octets from the middle of a body.
fn marker(seed: u64) -> Vec<u8> {
    let message = message(seed);
    message[message.len() / 2..][..64].to_vec()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The files below `folder` that have the marker.
fn files_with(folder: &Path, seed: u64) -> Vec<PathBuf> {
    let marker = marker(seed);
    let has = |path: &PathBuf| {
        // RocksDB may remove one meanwhile.
        let octets = fs::read(path).unwrap_or_default();
        octets.windows(marker.len()).any(|window| window == marker)
    };
    files(folder).into_iter().filter(has).collect()
}

/// Appends a message and reads it, so that it is in the caches.
async fn add(store: &Store, anna: &Account, seed: u64) -> EmailNumber {
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    append(store, anna, inbox.id(), seed).await.expect("append").email_number
}

async fn read(anna: &Account, number: EmailNumber) {
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    let mut position = 0;
    loop {
        let octets = inbox.read(number, position..u64::MAX).await.expect("read");
        if octets.is_empty() {
            return;
        }
        position += octets.len() as u64;
    }
}

async fn pack(store: &Store) {
    // The packer waits some calls for company.
    for _ in 0..8 {
        store.octets().pack_once().await.expect("pack");
    }
}

async fn erase(anna: &Account, email_number: EmailNumber) {
    let (reason, envelope) = (ErasureReason::DataSubject, Envelope::default());
    let request = EraseRequest { email_number, reason, envelope, also: Batch::default() };
    anna.erase(request).await.expect("erase");
}

async fn collect(store: &Store) {
    let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
    store.collect(&options, &|_| {}).await.expect("collect");
}

/// A store with a message in each of the places, all of them read, and one that stays.
async fn filled(folder: &Path) -> (Arc<Store>, Account, Vec<EmailNumber>) {
    let store = open_cached(folder).await;
    let anna = account(&store, ANNA, None).await;
    let mut numbers = vec![add(&store, &anna, PACKED).await];
    pack(&store).await;
    numbers.push(add(&store, &anna, AMONG_OTHERS).await);
    for seed in COMPANIONS {
        add(&store, &anna, seed).await;
    }
    pack(&store).await;
    numbers.push(add(&store, &anna, LARGE).await);
    numbers.push(add(&store, &anna, STAGED).await);
    store.close().await.expect("close");
    drop((anna, store));

    // With empty memory, so that what is in packs is fetched from there.
    let store = open_cached(folder).await;
    let anna = store.account(ANNA).await.expect("Anna");
    for number in &numbers {
        read(&anna, *number).await;
    }
    store.octets().settle_caches().await;
    (store, anna, numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_octet_of_an_erased_message_is_in_any_file_after_the_collector_has_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, places) = (folder.path(), ["catalog", "objects", "cache"]);
    let (store, anna, numbers) = filled(folder).await;
    let expected = [
        (STAGED, 0),
        (PACKED, 1),
        (PACKED, 2),
        (AMONG_OTHERS, 1),
        (AMONG_OTHERS, 2),
        (LARGE, 1),
        (LARGE, 2),
    ];
    for (seed, place) in expected {
        let found = files_with(&folder.join(places[place]), seed);
        assert!(!found.is_empty(), "{seed} is not in {}", places[place]);
    }
    let cached: Vec<(PathBuf, Vec<u8>)> = files(&folder.join("cache"))
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect();
    for number in numbers {
        erase(&anna, number).await;
    }
    store.purge(&[ANNA]).await.expect("purge");
    collect(&store).await;
    for seed in ERASED {
        assert_eq!(files_with(folder, seed), Vec::<PathBuf>::new(), "{seed}");
    }

    // A process that ended between a sweep and the caches would have left their files.
    store.close().await.expect("close");
    drop((anna, store));
    for (path, octets) in cached {
        fs::write(path, octets).expect("write");
    }
    let store = open_cached(folder).await;
    assert!(!files_with(folder, LARGE).is_empty());
    collect(&store).await;
    assert_eq!(store.check(&|_| {}).await.expect("check").violations, []);
    assert!(COMPANIONS.into_iter().all(|seed| !files_with(folder, seed).is_empty()));
    for seed in ERASED {
        assert_eq!(files_with(folder, seed), Vec::<PathBuf>::new(), "{seed}");
    }
    store.close().await.expect("close");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_packer_takes_between_erasure_and_collection_leaves_the_catalog_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_cached(folder.path()).await;
    let anna = account(&store, ANNA, None).await;
    let number = add(&store, &anna, PACKED_LATE).await;
    erase(&anna, number).await;
    store.purge(&[ANNA]).await.expect("purge");
    pack(&store).await;
    assert!(!files_with(&folder.path().join("objects"), PACKED_LATE).is_empty());
    assert!(!files_with(&folder.path().join("catalog"), PACKED_LATE).is_empty());
    collect(&store).await;
    assert_eq!(files_with(folder.path(), PACKED_LATE), Vec::<PathBuf>::new());
    store.close().await.expect("close");
}
