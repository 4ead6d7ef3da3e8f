//! The default engine: RocksDB, embedded, one column family per [`Family`].
//!
//! * Every batch is written by one thread (`group`), which commits what waits together under one
//!   sync of the write-ahead log.
//! * What stands in memory is read inline; what may touch the disk is read on the blocking pool,
//!   a bounded number of reads at a time (`read`).
//! * After a write or sync failed nothing is committed any more until the store is opened again:
//!   what the log then holds is the truth, and callers were told that the outcome is unknown.
//! * A torn record at the end of the log is what a power cut leaves and is cut off; damage before
//!   the end is refused at opening, because synced batches stood there.
//!
//! Not here: what keys and values mean (`keys`, `records`).

mod checkpoint;
mod group;
mod options;
mod purge;
mod read;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
};

use bytes::Bytes;
use rocksdb::{ColumnFamilyDescriptor, DB, Options};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::options::RocksConfig;
use self::{group::Request, read::View};
use super::{
    commit::NUMBERED_SEQUENCES,
    engine::{Batch, CheckpointSource, Engine, Family, Page, PurgeRange, Reader, Scan},
};
use crate::error::StoreError;

/// RocksDB as an [`Engine`].
#[derive(Debug)]
pub struct RocksEngine {
    /// `None` after closing.
    db: RwLock<Option<Arc<DB>>>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    leader: Mutex<Option<JoinHandle<()>>>,
    families: Arc<BTreeSet<Family>>,
    blocking_reads: Arc<Semaphore>,
}

/// How often writers were held up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stalls {
    /// Times they had to wait.
    pub stops: u64,
    /// Times they were slowed down.
    pub delays: u64,
}

/// The property of a family that counts its stalls, as a text of `name : number` lines.
const STALL_PROPERTY: &str = "rocksdb.cf-write-stall-stats";

/// Properties that are above zero while there is work in the background.
const BUSY_PROPERTIES: [&str; 4] = [
    "rocksdb.mem-table-flush-pending",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.num-running-compactions",
];

