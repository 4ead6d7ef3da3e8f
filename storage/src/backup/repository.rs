//! The objects of a back-up.
//!
//! | object | what |
//! |---|---|
//! | `backup/keys/<DataKeyId>/<name>.cms`, `.passphrase` | the data key, sealed |
//! | `backup/pieces/<two digits>/<PieceId>` | octets of a file, once however many checkpoints have them |
//! | `backup/checkpoints/<name>.manifest` | a checkpoint |
//! | `packs/…` | copies of packs, under the names that they have in the store |
//!
//! ```text
//! piece or manifest:
//! 0..8    "CERABKUP"
//! 8       version: 1
//! 9       1 = piece, 2 = manifest
//! 10..26  DataKeyId
//! 26..    AES-256-GCM (`trust::seal`) of: u64 plain octets, plain octets compressed by zstd;
//!         authenticated with it: octets 0..26 and the object's path
//! ```
//!
//! * Objects are created and never replaced, unless [`Repository::ship_anew`] was asked.
//! * A piece is read back as what its name says, or not at all.
//!
//! Not here: which pieces a checkpoint has (`manifest`), who opens seals (`src/backup`).

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
pub use object_store::ObjectStore;
use object_store::{ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path};
use tokio::time::Instant;
use trust::{
    clock::UnixMillis,
    random::RandomSource,
    seal::{DataKey, DataKeyId},
};

use super::{
    BackupError, blocking,
    manifest::{CheckpointName, Manifest, Piece, PieceId},
};

const KEYS: &str = "backup/keys";
const PIECES: &str = "backup/pieces";
const CHECKPOINTS: &str = "backup/checkpoints";
const MANIFEST_SUFFIX: &str = ".manifest";

const MAGIC: &[u8; 8] = b"CERABKUP";
const VERSION: u8 = 1;
const HEADER_OCTETS: usize = 26;
/// Compression: the fastest level, since most octets are compressed tables already.
const LEVEL: i32 = 1;
/// Octets of a piece at most.
pub const PIECE_OCTETS_MAX: usize = 8 << 20;
/// Octets of a manifest at most: millions of pieces and packs.
const MANIFEST_OCTETS_MAX: usize = 1 << 30;
/// Octets of a seal at most.
const SEAL_OCTETS_MAX: u64 = 1 << 20;
/// What encryption, the length and a frame that does not compress add to the octets of an object.
const OVERHEAD_OCTETS: usize = 64 << 10;

#[derive(Clone, Copy)]
enum Kind {
    Piece = 1,
    Manifest = 2,
}

/// Octets a second that back-up or restore may move; what is over is waited for.
#[derive(Debug)]
pub struct Pace {
    octets_per_second: Option<u64>,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// Paces to `octets_per_second`; `None` = as fast as it goes.
    #[must_use]
    pub fn new(octets_per_second: Option<u64>) -> Self {
        let octets_per_second = octets_per_second.filter(|octets| *octets > 0);
        Self { octets_per_second, free_at: Mutex::new(None) }
    }

    /// Waits until what was moved before is paid for, and books `octets`.
    pub async fn take(&self, octets: u64) {
        let Some(rate) = self.octets_per_second else { return };
        let now = Instant::now();
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let start = free_at.unwrap_or(now).max(now);
            let micros = octets.saturating_mul(1_000_000) / rate;
            *free_at = Some(start + Duration::from_micros(micros));
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

/// A data key in its seal.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// The object.
    pub path: String,
    /// Its octets.
    pub octets: Bytes,
}

/// The objects of one back-up, under one data key.
#[derive(Debug)]
pub struct Repository {
    pub(super) objects: Arc<dyn ObjectStore>,
    key: DataKey,
    naming: [u8; 32],
    random: Arc<dyn RandomSource>,
    pub(super) pace: Pace,
    /// Pieces that are there.
    known: Mutex<HashSet<PieceId>>,
    anew: AtomicBool,
}

impl Repository {
    /// Opens the back-up in `objects` under `key`. Nothing is read or written.
    #[must_use]
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        key: DataKey,
        random: Arc<dyn RandomSource>,
        pace: Pace,
    ) -> Self {
        let naming = key.derive("ceralacca back-up piece names");
        let (known, anew) = (Mutex::default(), AtomicBool::new(false));
        Self { objects, key, naming, random, pace, known, anew }
    }

