//! Every acknowledgement comes after the sync of what was written for it.
//!
//! A kill spares what the operating system holds in memory, so this cannot be seen by killing: here
//! `strace` watches a process that does one operation after the other and writes a line after each. A
//! process whose log, or whose packs, are not synced is found.

use std::{path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use object_store::{ObjectStore, local::LocalFileSystem};
use storage::{
    catalog::{
        engine::{Batch, Durability, Engine, Family, Page, Reader, Scan},
        rocksdb::RocksEngine,
    },
    error::StoreError,
    held::HeldId,
    ids::{AccountId, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

use super::{
    store::{account, append, engine, objects, open_on, stage, tell},
    trace::{CALLS, Dirty, Event, events, is_promised},
};

const FOLDER: &str = "CERALACCA_TEST_TRACED_FOLDER";
/// `log` or `packs`: what is not synced.
const UNSYNCED: &str = "CERALACCA_TEST_UNSYNCED";
const ROUNDS: u64 = 4;
/// Operations of one round.
const OPERATIONS: u64 = 8;

/// An engine that promises nothing: every batch is buffered.
struct Careless(Arc<RocksEngine>);

#[async_trait::async_trait]
impl Reader for Careless {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.0.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for Careless {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.0.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.0.commit(Batch { durability: Durability::Buffered, ..batch }).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

/// The process that is watched: one operation, one line.
async fn work(folder: &Path) {
    let unsynced = std::env::var(UNSYNCED).unwrap_or_default();
    let engine: Arc<dyn Engine> = match unsynced.as_str() {
        "log" => Arc::new(Careless(engine(folder).await)),
        _ => engine(folder).await,
    };
    let mut packs = objects(folder);
    if unsynced == "packs" {
        let careless = LocalFileSystem::new_with_prefix(folder.join("objects")).expect("a folder");
        packs = Arc::new(careless) as Arc<dyn ObjectStore>;
    }
    let store = open_on(engine, packs).await;
    let account = account(&store, AccountId(1), None).await;
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
    let other = account.mailbox_by_name("Cestino").await.expect("Cestino").id();
    tell("READY");
    for round in 0..ROUNDS {
        // A small message, and one that goes to a pack at once.
        append(&store, &account, inbox.id(), 7 * round + 1).await.expect("append");
        tell("ACK append");
        let large = append(&store, &account, inbox.id(), 7 * round).await.expect("append");
        tell("ACK append of a pack");
        inbox.copy(&[large.uid], other).await.expect("copy");
        tell("ACK copy");
        let flags = Flags { deleted: true, ..Flags::default() };
        inbox.store_flags(&[large.uid], FlagChange::Add, &flags, None).await.expect("flag");
        tell("ACK store");
        inbox.expunge(&[large.uid]).await.expect("expunge");
        tell("ACK expunge");
        let first = Uid::new(large.uid.get() - 1).expect("not zero");
        inbox.move_to(&[first], other).await.expect("move");
        tell("ACK move");
        let held = stage(&store, 1_000 + round).await.expect("stage");
        let mut batch = Batch::default();
        store.hold(HeldId([u8::try_from(round).expect("small"); 16]), &held, &mut batch);
        store.commit(batch).await.expect("hold");
        tell("ACK hold");
        let name = format!("m{round}");
        account.create_mailbox(&name, None).await.expect("create");
        tell("ACK create");
        store.octets().pack_once().await.expect("pack");
    }
    store.close().await.expect("close");
}

/// What was dirty at which acknowledgement, and how many acknowledgements there were.
fn watch(unsynced: &str) -> (Vec<String>, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("strace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "32", "-e", CALLS, "-o"])
        .arg(&output)
        .arg(std::env::current_exe().expect("this test"))
        .args(["traced::every_acknowledgement_comes_after_its_sync", "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(UNSYNCED, unsynced)
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("strace, which `scripts/bootstrap test` installs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let output = std::fs::read(&output).expect("what strace saw");
    let (mut dirty, mut faults) = (Dirty::default(), Vec::new());
    let (mut acknowledged, mut written) = (0, false);
    for event in events(&String::from_utf8_lossy(&output)) {
        dirty.note(&event);
        match &event {
            Event::Write { path } if is_promised(path) => written = true,
            Event::Sent { text, .. } if text.contains("ACK ") => {
                acknowledged += 1;
                assert!(written, "nothing was written for {text}");
                written = false;
                let left = dirty.of(is_promised);
                if !left.is_empty() {
                    faults.push(format!("{text} while {left:?} is not synced"));
                }
            }
            _ => {}
        }
    }
    (faults, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledgement_comes_after_its_sync() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(Path::new(&folder)).await;
    }
    let (faults, acknowledged) = watch("");
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(acknowledged, ROUNDS * OPERATIONS);
    tell(&format!("{acknowledged} acknowledgements, each after the sync of log and packs"));
}

#[test]
fn a_log_that_is_not_synced_is_seen() {
    let (faults, acknowledged) = watch("log");
    assert_eq!(acknowledged, ROUNDS * OPERATIONS);
    assert!(faults.len() as u64 > acknowledged / 2, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains(".log")), "{faults:?}");
}

#[test]
fn packs_that_are_not_synced_are_seen() {
    let (faults, _) = watch("packs");
    assert!(faults.iter().any(|fault| fault.contains("/objects/packs/")), "{faults:?}");
}
