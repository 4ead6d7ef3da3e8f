//! Copies of packs, where the back-up must outlive the packs' own object store.
//!
//! A pack never changes and has a random name, so each is copied once, under its own name. Packs
//! that lie in the back-up's own object store are not copied: the row in
//! [`super::BACKUP_CHECKPOINTS`] keeps them while a checkpoint names them.
//!
//! Not here: what is in a pack (`pack::format`), when a copy goes (`retention`).

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path};
use trust::clock::UnixMillis;

use super::{
    BackupError,
    manifest::PackCopy,
    repository::{Pace, list},
};
use crate::{
    account::scan_all,
    catalog::engine::{Family, Reader, Scan},
    error::StoreError,
    pack::{
        index::{DOOMED_PACKS, PACKS, PackRow},
        store::PackId,
    },
};

const PREFIX: &str = "packs";
const PAGE: usize = 1_000;

/// What copying did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// Packs copied.
    pub packs: u64,
    /// Their octets.
    pub octets: u64,
    /// Packs that the catalog names and the store does not have: the store is damaged.
    pub lost: u64,
}

/// The packs that a checkpoint pinned at `pin` may name, with their sizes: those that the catalog
/// names, and those doomed since.
///
/// Read after the checkpoint was fixed, it has every pack of the checkpoint, and some that are
/// not in it, which do no harm.
pub(super) async fn named(
    reader: &dyn Reader,
    objects: &dyn ObjectStore,
    pin: UnixMillis,
) -> Result<BTreeMap<PackId, u64>, BackupError> {
    let mut packs = BTreeMap::new();
    for (key, value) in scan_all(reader, Scan::prefix(PACKS, b"", PAGE)).await? {
        let pack = PackId::from_octets(&key).ok_or_else(|| bad_key(PACKS))?;
        packs.insert(pack, PackRow::decode(&value, pack)?.pack_octets);
    }
    // After the rows: a pack that is doomed in between is in the one or the other.
    let start = Bytes::copy_from_slice(&pin.0.to_be_bytes());
    let scan = Scan { start, ..Scan::prefix(DOOMED_PACKS, b"", PAGE) };
    for (key, _) in scan_all(reader, scan).await? {
        let pack = key.get(8..).and_then(PackId::from_octets);
        let pack = pack.ok_or_else(|| bad_key(DOOMED_PACKS))?;
        match objects.head(&Path::from(pack.path())).await {
            Ok(meta) => drop(packs.insert(pack, meta.size)),
            // It was doomed long before the checkpoint and is gone: the pin keeps all others.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                return Err(BackupError::Objects { operation: "get", object: pack.path(), source });
            }
        }
    }
    Ok(packs)
}

fn bad_key(family: Family) -> StoreError {
    StoreError::Damaged {
        object: format!("a key of `{}`", family.0),
        detail: "it names no pack".to_owned(),
    }
}

/// Copies packs from one object store to another, and knows which are there.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// Packs whose copy was made or verified, with their digests.
    copies: HashMap<PackId, PackCopy>,
}

impl Copier {
    /// Begins with the copies that a manifest vouches for and that are there in `to`.
    pub(super) async fn new(
        vouched: &[PackCopy],
        to: &dyn ObjectStore,
    ) -> Result<Self, BackupError> {
        let there: HashMap<PackId, u64> = list(to, PREFIX)
            .await?
            .into_iter()
            .filter_map(|meta| Some((PackId::from_path(meta.location.as_ref())?, meta.size)))
            .collect();
        let copies = vouched
            .iter()
            .filter(|copy| copy.digest.is_some() && there.get(&copy.pack) == Some(&copy.octets))
            .map(|copy| (copy.pack, *copy))
            .collect();
        Ok(Self { copies })
    }

    /// The copy of a pack, when there is one.
    pub(super) fn copy(&self, pack: PackId) -> Option<PackCopy> {
        self.copies.get(&pack).copied()
    }

    /// Forgets copies of packs that `keep` does not have.
    pub(super) fn forget_others(&mut self, keep: &BTreeMap<PackId, u64>) {
        self.copies.retain(|pack, _| keep.contains_key(pack));
    }

    /// Copies those of `packs` that have no copy.
    pub(super) async fn copy_all(
        &mut self,
        packs: &BTreeMap<PackId, u64>,
        (from, to): (&dyn ObjectStore, &dyn ObjectStore),
        pace: &Pace,
        copied: &mut Copied,
    ) -> Result<(), BackupError> {
        for pack in packs.keys() {
            if self.copies.contains_key(pack) {
                continue;
            }
            let Some(octets) = read_whole(from, *pack).await? else {
                copied.lost += 1;
                continue;
            };
            pace.take(octets.len() as u64).await;
            copied.packs += 1;
            copied.octets += octets.len() as u64;
            let copy = put(to, *pack, octets).await?;
            self.copies.insert(*pack, copy);
        }
        Ok(())
    }
}

/// Reads a pack; `None` when it is gone.
pub(super) async fn read_whole(
    objects: &dyn ObjectStore,
    pack: PackId,
) -> Result<Option<Bytes>, BackupError> {
    let failed = |source| BackupError::Objects { operation: "get", object: pack.path(), source };
    match objects.get(&Path::from(pack.path())).await {
        Ok(found) => found.bytes().await.map(Some).map_err(failed),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

/// Writes a copy. What an interrupted run left under the name is kept when it is right.
pub(super) async fn put(
    objects: &dyn ObjectStore,
    pack: PackId,
    octets: Bytes,
) -> Result<PackCopy, BackupError> {
    let digest = *blake3::hash(&octets).as_bytes();
    let copy = PackCopy { pack, octets: octets.len() as u64, digest: Some(digest) };
    let mut mode = PutMode::Create;
    loop {
        let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
        let payload = PutPayload::from_bytes(octets.clone());
        match objects.put_opts(&Path::from(pack.path()), payload, options).await {
            Ok(_) => return Ok(copy),
            Err(object_store::Error::AlreadyExists { .. }) if mode == PutMode::Create => {
                if read_whole(objects, pack).await?.as_ref() == Some(&octets) {
                    return Ok(copy);
                }
                mode = PutMode::Overwrite;
            }
            Err(source) => {
                return Err(BackupError::Objects { operation: "put", object: pack.path(), source });
            }
        }
    }
}

/// Lists the packs of an object store.
pub(super) async fn list_packs(
    objects: &dyn ObjectStore,
) -> Result<Vec<(PackId, object_store::ObjectMeta)>, BackupError> {
    let listed = list(objects, PREFIX).await?;
    Ok(listed
        .into_iter()
        .filter_map(|meta| Some((PackId::from_path(meta.location.as_ref())?, meta)))
        .collect())
}
