//! Reads a checkpoint back: to verify it, or to restore a node from it.
//!
//! * Every octet is verified before it counts: pieces against their names, packs against the
//!   digest that was taken when they were copied, else against their own layout and digest.
//! * Fetching is resumable: a file or pack that is there and right, to its last octet, is not fetched
//!   again; a file gets its name only when it is whole and on disk.
//! * A file that cannot be had whole ends a restore. A pack does not: it is named, what is left of
//!   it is put in its place, and everything else comes back. Its chunks are verified by whoever
//!   reads them.
//!
//! Not here: what is done with a restored catalog (`rules`), where things go (`src/backup`).

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use object_store::ObjectStore;

use super::{
    BackupError, blocking, file_error,
    manifest::{FileEntry, Manifest, PackCopy, PackFault},
    packs::{self, list_packs},
    repository::Repository,
};
use crate::pack::{format, store::PackId};

/// How far a verification or restore is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FetchProgress {
    /// Octets done.
    pub octets: u64,
    /// Octets in all.
    pub octets_all: u64,
}

/// Told from time to time.
pub type OnProgress<'p> = &'p (dyn Fn(FetchProgress) + Send + Sync);

/// What a verification saw.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Files of the checkpoint.
    pub files: u64,
    /// Different pieces read.
    pub pieces: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Octets of files and packs.
    pub octets: u64,
    /// What is wrong, object by object.
    pub faults: Vec<String>,
}

fn octets_all(manifest: &Manifest) -> u64 {
    manifest.file_octets() + manifest.packs.iter().map(|copy| copy.octets).sum::<u64>()
}

/// Whether the error tells of one bad object, and not of an object store that does not answer.
fn fault(error: BackupError) -> Result<String, BackupError> {
    match error {
        BackupError::Damaged { object, detail } => Ok(format!("{object}: {detail}")),
        BackupError::TooNew { .. } => Ok(error.to_string()),
        other => Err(other),
    }
}

/// Reads everything that a checkpoint names. Faults are collected; an error means that the object
/// store did not answer.
pub async fn verify(
    repository: &Repository,
    manifest: &Manifest,
    on_progress: OnProgress<'_>,
) -> Result<Verified, BackupError> {
    let mut verified = Verified { files: manifest.files.len() as u64, ..Verified::default() };
    let mut progress = FetchProgress { octets: 0, octets_all: octets_all(manifest) };
    let mut seen = HashSet::new();
    for file in &manifest.files {
        for piece in &file.pieces {
            progress.octets += u64::from(piece.octets);
            if !seen.insert(piece.id) {
                continue;
            }
            verified.pieces += 1;
            verified.octets += u64::from(piece.octets);
            if let Err(error) = repository.piece(*piece).await {
                verified.faults.push(format!("{} ({})", fault(error)?, file.name));
            }
            on_progress(progress);
        }
    }
    for copy in &manifest.packs {
        verified.packs += 1;
        verified.octets += copy.octets;
        repository.pace.take(copy.octets).await;
        if let Err(error) = pack_octets(&*repository.objects, copy).await {
            verified.faults.push(fault(error)?);
        }
        progress.octets += copy.octets;
        on_progress(progress);
    }
    Ok(verified)
}

/// Reads a pack whole and verifies it.
async fn pack_octets(objects: &dyn ObjectStore, copy: &PackCopy) -> Result<Bytes, BackupError> {
    let damaged = |detail: String| BackupError::Damaged { object: copy.pack.path(), detail };
    let octets = packs::read_whole(objects, copy.pack).await?;
    let octets = octets.ok_or_else(|| match copy.fault {
        Some(PackFault::Lost) => damaged("the store had lost it before".to_owned()),
        _ => damaged("it is gone, or larger than a pack can be".to_owned()),
    })?;
    match wrong_with(copy, &octets) {
        Some(detail) => Err(damaged(detail)),
        None => Ok(octets),
    }
}

/// What is wrong with `octets` as the copy of a pack.
fn wrong_with(copy: &PackCopy, octets: &Bytes) -> Option<String> {
    if octets.len() as u64 != copy.octets {
        return Some(format!("{} octets instead of {}", octets.len(), copy.octets));
    }
    match copy.digest {
        Some(digest) if *blake3::hash(octets).as_bytes() != digest => {
            Some("its octets have changed".to_owned())
        }
        Some(_) if copy.fault.is_some() => {
            Some("it was damaged when the checkpoint was taken".to_owned())
        }
        Some(_) => None,
        // It was never copied: its own digest covers all but the chunks, which are verified
        // whenever they are read.
        None => format::read(octets, &copy.pack.path()).err().map(|error| error.to_string()),
    }
}

/// Fetches the files of a checkpoint into `folder`; `place` says where each goes below it, `None`
/// leaves it out.
pub async fn fetch_files(
    repository: &Repository,
    manifest: &Manifest,
    folder: &Path,
    place: impl Fn(&str) -> Option<PathBuf>,
    progress: &mut FetchProgress,
    on_progress: OnProgress<'_>,
) -> Result<(), BackupError> {
    let mut folders = BTreeSet::new();
    for file in &manifest.files {
        let Some(below) = place(&file.name) else { continue };
        let path = folder.join(below);
        fetch_file(repository, file, &path).await?;
        // The name of a new folder is an entry of the one above.
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(folder));
        folders.extend(above.map(Path::to_owned));
        progress.octets += file.octets;
        on_progress(*progress);
    }
    blocking(move || {
        for folder in folders {
            sync(&folder)?;
        }
        Ok(())
    })
    .await
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let opened = std::fs::File::open(path).and_then(|opened| opened.sync_all());
    opened.map_err(file_error("sync", path))
}

