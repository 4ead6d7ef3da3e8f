//! Copies of packs, where the back-up must outlive the packs' own object store.
//!
//! A pack never changes and has a random name, so each is copied once, under its own name, and
//! verified to its last chunk before. Packs that lie in the back-up's own object store are not copied:
//! the row in [`super::BACKUP_CHECKPOINTS`] keeps them while a checkpoint names them.
//!
//! * A sound copy is never replaced, least of all by what has rotted in the store.
//! * A pack that is damaged or lost in the store is in every manifest all the same: with the sound
//!   copy that an earlier increment made, else marked with its fault ([`PackFault`]).
//!
//! Not here: what is in a pack (`pack::format`), when a copy goes (`retention`).

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path};
use trust::clock::UnixMillis;

use super::{
    BackupError,
    manifest::{PackCopy, PackFault},
    repository::{Pace, list},
};
use crate::{
    account::scan_all,
    catalog::engine::{Engine, Family, Scan},
    error::StoreError,
    octets::OctetStore,
    pack::{
        index::{DOOMED_PACKS, PACKS, PackRow},
        store::PackId,
    },
};

const PREFIX: &str = "packs";
const PAGE: usize = 1_000;
/// Octets of a pack that are read into memory at most, far above what a pack has.
const OCTETS_MAX: u64 = 512 << 20;

/// What copying did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// Packs copied.
    pub packs: u64,
    /// Their octets.
    pub octets: u64,
    /// Packs that the checkpoint needs and of which it has no sound copy, because they are damaged
    /// in the store.
    pub damaged: u64,
    /// The same, because the store has lost them.
    pub lost: u64,
}

impl Copied {
    fn count(&mut self, octets: &Bytes) {
        self.packs += 1;
        self.octets += octets.len() as u64;
    }

    /// Counts what `copies` have no sound copy of.
    pub(super) fn count_faults(&mut self, copies: &[PackCopy]) {
        let count = |fault| copies.iter().filter(|copy| copy.fault == Some(fault)).count() as u64;
        (self.damaged, self.lost) = (count(PackFault::Damaged), count(PackFault::Lost));
    }
}