    /// From now on every piece is written again, once, whatever lies under its name.
    pub fn ship_anew(&self) {
        self.anew.store(true, Ordering::Relaxed);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends what [`Repository::ship_anew`] began.
    pub(super) fn end_shipping_anew(&self) {
        self.anew.store(false, Ordering::Relaxed);
    }

    /// Whether [`Repository::ship_anew`] was asked.
    #[must_use]
    pub fn ships_anew(&self) -> bool {
        self.anew.load(Ordering::Relaxed)
    }

    /// Lists the pieces that are there, so that they are not written again.
    pub async fn learn_pieces(&self) -> Result<(), BackupError> {
        if self.ships_anew() {
            return Ok(());
        }
        let pieces = self.list_pieces().await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = pieces.into_iter().map(|(id, _)| id).collect();
        Ok(())
    }

    fn knows(&self, id: PieceId) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// The name of a piece with these octets.
    pub(super) fn piece_id(&self, plain: &[u8]) -> PieceId {
        PieceId(*blake3::keyed_hash(&self.naming, plain).as_bytes())
    }

    /// Writes a piece unless it is there. Returns it, and the octets that were sent.
    pub(super) async fn put_piece(&self, plain: Bytes) -> Result<(Piece, u64), BackupError> {
        let octets = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let id = self.piece_id(&plain);
        let piece = Piece { id, octets };
        if self.knows(id) {
            return Ok((piece, 0));
        }
        let path = piece_path(id);
        let (sealed, mode) = (
            self.sealed(Kind::Piece, &path, plain).await?,
            if self.ships_anew() { PutMode::Overwrite } else { PutMode::Create },
        );
        let sent = sealed.len() as u64;
        self.pace.take(sent).await;
        match self.put(&path, sealed, mode).await {
            // Its name says what is in it, whoever wrote it.
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => {
                return Err(BackupError::Objects { operation: "put", object: path, source });
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok((piece, sent))
    }

    /// Reads a piece and verifies that it is what its name says.
    pub(super) async fn piece(&self, piece: Piece) -> Result<Bytes, BackupError> {
        let path = piece_path(piece.id);
        let sealed = self.get(&path, PIECE_OCTETS_MAX).await?;
        self.pace.take(sealed.len() as u64).await;
        let plain = self.opened(Kind::Piece, &path, sealed, PIECE_OCTETS_MAX).await?;
        if plain.len() != piece.octets as usize || self.piece_id(&plain) != piece.id {
            let detail = "its octets are not those that its name says".to_owned();
            return Err(BackupError::Damaged { object: path, detail });
        }
        Ok(plain)
    }

    /// Writes a manifest: the checkpoint exists from now on.
    pub(super) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let path = manifest_path(manifest.name);
        let sealed = self.sealed(Kind::Manifest, &path, manifest.encode().into()).await?;
        match self.put(&path, sealed.clone(), PutMode::Create).await {
            Ok(()) => Ok(()),
            // The answer to an earlier try of this very PUT was lost.
            Err(object_store::Error::AlreadyExists { .. })
                if self.get(&path, MANIFEST_OCTETS_MAX).await? == sealed =>
            {
                Ok(())
            }
            Err(source) => Err(BackupError::Objects { operation: "put", object: path, source }),
        }
    }

    /// Reads the manifest of a checkpoint.
    pub async fn manifest(&self, name: CheckpointName) -> Result<Manifest, BackupError> {
        let path = manifest_path(name);
        let sealed = self.get(&path, MANIFEST_OCTETS_MAX).await?;
        let plain = self.opened(Kind::Manifest, &path, sealed, MANIFEST_OCTETS_MAX).await?;
        Manifest::decode(&plain, name)
    }

    /// Lists the checkpoints, oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointName>, BackupError> {
        list_checkpoints(&*self.objects).await
    }

    /// Lists the pieces with what is known of their objects.
    pub(super) async fn list_pieces(&self) -> Result<Vec<(PieceId, ObjectMeta)>, BackupError> {
        let objects = list(&*self.objects, PIECES).await?;
        Ok(objects
            .into_iter()
            .filter_map(|meta| Some((piece_of(meta.location.as_ref())?, meta)))
            .collect())
    }

    /// Removes a manifest: its checkpoint is gone from now on.
    pub(super) async fn delete_manifest(&self, name: CheckpointName) -> Result<(), BackupError> {
        delete(&*self.objects, &manifest_path(name)).await
    }

    /// Removes a piece.
    pub(super) async fn delete_piece(&self, id: PieceId) -> Result<(), BackupError> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        delete(&*self.objects, &piece_path(id)).await
    }

    /// Writes the data key in a seal called `name`, such as `recovery.cms`, unless it is there.
    pub async fn put_seal(&self, name: &str, octets: Vec<u8>) -> Result<(), BackupError> {
        let path = format!("{KEYS}/{}/{name}", self.key.id());
        match self.put(&path, octets.into(), PutMode::Create).await {
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(BackupError::Objects { operation: "put", object: path, source }),
        }
    }