async fn fetch_file(
    repository: &Repository,
    file: &FileEntry,
    path: &Path,
) -> Result<(), BackupError> {
    if is_whole(repository, file, path).await? {
        return Ok(());
    }
    let part = part_of(path);
    let mut out = {
        let (part, path) = (part.clone(), path.to_owned());
        blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(file_error("make", folder))?;
            }
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&part).map_err(file_error("write", &part))
        })
        .await?
    };
    for piece in &file.pieces {
        let octets = repository.piece(*piece).await?;
        let part = part.clone();
        out = blocking(move || {
            out.write_all(&octets).map_err(file_error("write", &part))?;
            Ok(out)
        })
        .await?;
    }
    let path = path.to_owned();
    blocking(move || {
        out.sync_all().map_err(file_error("sync", &part))?;
        std::fs::rename(&part, &path).map_err(file_error("name", &path))
    })
    .await
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Whether an earlier try has fetched the file, and it is what it must be.
async fn is_whole(
    repository: &Repository,
    file: &FileEntry,
    path: &Path,
) -> Result<bool, BackupError> {
    let mut found = match std::fs::File::open(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(file_error("read", path)(error)),
    };
    let length = found.metadata().map_err(file_error("read", path))?.len();
    if length != file.octets {
        return Ok(false);
    }
    for piece in &file.pieces {
        let path = path.to_owned();
        let octets = piece.octets as usize;
        let (again, read) = blocking(move || {
            let mut read = vec![0; octets];
            found.read_exact(&mut read).map_err(file_error("read", &path))?;
            Ok((found, read))
        })
        .await?;
        found = again;
        if repository.piece_id(&read) != piece.id {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What fetching packs did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FetchedPacks {
    /// Packs that were copied whole.
    pub fetched: u64,
    /// Packs that are missing or damaged, and how.
    pub faults: Vec<String>,
}

/// Puts the packs of a checkpoint into the node's object store, those that it does not have whole.
pub async fn fetch_packs(
    repository: &Repository,
    manifest: &Manifest,
    to: &dyn ObjectStore,
    progress: &mut FetchProgress,
    on_progress: OnProgress<'_>,
) -> Result<FetchedPacks, BackupError> {
    let there: BTreeSet<PackId> = list_packs(to).await?.into_iter().map(|(pack, _)| pack).collect();
    let mut packs = FetchedPacks::default();
    for copy in &manifest.packs {
        let there = if there.contains(&copy.pack) {
            repository.pace.take(copy.octets).await;
            packs::read_whole(to, copy.pack).await?
        } else {
            None
        };
        let right = there.as_ref().is_some_and(|octets| wrong_with(copy, octets).is_none());
        if !right {
            repository.pace.take(copy.octets).await;
            match pack_octets(&*repository.objects, copy).await {
                Ok(octets) => {
                    packs::replace(to, copy.pack, &octets).await?;
                    packs.fetched += 1;
                }
                Err(error) => {
                    packs.faults.push(fault(error)?);
                    let there = there.map_or(0, |octets| octets.len() as u64);
                    salvage(repository, copy, to, there).await?;
                }
            }
        }
        progress.octets += copy.octets;
        on_progress(*progress);
    }
    Ok(packs)
}

/// Puts what is left of a damaged copy where nothing is, or less than that.
async fn salvage(
    repository: &Repository,
    copy: &PackCopy,
    to: &dyn ObjectStore,
    there: u64,
) -> Result<(), BackupError> {
    match packs::read_whole(&*repository.objects, copy.pack).await? {
        Some(octets) if octets.len() as u64 > there => packs::replace(to, copy.pack, &octets).await,
        _ => Ok(()),
    }
}

/// Looks whether the packs of a checkpoint that lie in the node's own object store are all there, in
/// their lengths. What is in them is verified whenever it is read, and by a scrub.
pub async fn look_at_packs(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<FetchedPacks, BackupError> {
    let there: BTreeMap<PackId, u64> = list_packs(&*repository.objects)
        .await?
        .into_iter()
        .map(|(pack, meta)| (pack, meta.size))
        .collect();
    let fault = |copy: &PackCopy| match there.get(&copy.pack) {
        Some(octets) if *octets == copy.octets => None,
        Some(octets) => {
            Some(format!("{}: {octets} octets instead of {}", copy.pack.path(), copy.octets))
        }
        None => Some(format!("{}: it is gone", copy.pack.path())),
    };
    Ok(FetchedPacks { fetched: 0, faults: manifest.packs.iter().filter_map(fault).collect() })
}

/// The progress at the beginning of a restore of `manifest`.
#[must_use]
pub fn beginning(manifest: &Manifest) -> FetchProgress {
    FetchProgress { octets: 0, octets_all: octets_all(manifest) }
}