/// The number behind `name` in such a text.
fn counted(text: &str, name: &str) -> u64 {
    let numbers = text.lines().filter_map(|line| line.split_once(':'));
    let mut wanted = numbers.filter(|(found, _)| found.trim() == name);
    wanted.next().and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// The file that RocksDB's current manifest is named in; a database has it from its creation on.
const CURRENT: &str = "CURRENT";

impl RocksEngine {
    /// Opens the database in `folder` with exactly `families`; creates what is missing.
    ///
    /// [`StoreError::Engine`] when another process has it open or a family on disk is not known
    /// to this program, [`StoreError::Damaged`] when the folder holds a part of a database.
    pub async fn open(
        folder: &Path,
        families: &[Family],
        config: &RocksConfig,
    ) -> Result<Arc<Self>, StoreError> {
        let (folder, families, config) = (folder.to_owned(), families.to_vec(), config.clone());
        let opening = tokio::task::spawn_blocking(move || open_now(&folder, &families, &config));
        opening.await.map_err(|error| engine_error("open", error))?
    }

    /// How often writers had to wait, or to slow down, because tables were not written or merged fast
    /// enough, since the database was opened.
    pub fn stalls(&self) -> Result<Stalls, StoreError> {
        let db = self.db()?;
        let mut stalls = Stalls::default();
        for family in self.families.iter() {
            let Some(column) = db.cf_handle(family.0) else { continue };
            let text = db.property_value_cf(column, STALL_PROPERTY);
            let text = text.map_err(|error| engine_error("read", error))?.unwrap_or_default();
            stalls.stops += counted(&text, "total-stops");
            stalls.delays += counted(&text, "total-delays");
        }
        Ok(stalls)
    }

    /// Says whether tables are being written or merged, or are about to be.
    pub fn is_busy(&self) -> Result<bool, StoreError> {
        let db = self.db()?;
        for family in self.families.iter() {
            let Some(column) = db.cf_handle(family.0) else { continue };
            for property in BUSY_PROPERTIES {
                let number = db.property_int_value_cf(column, property);
                if number.map_err(|error| engine_error("read", error))?.unwrap_or(0) > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn db(&self) -> Result<Arc<DB>, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        db.clone().ok_or(StoreError::Closed)
    }

    fn view(&self) -> Result<View, StoreError> {
        let reads = Arc::clone(&self.blocking_reads);
        Ok(View::present(self.db()?, Arc::clone(&self.families), reads))
    }

    /// Ends the leader's queue; it then commits what waits and stops.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        self.leader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for RocksEngine {
    fn drop(&mut self) {
        // Without a close the leader may still hold the database; whoever opens the folder next
        // must find it released.
        if let Some(leader) = self.stop() {
            let _ = leader.join();
        }
    }
}

fn open_now(
    folder: &Path,
    families: &[Family],
    config: &RocksConfig,
) -> Result<Arc<RocksEngine>, StoreError> {
    let mut families: BTreeSet<Family> = families.iter().copied().collect();
    families.insert(NUMBERED_SEQUENCES);
    prepare_folder(folder).map_err(|error| engine_error("open", error))?;
    let shared = options::Shared::new(config);
    let database = shared.database(config);
    check_families(folder, &database, &families)?;
    let default = ColumnFamilyDescriptor::new("default", shared.database(config));
    let descriptors = families
        .iter()
        .map(|family| ColumnFamilyDescriptor::new(family.0, shared.family(config, *family)))
        .chain([default]);
    let db = DB::open_cf_descriptors(&database, folder, descriptors)
        .map_err(|error| engine_error("open", error))?;
    let (db, families) = (Arc::new(db), Arc::new(families));
    let (requests, waiting) = mpsc::channel(config.commits_waiting_max.max(1));
    let leader = group::Leader::new(Arc::clone(&db), Arc::clone(&families), config);
    let leader = std::thread::Builder::new()
        .name("catalog-commit".to_owned())
        .spawn(move || leader.run(waiting))
        .map_err(|error| engine_error("open", error))?;
    Ok(Arc::new(RocksEngine {
        db: RwLock::new(Some(db)),
        requests: Mutex::new(Some(requests)),
        leader: Mutex::new(Some(leader)),
        families,
        blocking_reads: Arc::new(Semaphore::new(config.blocking_reads_max.max(1))),
    }))
}

/// Creates the folder and makes its own entry durable, which RocksDB leaves to the caller.
fn prepare_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let parent = folder.parent().map_or_else(|| folder.clone(), Path::to_path_buf);
    std::fs::File::open(parent)?.sync_all()
}

/// Refuses a database with families that this program does not know, and the remains of one.
fn check_families(
    folder: &Path,
    database: &Options,
    families: &BTreeSet<Family>,
) -> Result<(), StoreError> {
    if !folder.join(CURRENT).exists() {
        return check_no_remains(folder);
    }
    let found = DB::list_cf(database, folder).map_err(|error| engine_error("open", error))?;
    let known = |name: &String| {
        name == "default" || families.iter().any(|family| family.0 == name.as_str())
    };
    let unknown: Vec<String> = found.into_iter().filter(|name| !known(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let folder = folder.to_owned();
    Err(engine_error("open", UnknownFamilies { folder, families: unknown.join("`, `") }))
}

fn check_no_remains(folder: &Path) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(folder).map_err(|error| engine_error("open", error))?;
    for entry in entries {
        let name = entry.map_err(|error| engine_error("open", error))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") {
            return Err(StoreError::Damaged {
                object: format!("the catalog in {}", folder.display()),
                detail: format!("it has {name} and no {CURRENT}"),
            });
        }
    }
    Ok(())
}

/// The database has families that nobody declared.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has families `{families}` that this program does not know: \
     it was written by a newer version, upgrade this node", folder.display()
)]
struct UnknownFamilies {
    folder: PathBuf,
    families: String,
}

/// The error of `operation` with its cause.
fn engine_error(
    operation: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Engine { operation, source: Box::new(source) }
}

#[async_trait::async_trait]
impl Reader for RocksEngine {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.view()?.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.view()?.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.view()?.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for RocksEngine {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        Ok(Arc::new(self.view()?.snapshot()))
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let requests = requests.ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { batch, reply };
        requests.send(request).await.map_err(|_| StoreError::Closed)?;
        drop(requests);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn purge(&self, ranges: &[PurgeRange]) -> Result<u64, StoreError> {
        let (db, families, ranges) = (self.db()?, Arc::clone(&self.families), ranges.to_vec());
        let purging = tokio::task::spawn_blocking(move || {
            purge::purge(&db, families.iter().copied(), &ranges)
        });
        purging.await.map_err(|error| engine_error("purge", error))?
    }

    async fn close(&self) -> Result<(), StoreError> {
        let Some(leader) = self.stop() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || leader.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(StoreError::Engine {
                operation: "close",
                source: "the commit thread ended by a panic".into(),
            }),
        }
    }

    fn checkpoints(&self) -> Option<&dyn CheckpointSource> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