    /// Whether there is a seal called `name` of the data key.
    pub async fn has_seal(&self, name: &str) -> Result<bool, BackupError> {
        let seals = list_seals(&*self.objects, self.key.id()).await?;
        Ok(seals.iter().any(|path| path.ends_with(&format!("/{name}"))))
    }

    /// The data key.
    #[must_use]
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    async fn put(
        &self,
        path: &str,
        octets: Bytes,
        mode: PutMode,
    ) -> Result<(), object_store::Error> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(octets);
        self.objects.put_opts(&Path::from(path), payload, options).await.map(drop)
    }

    /// Reads an object whose plain octets are at most `plain_octets_max`.
    async fn get(&self, path: &str, plain_octets_max: usize) -> Result<Bytes, BackupError> {
        get(&*self.objects, path, (plain_octets_max + OVERHEAD_OCTETS) as u64).await
    }

    async fn sealed(&self, kind: Kind, path: &str, plain: Bytes) -> Result<Bytes, BackupError> {
        let (key, random) = (self.key.clone(), Arc::clone(&self.random));
        let path = path.to_owned();
        blocking(move || {
            let header = header(kind, key.id());
            let mut text = (plain.len() as u64).to_be_bytes().to_vec();
            let packed = zstd::bulk::compress(&plain, LEVEL)
                .map_err(|source| BackupError::Prepare(Box::new(source)))?;
            text.extend_from_slice(&packed);
            let sealed = key.encrypt(&*random, &context(&header, &path), &text)?;
            Ok([header.as_slice(), &sealed].concat().into())
        })
        .await
    }

    async fn opened(
        &self,
        kind: Kind,
        path: &str,
        sealed: Bytes,
        octets_max: usize,
    ) -> Result<Bytes, BackupError> {
        let key = self.key.clone();
        let path = path.to_owned();
        blocking(move || {
            let found = key_of(&sealed, &path)?;
            let damaged = |detail: &str| BackupError::Damaged {
                object: path.clone(),
                detail: detail.to_owned(),
            };
            if found != key.id() {
                return Err(damaged(&format!("it is encrypted under the data key {found}")));
            }
            let header = header(kind, found);
            let Some(text) = sealed.strip_prefix(header.as_slice()) else {
                return Err(damaged("it is another kind of object"));
            };
            let text = key
                .decrypt(&context(&header, &path), text)
                .map_err(|_| damaged("its octets have changed"))?;
            let plain = unpacked(&text, octets_max);
            plain.map(Bytes::from).ok_or_else(|| damaged("it does not unpack"))
        })
        .await
    }
}

fn unpacked(text: &[u8], octets_max: usize) -> Option<Vec<u8>> {
    let (octets, packed) = text.split_first_chunk::<8>()?;
    let octets = usize::try_from(u64::from_be_bytes(*octets)).ok().filter(|n| *n <= octets_max)?;
    let plain = zstd::bulk::decompress(packed, octets).ok()?;
    (plain.len() == octets).then_some(plain)
}

fn header(kind: Kind, key: DataKeyId) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_OCTETS);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[VERSION, kind as u8]);
    header.extend_from_slice(&key.0);
    header
}

fn context(header: &[u8], path: &str) -> Vec<u8> {
    [header, path.as_bytes()].concat()
}

/// The data key that a piece or manifest is encrypted under.
fn key_of(sealed: &[u8], path: &str) -> Result<DataKeyId, BackupError> {
    let damaged = || BackupError::Damaged {
        object: path.to_owned(),
        detail: "it does not begin like an object of a back-up".to_owned(),
    };
    let (start, id) = sealed
        .get(..HEADER_OCTETS)
        .and_then(|header| header.split_at_checked(MAGIC.len() + 2))
        .ok_or_else(damaged)?;
    let found = start.get(MAGIC.len()).copied().unwrap_or_default();
    if !start.starts_with(MAGIC) || found == 0 {
        return Err(damaged());
    }
    if found > VERSION {
        let (found, known) = (found.into(), VERSION.into());
        return Err(BackupError::TooNew { object: path.to_owned(), found, known });
    }
    id.try_into().map(DataKeyId).map_err(|_| damaged())
}

