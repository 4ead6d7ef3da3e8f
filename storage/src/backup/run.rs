//! Takes a checkpoint while the store is in use, and ships what is new of it.
//!
//! The order of one increment, and why:
//!
//! 0. The node confirms that the back-up is its own: another one may have been restored from it.
//! 1. Packs are copied before anything else, so that little is left to copy later.
//! 2. The instant is taken, and a pin with it is committed: from here on no pack that the catalog
//!    names is deleted, even when it is doomed a moment later.
//! 3. The engine syncs its log and writes a checkpoint: everything acknowledged before the instant
//!    is in it.
//! 4. The companions (registry, keys) are prepared: the registry's copy is younger than the
//!    catalog's, so that the catalog knows no account that the registry does not.
//! 5. Packs that came since are copied, then files go, piece by piece, then the manifest.
//!
//! A table of the catalog never changes, so what was shipped once is recognised by name, length and
//! time of change; the log is cut into pieces, so that what it had before is recognised by its
//! octets. An increment so costs about what was written since the last one.
//!
//! Not here: when to run (`src/backup`), what is kept (`retention`).

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use trust::clock::{Clock, UnixMillis};

use super::{
    BACKUP_CHECKPOINTS, BackupError, blocking, epoch, file_error,
    manifest::{CheckpointName, FileEntry, Manifest, PackCopy},
    packs::{self, Copied, Copier, Route},
    repository::{PIECE_OCTETS_MAX, Repository},
};
use crate::{
    catalog::{
        engine::{Batch, Expected},
        pages::Pages,
        records,
    },
    claim::Lineage,
    error::StoreError,
    pack::store::PackId,
    store::Store,
};

/// Octets of a piece of anything but a table: what grows at its end is shipped again from the
/// last full piece on.
const SMALL_PIECE_OCTETS: usize = 1 << 20;

/// How long before a checkpoint's instant its pin lies: longer than a batch of the collector takes
/// from the moment that it reads the clock.
const PIN_MARGIN_MILLIS: i64 = 10 * 60_000;

/// The value of a pin.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PinRecord {
    /// The checkpoint.
    #[prost(string, tag = "1")]
    pub checkpoint: String,
}

/// A file that goes with the catalog.
#[derive(Clone, Debug)]
pub struct Companion {
    /// Its path below the restored node's folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// It is what it was when this was last asked: the pieces of the last checkpoint count.
    pub unchanged: bool,
}

/// Prepares what goes with the catalog, after the catalog's checkpoint was fixed.
#[async_trait::async_trait]
pub trait Companions: Send + Sync {
    /// Returns the files; copies may be put into `folder`, which is removed afterwards.
    async fn prepare(
        &self,
        folder: &Path,
    ) -> Result<Vec<Companion>, Box<dyn std::error::Error + Send + Sync>>;
}

/// What one increment did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// The checkpoint, complete.
    pub name: CheckpointName,
    /// Octets of its files.
    pub file_octets: u64,
    /// Octets that were sent for its files.
    pub sent_octets: u64,
    /// Packs that it names.
    pub packs: u64,
    /// Packs copied.
    pub copied: Copied,
}

/// Ships checkpoints of one store to one repository.
#[derive(Debug)]
pub struct Shipper {
    repository: Arc<Repository>,
    clock: Arc<dyn Clock>,
    /// A folder on the catalog's file system, of which nothing else is.
    work: PathBuf,
    packs_in_place: bool,
    program: String,
    /// Files of the last checkpoint, by name.
    shipped: HashMap<String, FileEntry>,
    copier: Option<Copier>,
    last: Option<CheckpointName>,
    learnt: bool,
}