/// The packs that a checkpoint pinned at `pin` may name, with their sizes: those that the catalog
/// names, and those doomed since.
///
/// Read after the checkpoint was fixed, it has every pack of the checkpoint, and some that are
/// not in it, which do no harm.
pub(super) async fn named(
    engine: &dyn Engine,
    objects: &dyn ObjectStore,
    pin: UnixMillis,
) -> Result<BTreeMap<PackId, u64>, BackupError> {
    // One state: between two reads a pack could leave the rows, and a doomed one its place.
    let snapshot = engine.snapshot().await?;
    let mut packs = BTreeMap::new();
    for (key, value) in scan_all(&*snapshot, Scan::prefix(PACKS, b"", PAGE)).await? {
        let pack = PackId::from_octets(&key).ok_or_else(|| bad_key(PACKS))?;
        packs.insert(pack, PackRow::decode(&value, pack)?.pack_octets);
    }
    let start = Bytes::copy_from_slice(&pin.0.to_be_bytes());
    let scan = Scan { start, ..Scan::prefix(DOOMED_PACKS, b"", PAGE) };
    let doomed = scan_all(&*snapshot, scan).await?;
    drop(snapshot);
    for (key, _) in doomed {
        let pack = key.get(8..).and_then(PackId::from_octets);
        let pack = pack.ok_or_else(|| bad_key(DOOMED_PACKS))?;
        match objects.head(&Path::from(pack.path())).await {
            Ok(meta) => drop(packs.insert(pack, meta.size)),
            // It was doomed long before the checkpoint and is gone: the pin keeps all others.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(failed("get", pack, source)),
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

fn failed(operation: &'static str, pack: PackId, source: object_store::Error) -> BackupError {
    BackupError::Objects { operation, object: pack.path(), source }
}

/// Where packs are copied from and to, and what knows a sound one.
#[derive(Clone, Copy)]
pub(super) struct Route<'r> {
    pub(super) store: &'r OctetStore,
    pub(super) to: &'r dyn ObjectStore,
    pub(super) pace: &'r Pace,
}

/// Copies packs from one object store to another, and knows which are there.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// Packs that were looked at, each with its copy.
    copies: HashMap<PackId, PackCopy>,
}

impl Copier {
    /// Begins with the sound copies that a manifest vouches for and that are there in `to`.
    pub(super) async fn new(
        vouched: &[PackCopy],
        to: &dyn ObjectStore,
    ) -> Result<Self, BackupError> {
        let there: HashMap<PackId, u64> =
            list_packs(to).await?.into_iter().map(|(pack, meta)| (pack, meta.size)).collect();
        let copies = vouched
            .iter()
            .filter(|copy| copy.digest.is_some() && copy.fault.is_none())
            .filter(|copy| there.get(&copy.pack) == Some(&copy.octets))
            .map(|copy| (copy.pack, *copy))
            .collect();
        Ok(Self { copies })
    }

    /// The copies of `packs`, as a manifest names them, and how many of them have a fault.
    pub(super) fn copies(&mut self, packs: &BTreeMap<PackId, u64>) -> Vec<PackCopy> {
        self.copies.retain(|pack, _| packs.contains_key(pack));
        let lost = |(pack, octets): (&PackId, &u64)| PackCopy {
            pack: *pack,
            octets: *octets,
            digest: None,
            fault: Some(PackFault::Lost),
        };
        packs
            .iter()
            .map(|named| self.copies.get(named.0).copied().unwrap_or_else(|| lost(named)))
            .collect()
    }

    /// Copies those of `packs` that have no copy. What the store has lost is looked for again each
    /// time, what is damaged once.
    pub(super) async fn copy_all(
        &mut self,
        packs: &BTreeMap<PackId, u64>,
        route: Route<'_>,
        copied: &mut Copied,
    ) -> Result<(), BackupError> {
        for pack in packs.keys() {
            if self.copies.contains_key(pack) {
                continue;
            }
            if let Some(copy) = copy_one(*pack, route, copied).await? {
                self.copies.insert(*pack, copy);
            }
        }
        Ok(())
    }
}

/// Makes the copy of a pack, or finds the sound one that is there. `None` when there is neither
/// pack nor copy.
async fn copy_one(
    pack: PackId,
    route: Route<'_>,
    copied: &mut Copied,
) -> Result<Option<PackCopy>, BackupError> {
    let copy_of = |octets: &Bytes, fault| {
        let digest = Some(*blake3::hash(octets).as_bytes());
        Some(PackCopy { pack, octets: octets.len() as u64, digest, fault })
    };
    let source = read_whole(&**route.store.packs.objects(), pack).await?;
    let sound = is_sound(pack, source.as_ref(), route).await?;
    if sound && create(route.to, pack, source.as_ref()).await? {
        let octets = source.unwrap_or_default();
        copied.count(&octets);
        return Ok(copy_of(&octets, None));
    }
    let there = read_whole(route.to, pack).await?;
    let equal = sound && there == source;
    if equal || is_sound(pack, there.as_ref(), route).await? {
        return Ok(there.and_then(|there| copy_of(&there, None)));
    }
    let (octets, fault) = match (source, there) {
        // What lies there has changed: only now is it replaced.
        (Some(source), _) if sound => (source, None),
        (_, Some(there)) => return Ok(copy_of(&there, Some(PackFault::Damaged))),
        // Most of its chunks may be whole, and they are verified whenever they are read.
        (Some(source), None) => (source, Some(PackFault::Damaged)),
        (None, None) => return Ok(None),
    };
    replace(route.to, pack, &octets).await?;
    copied.count(&octets);
    Ok(copy_of(&octets, fault))
}

async fn is_sound(
    pack: PackId,
    octets: Option<&Bytes>,
    route: Route<'_>,
) -> Result<bool, BackupError> {
    let Some(octets) = octets else { return Ok(false) };
    route.pace.take(octets.len() as u64).await;
    Ok(route.store.sound_pack(pack, octets).await?.is_ok())
}

/// Reads a pack; `None` when it is gone, or larger than any pack.
pub(super) async fn read_whole(
    objects: &dyn ObjectStore,
    pack: PackId,
) -> Result<Option<Bytes>, BackupError> {
    match objects.get(&Path::from(pack.path())).await {
        Ok(found) if found.meta.size > OCTETS_MAX => Ok(None),
        Ok(found) => found.bytes().await.map(Some).map_err(|source| failed("get", pack, source)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(failed("get", pack, source)),
    }
}

/// Writes a copy where there is none; says whether it did.
async fn create(
    objects: &dyn ObjectStore,
    pack: PackId,
    octets: Option<&Bytes>,
) -> Result<bool, BackupError> {
    let Some(octets) = octets else { return Ok(false) };
    match put(objects, pack, octets, PutMode::Create).await {
        Ok(()) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(source) => Err(failed("put", pack, source)),
    }
}

/// Writes a pack, whatever lies under its name.
pub(super) async fn replace(
    objects: &dyn ObjectStore,
    pack: PackId,
    octets: &Bytes,
) -> Result<(), BackupError> {
    let put = put(objects, pack, octets, PutMode::Overwrite).await;
    put.map_err(|source| failed("put", pack, source))
}

async fn put(
    objects: &dyn ObjectStore,
    pack: PackId,
    octets: &Bytes,
    mode: PutMode,
) -> Result<(), object_store::Error> {
    let options = PutOptions { mode, ..PutOptions::default() };
    let payload = PutPayload::from_bytes(octets.clone());
    objects.put_opts(&Path::from(pack.path()), payload, options).await.map(drop)
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