/// Lists the checkpoints in `objects`, oldest first; the data key is not needed.
pub async fn list_checkpoints(
    objects: &dyn ObjectStore,
) -> Result<Vec<CheckpointName>, BackupError> {
    let mut names: Vec<CheckpointName> = list(objects, CHECKPOINTS)
        .await?
        .iter()
        .filter_map(|meta| meta.location.filename()?.strip_suffix(MANIFEST_SUFFIX)?.parse().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The data key that a checkpoint is encrypted under.
pub async fn key_of_checkpoint(
    objects: &dyn ObjectStore,
    name: CheckpointName,
) -> Result<DataKeyId, BackupError> {
    let path = manifest_path(name);
    let octets_max = (MANIFEST_OCTETS_MAX + OVERHEAD_OCTETS) as u64;
    key_of(&get(objects, &path, octets_max).await?, &path)
}

/// The seals of a data key.
pub async fn seals(
    objects: &dyn ObjectStore,
    key: DataKeyId,
) -> Result<Vec<SealedKey>, BackupError> {
    let mut seals = Vec::new();
    for path in list_seals(objects, key).await? {
        let octets = get(objects, &path, SEAL_OCTETS_MAX).await?;
        seals.push(SealedKey { path, octets });
    }
    Ok(seals)
}

async fn list_seals(objects: &dyn ObjectStore, key: DataKeyId) -> Result<Vec<String>, BackupError> {
    let found = list(objects, &format!("{KEYS}/{key}")).await?;
    Ok(found.into_iter().map(|meta| meta.location.to_string()).collect())
}

fn piece_path(id: PieceId) -> String {
    format!("{PIECES}/{:02x}/{id}", id.0[0])
}

fn piece_of(path: &str) -> Option<PieceId> {
    let digits =
        path.rsplit('/').next().filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    let mut octets = [0; 32];
    for (position, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(digits.get(position * 2..position * 2 + 2)?, 16).ok()?;
    }
    let id = PieceId(octets);
    (piece_path(id) == path).then_some(id)
}

fn manifest_path(name: CheckpointName) -> String {
    format!("{CHECKPOINTS}/{name}{MANIFEST_SUFFIX}")
}

pub(super) async fn list(
    objects: &dyn ObjectStore,
    prefix: &str,
) -> Result<Vec<ObjectMeta>, BackupError> {
    let listed = objects.list(Some(&Path::from(prefix))).try_collect().await;
    listed.map_err(|source| BackupError::Objects {
        operation: "list",
        object: prefix.to_owned(),
        source,
    })
}

/// Reads an object of at most `octets_max` octets.
async fn get(objects: &dyn ObjectStore, path: &str, octets_max: u64) -> Result<Bytes, BackupError> {
    let failed =
        |source| BackupError::Objects { operation: "get", object: path.to_owned(), source };
    match objects.get(&Path::from(path)).await {
        Ok(found) if found.meta.size > octets_max => Err(BackupError::Damaged {
            object: path.to_owned(),
            detail: format!("{} octets, where {octets_max} are the most", found.meta.size),
        }),
        Ok(found) => found.bytes().await.map_err(failed),
        Err(object_store::Error::NotFound { .. }) => {
            Err(BackupError::Damaged { object: path.to_owned(), detail: "it is gone".to_owned() })
        }
        Err(source) => Err(failed(source)),
    }
}

pub(super) async fn delete(objects: &dyn ObjectStore, path: &str) -> Result<(), BackupError> {
    match objects.delete(&Path::from(path)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => {
            Err(BackupError::Objects { operation: "delete", object: path.to_owned(), source })
        }
    }
}

/// The instant of an object's last change.
pub(super) fn modified(meta: &ObjectMeta) -> UnixMillis {
    UnixMillis(meta.last_modified.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use trust::random::SeededRandom;

    use super::*;
    use crate::golden::Golden;

    #[tokio::test]
    async fn objects_of_a_back_up_stay_readable() {
        let key = DataKey::from_octets(&[7; 32]).expect("32 octets");
        let random = Arc::new(SeededRandom::new(1));
        let objects = Arc::new(InMemory::new());
        let repository = Repository::new(objects, key.clone(), random, Pace::new(None));
        Golden::of("data_key_id").is(key.id().0);
        let plain = Bytes::from_static(b"a part of a file");
        let id = repository.piece_id(&plain);
        Golden::of("piece_id").is(id.0);
        let name = CheckpointName { epoch: 2, instant: UnixMillis(1_795_867_200_123) };
        for (name, kind, path) in [
            ("piece", Kind::Piece, piece_path(id)),
            ("manifest", Kind::Manifest, manifest_path(name)),
        ] {
            // Another nonce each time: what counts is that this one is read.
            let now = repository.sealed(kind, &path, plain.clone()).await.expect("sealed");
            let then = Golden::of("backup_object").variant(name).key(&path).written(&now);
            for octets in [now, then.into()] {
                let read = repository.opened(kind, &path, octets, 100).await;
                assert_eq!(read.expect("opened"), plain, "{name}");
            }
        }
        assert_eq!(piece_of(&piece_path(id)), Some(id));
    }
}