impl Shipper {
    /// Prepares to ship to `repository`. `packs_in_place`: the packs lie in the repository's own
    /// object store.
    #[must_use]
    pub fn new(
        repository: Arc<Repository>,
        clock: Arc<dyn Clock>,
        work: PathBuf,
        packs_in_place: bool,
        program: String,
    ) -> Self {
        let (shipped, copier, last, learnt) = (HashMap::new(), None, None, false);
        Self { repository, clock, work, packs_in_place, program, shipped, copier, last, learnt }
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// Takes and ships a checkpoint. After an error nothing of it is visible in the back-up.
    pub async fn take(
        &mut self,
        store: &Store,
        companions: &dyn Companions,
    ) -> Result<Taken, BackupError> {
        let work = self.work.clone();
        blocking(move || fresh_folder(&work)).await?;
        let taken = self.take_in_folder(store, companions).await;
        let work = self.work.clone();
        let cleared = blocking(move || remove_folder(&work)).await;
        let taken = taken?;
        cleared?;
        Ok(taken)
    }

    async fn take_in_folder(
        &mut self,
        store: &Store,
        companions: &dyn Companions,
    ) -> Result<Taken, BackupError> {
        let engine = store.engine();
        let checkpoints = engine.checkpoints().ok_or(BackupError::NoCheckpoints)?;
        self.confirm(store).await?;
        let epoch = epoch::read(&**engine).await?;
        let names = self.repository.checkpoints().await?;
        self.learn(&names).await?;
        let mut copied = Copied::default();
        self.copy_packs(store, self.clock.now(), &mut copied).await?;

        let name = CheckpointName { epoch, instant: self.next_instant(&names) };
        self.pin(store, name, &names).await?;
        let folder = self.work.join("catalog");
        checkpoints.checkpoint(&folder).await?;
        let prepared = companions.prepare(&self.work).await.map_err(BackupError::Prepare)?;
        let packs = self.copy_packs(store, pin_instant(name), &mut copied).await?;

        let mut sent_octets = 0;
        let mut files = Vec::new();
        for companion in catalog_files(folder).await?.into_iter().chain(prepared) {
            let (entry, sent) = self.ship(companion).await?;
            files.push(entry);
            sent_octets += sent;
        }
        let packs = self.copies(&packs);
        copied.count_faults(&packs);
        // Shipping may have taken hours, in which another node may have been restored.
        self.confirm(store).await?;
        let manifest = Manifest {
            name,
            files,
            packs,
            packs_in_place: self.packs_in_place,
            program: self.program.clone(),
            lineage: Lineage::of(&**engine).await?,
        };
        self.repository.put_manifest(&manifest).await?;
        let taken = Taken {
            name,
            file_octets: manifest.file_octets(),
            sent_octets,
            packs: manifest.packs.len() as u64,
            copied,
        };
        self.remember(manifest);
        if !self.packs_in_place {
            self.pin_only(store, &BTreeMap::new()).await?;
        }
        Ok(taken)
    }

    /// Confirms that the back-up is this node's.
    ///
    /// [`StoreError::Superseded`], [`StoreError::Rehearsal`].
    pub async fn confirm(&self, store: &Store) -> Result<(), BackupError> {
        store.confirm_claim(&*self.repository.objects).await?;
        // A program of before claims has left no claim, but checkpoints.
        let ours = store.epoch().await?;
        match self.repository.checkpoints().await?.last() {
            Some(last) if last.epoch > ours => {
                Err(StoreError::Superseded { ours, found: last.epoch }.into())
            }
            _ => Ok(()),
        }
    }

    /// Learns, once, what lies in the repository.
    async fn learn(&mut self, names: &[CheckpointName]) -> Result<(), BackupError> {
        if self.learnt {
            return Ok(());
        }
        self.repository.learn_pieces().await?;
        let mut vouched = Vec::new();
        if let Some(last) = names.last().filter(|_| !self.repository.ships_anew()) {
            match self.repository.manifest(*last).await {
                Ok(manifest) => {
                    vouched.clone_from(&manifest.packs);
                    self.remember(manifest);
                }
                // Another data key, or damage: then everything is shipped anew.
                Err(BackupError::Damaged { .. } | BackupError::Seal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.packs_in_place {
            self.copier = Some(Copier::new(&vouched, &*self.repository.objects).await?);
        }
        self.learnt = true;
        Ok(())
    }

    fn remember(&mut self, manifest: Manifest) {
        self.last = Some(manifest.name);
        self.shipped = manifest.files.into_iter().map(|file| (file.name.clone(), file)).collect();
    }

    /// The present instant, later than that of every checkpoint.
    fn next_instant(&self, names: &[CheckpointName]) -> UnixMillis {
        let latest = names.iter().copied().chain(self.last).map(|name| name.instant).max();
        let now = self.clock.now();
        latest.map_or(now, |latest| now.max(latest.plus_millis(1)))
    }

    /// Commits the pins of `name` and of the checkpoints that are there, and no others.
    async fn pin(
        &self,
        store: &Store,
        name: CheckpointName,
        names: &[CheckpointName],
    ) -> Result<(), BackupError> {
        let others: &[CheckpointName] = if self.packs_in_place { names } else { &[] };
        let pins = others.iter().copied().chain([name]).map(|name| (pin_key(name), name)).collect();
        self.pin_only(store, &pins).await
    }

    async fn pin_only(
        &self,
        store: &Store,
        pins: &BTreeMap<Bytes, CheckpointName>,
    ) -> Result<(), BackupError> {
        let mut batch = Batch::default();
        let mut there = Vec::new();
        let mut pages = Pages::prefix(BACKUP_CHECKPOINTS, b"", 1_000);
        while let Some(page) = pages.next(&**store.engine()).await? {
            there.extend(page.into_iter().map(|(key, _)| key));
        }
        for key in there.iter().filter(|key| !pins.contains_key(*key)) {
            batch.delete(BACKUP_CHECKPOINTS, key.clone());
        }
        for (key, name) in pins.iter().filter(|(key, _)| !there.contains(key)) {
            batch.expect(BACKUP_CHECKPOINTS, key.clone(), Expected::Absent);
            batch.put(BACKUP_CHECKPOINTS, key.clone(), pin_value(*name));
        }
        if !batch.put.is_empty() || !batch.delete.is_empty() {
            store.commit(batch).await?;
        }
        Ok(())
    }

    /// Copies what has no copy; returns the packs that the catalog names now.
    async fn copy_packs(
        &mut self,
        store: &Store,
        pin: UnixMillis,
        copied: &mut Copied,
    ) -> Result<BTreeMap<PackId, u64>, BackupError> {
        let objects = store.octets().packs.objects();
        let packs = packs::named(&**store.engine(), &**objects, pin).await?;
        if let Some(copier) = &mut self.copier {
            let (store, pace) = (&**store.octets(), &self.repository.pace);
            let route = Route { store, to: &*self.repository.objects, pace };
            copier.copy_all(&packs, route, copied).await?;
        }
        Ok(packs)
    }

    /// The packs as the manifest names them.
    fn copies(&mut self, packs: &BTreeMap<PackId, u64>) -> Vec<PackCopy> {
        let in_place = |(pack, octets): (&PackId, &u64)| PackCopy {
            pack: *pack,
            octets: *octets,
            digest: None,
            fault: None,
        };
        match &mut self.copier {
            None => packs.iter().map(in_place).collect(),
            Some(copier) => copier.copies(packs),
        }
    }

    /// Ships what of a file is not in the repository.
    async fn ship(&self, companion: Companion) -> Result<(FileEntry, u64), BackupError> {
        let Companion { name, path, unchanged } = companion;
        let piece_octets = if is_table(&name) { PIECE_OCTETS_MAX } else { SMALL_PIECE_OCTETS };
        let (octets, modified_nanos) = {
            let path = path.clone();
            blocking(move || look(&path)).await?
        };
        if let Some(shipped) = self.shipped.get(&name) {
            let same = shipped.octets == octets && shipped.modified_nanos == modified_nanos;
            if unchanged || is_table(&name) && same {
                return Ok((shipped.clone(), 0));
            }
        }
        let mut pieces = Vec::new();
        let mut sent_octets = 0;
        let mut file = {
            let path = path.clone();
            blocking(move || std::fs::File::open(&path).map_err(file_error("read", &path))).await?
        };
        let mut read_octets = 0;
        loop {
            let path = path.clone();
            let (again, octets) = blocking(move || {
                let octets = next_piece(&mut file, piece_octets);
                Ok((file, octets.map_err(file_error("read", &path))?))
            })
            .await?;
            file = again;
            if octets.is_empty() {
                break;
            }
            read_octets += octets.len() as u64;
            let (piece, sent) = self.repository.put_piece(octets).await?;
            pieces.push(piece);
            sent_octets += sent;
        }
        Ok((FileEntry { name, octets: read_octets, pieces, modified_nanos }, sent_octets))
    }

    /// After everything was shipped anew, increments go on as usual.
    pub fn end_shipping_anew(&mut self) {
        self.repository.end_shipping_anew();
    }
}

fn pin_instant(name: CheckpointName) -> UnixMillis {
    UnixMillis(name.instant.0.saturating_sub(PIN_MARGIN_MILLIS).max(0))
}

/// The key of a checkpoint's pin.
pub(crate) fn pin_key(name: CheckpointName) -> Bytes {
    Bytes::copy_from_slice(&pin_instant(name).0.to_be_bytes())
}

/// The value of a checkpoint's pin.
pub(crate) fn pin_value(name: CheckpointName) -> Bytes {
    records::encode(&PinRecord { checkpoint: name.to_string() })
}

fn is_table(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "sst")
}

fn look(path: &Path) -> Result<(u64, i64), BackupError> {
    let meta = std::fs::metadata(path).map_err(file_error("read", path))?;
    Ok((meta.len(), meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())))
}

fn next_piece(file: &mut std::fs::File, octets_max: usize) -> std::io::Result<Bytes> {
    let mut octets = Vec::new();
    file.take(octets_max as u64).read_to_end(&mut octets)?;
    Ok(octets.into())
}

async fn catalog_files(folder: PathBuf) -> Result<Vec<Companion>, BackupError> {
    blocking(move || {
        let failed = file_error("read", &folder);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let file = entry.file_name();
            let name = file.to_str().ok_or_else(|| StoreError::Damaged {
                object: folder.display().to_string(),
                detail: "a file's name is not UTF-8".to_owned(),
            })?;
            let name = format!("catalog/{name}");
            files.push(Companion { name, path: entry.path(), unchanged: false });
        }
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    })
    .await
}

fn fresh_folder(folder: &Path) -> Result<(), BackupError> {
    remove_folder(folder)?;
    std::fs::create_dir_all(folder).map_err(file_error("make", folder))
}

fn remove_folder(folder: &Path) -> Result<(), BackupError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file_error("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
