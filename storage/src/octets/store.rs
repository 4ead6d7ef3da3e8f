//! The octet store: reads messages, finds chunks, keeps the secret they are named under.
//!
//! * A chunk is read (`octets::fetch`) from the one place its index row names. When it is not there, the row is
//!   read once more: the packer may have moved the chunk between the two reads. Only then is it
//!   [`StoreError::Damaged`].
//! * Every chunk is verified against its digest before any of its octets is returned.
//!
//! Not here: writing (`octets::writer`), moving (`pack::packer`).

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use object_store::ObjectStore;
use trust::{digest::Sha256Hasher, random::RandomSource};

use super::{
    config::OctetStoreConfig,
    message::StoredMessage,
    rebuild::{self, WINDOW_OCTETS},
    recipe::{ChunkRef, Recipe},
    scrub::SCRUB_STATE,
    writer::MessageWriter,
};
use crate::{
    backup::epoch::STORE_IDENTITY,
    catalog::{
        engine::{Batch, Durability, Engine, Expected, Family, Reader, Scan},
        format::CatalogFormat,
    },
    collector::state::COLLECTOR_STATE,
    error::StoreError,
    ids::StoredId,
    pack::{
        cache::ChunkCache,
        disk_cache::DiskCache,
        flights::Flights,
        index::{
            BACKUP_CHECKPOINTS, CHUNK_INDEX, CONDEMNED, DAMAGED_CHUNKS, DOOMED_PACKS,
            ERASED_CHUNKS, GenerationRow, IndexRow, PACK_GENERATIONS, PACKS, Place, STAGED_CHUNKS,
            generation_key, generation_of, staged_key, staged_key_parts, stored_id_key,
        },
        packer::PackerState,
        store::PackStore,
        stored::{self, StoreSecret},
    },
    sabotage::{PlantedBug, planted},
};

const SECRET_KEY: &[u8] = b"secret";
/// Version octet and the 32 octets of the secret.
const SECRET_VERSION: u8 = 1;

const FAMILIES: [Family; 12] = [
    STAGED_CHUNKS,
    CHUNK_INDEX,
    PACKS,
    CONDEMNED,
    DAMAGED_CHUNKS,
    ERASED_CHUNKS,
    PACK_GENERATIONS,
    DOOMED_PACKS,
    BACKUP_CHECKPOINTS,
    COLLECTOR_STATE,
    SCRUB_STATE,
    STORE_IDENTITY,
];

/// Where the stored form of a chunk lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChunkPlace {
    /// In the catalog, until the packer takes it.
    Staged,
    /// In a pack.
    Pack {
        /// Path of the object.
        path: String,
        /// First octet of the stored form.
        offset: u64,
    },
}

/// One chunk of a message, as it lies on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkUse {
    /// Its name.
    pub stored: StoredId,
    /// Octets of the chunk.
    pub plain_octets: u32,
    /// Octets of the stored form.
    pub stored_octets: u32,
    /// Where it lies.
    pub place: ChunkPlace,
}

/// Chunks, packs, and the messages made of them.
#[derive(Debug)]
pub struct OctetStore {
    pub(crate) engine: EngineHandle,
    pub(crate) format: CatalogFormat,
    pub(crate) packs: PackStore,
    pub(crate) random: Arc<dyn RandomSource>,
    pub(crate) config: OctetStoreConfig,
    pub(crate) secret: StoreSecret,
    pub(crate) packer: PackerState,
    /// One run of the collector at a time.
    pub(crate) collecting: tokio::sync::Mutex<()>,
    pub(crate) cache: ChunkCache,
    pub(crate) disk: Option<DiskCache>,
    pub(super) flights: Flights,
    sequence: AtomicU64,
}

/// The engine, with a `Debug` that does not look into it.
#[derive(Clone)]
pub(crate) struct EngineHandle(pub(crate) Arc<dyn Engine>);

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Engine")
    }
}

impl std::ops::Deref for EngineHandle {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl OctetStore {
    /// Opens the store kept by `engine` and `objects`, and makes its secret when it has none.
    pub async fn open(
        engine: Arc<dyn Engine>,
        objects: Arc<dyn ObjectStore>,
        random: Arc<dyn RandomSource>,
        config: OctetStoreConfig,
    ) -> Result<Arc<Self>, StoreError> {
        let config = config.within_limits();
        let secret = open_secret(&*engine, &*random).await?;
        let disk = match config.disk_cache.clone() {
            Some(disk) => Some(DiskCache::open(disk).await?),
            None => None,
        };
        open_generation(&*engine).await?;
        let last =
            Scan { family: STAGED_CHUNKS, start: Bytes::new(), end: None, reverse: true, limit: 1 };
        let last = engine.scan(&last).await?;
        let sequence = last.first().and_then(|(key, _)| staged_key_parts(key));
        let sequence = sequence.map_or(0, |(sequence, _)| sequence.saturating_add(1));
        Ok(Arc::new(Self {
            format: CatalogFormat::new(Arc::clone(&engine)),
            engine: EngineHandle(engine),
            packs: PackStore::new(objects),
            random,
            cache: ChunkCache::new(config.cache_octets_max),
            disk,
            flights: Flights::default(),
            config,
            secret,
            packer: PackerState::default(),
            collecting: tokio::sync::Mutex::default(),
            sequence: AtomicU64::new(sequence),
        }))
    }

    /// The families of the catalog that the octet store keeps its rows in.
    #[must_use]
    pub fn families() -> &'static [Family] {
        &FAMILIES
    }

    /// Begins to take in a message.
    #[must_use]
    pub fn writer(self: &Arc<Self>) -> MessageWriter {
        MessageWriter::new(Arc::clone(self))
    }

    /// Reads octets of a message, at most 64 KiB: a shorter answer than asked for is normal, an
    /// empty one means that `range` begins at or after the end. Touches only the chunks that
    /// `range` needs. [`StoreError::Damaged`] names the chunk that cannot be read.
    pub async fn read(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.read_ahead(message, &range).await;
        read_window(message.recipe(), message.size(), range, self).await
    }

    /// Rebuilds a whole message and compares its digest: [`StoreError::Damaged`] when a chunk is
    /// wrong or missing, or the digest differs.
    pub async fn verify_message(&self, message: &StoredMessage) -> Result<(), StoreError> {
        verify(message, self, None).await
    }

    /// Says, for every chunk of a message, where it lies and how large it is there.
    pub async fn physical(&self, message: &StoredMessage) -> Result<Vec<ChunkUse>, StoreError> {
        let mut uses = Vec::with_capacity(message.recipe().chunks.len());
        for chunk in &message.recipe().chunks {
            let row = self.index_row(chunk.stored).await?.ok_or_else(|| missing(chunk.stored))?;
            let place = match row.place {
                Place::Staged { .. } => ChunkPlace::Staged,
                Place::Packed { pack, offset } => ChunkPlace::Pack { path: pack.path(), offset },
            };
            let IndexRow { stored_octets, plain_octets, .. } = row;
            uses.push(ChunkUse { stored: chunk.stored, plain_octets, stored_octets, place });
        }
        Ok(uses)
    }

    /// The index row of a chunk.
    pub(crate) async fn index_row(&self, stored: StoredId) -> Result<Option<IndexRow>, StoreError> {
        let row = self.engine.get(CHUNK_INDEX, &stored.0).await?;
        row.map(|octets| IndexRow::decode(&octets, stored)).transpose()
    }

    /// The index rows of chunks, in their order. One that cannot be read is left out: a look for it
    /// alone says why.
    pub(crate) async fn index_rows(
        &self,
        chunks: &[ChunkRef],
    ) -> Result<Vec<Option<IndexRow>>, StoreError> {
        let key = |chunk: &ChunkRef| (CHUNK_INDEX, Bytes::copy_from_slice(&chunk.stored.0));
        let rows = self.engine.multi_get(&chunks.iter().map(key).collect::<Vec<_>>()).await?;
        let decode = |(chunk, row): (&ChunkRef, Option<Bytes>)| {
            row.and_then(|octets| IndexRow::decode(&octets, chunk.stored).ok())
        };
        Ok(chunks.iter().zip(rows).map(decode).collect())
    }

    /// As [`OctetStore::chunk`], for a message that is being taken in and shares the chunk. When
    /// the chunk is damaged, that is remembered, and the answer is [`StoreError::Conflict`]: the
    /// same message, sent again, stores the chunk anew, which heals all messages that share it.
    pub(crate) async fn shared_chunk(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        match self.chunk(chunk).await {
            Err(StoreError::Damaged { .. }) => {
                // The collector took it meanwhile: the same message, sent again, stores it anew.
                let Some(row) = self.index_row(chunk.stored).await? else {
                    return Err(StoreError::Conflict);
                };
                self.note_damaged(chunk.stored, &row).await?;
                Err(StoreError::Conflict)
            }
            outcome => outcome,
        }
    }

    /// The stored form at the place that `row` names; `None` when it is not there.
    pub(crate) async fn stored_form(
        &self,
        stored: StoredId,
        row: &IndexRow,
    ) -> Result<Option<Bytes>, StoreError> {
        match row.place {
            Place::Staged { sequence } => {
                self.engine.get(STAGED_CHUNKS, &staged_key(sequence, stored)).await
            }
            Place::Packed { pack, offset } => {
                let end = offset.saturating_add(u64::from(row.stored_octets));
                self.packs.read(pack, offset..end).await
            }
        }
    }

    /// The plain octets, verified, of a chunk that has no index row yet. They are not cached: who
    /// asks for them is at the end of a message too large to be kept in memory.
    pub(crate) async fn new_chunk(
        &self,
        chunk: &ChunkRef,
        row: &IndexRow,
        staged: Option<&Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        let stored = match staged {
            Some(octets) => Some(octets.clone()),
            None => self.stored_form(chunk.stored, row).await?,
        };
        match stored {
            None => Ok(None),
            Some(stored) => decoded(chunk, row, stored).await.map(Some),
        }
    }

    /// Says whether a message that is being taken in may rely on the store's copy of a chunk: it
    /// is there, and its stored form is not known to be damaged. A condemnation is taken back at
    /// once, so that a long session does not find the chunk gone at its end.
    pub(crate) async fn offers(&self, stored: StoredId) -> Result<bool, StoreError> {
        let Some(row) = self.engine.get(CHUNK_INDEX, &stored.0).await? else { return Ok(false) };
        let key = stored_id_key(stored);
        let marks = [(DAMAGED_CHUNKS, key.clone()), (CONDEMNED, key.clone())];
        let mut marks = self.engine.multi_get(&marks).await?.into_iter();
        if marks.next().flatten().is_some_and(|damaged| damaged == row) {
            return Ok(false);
        }
        if marks.next().flatten().is_none() || planted(PlantedBug::DedupHitKeepsCondemnation) {
            return Ok(true);
        }
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        batch.expect(CHUNK_INDEX, key.clone(), Expected::Present).delete(CONDEMNED, key);
        match self.engine.commit(batch).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Remembers that the stored form of a chunk is damaged, so that the next message with the
    /// same octets brings them back. `row` is the index row that led to it.
    pub(crate) async fn note_damaged(
        &self,
        stored: StoredId,
        row: &IndexRow,
    ) -> Result<(), StoreError> {
        let (key, row) = (stored_id_key(stored), row.encode());
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        batch.expect(CHUNK_INDEX, key.clone(), Expected::Value(row.clone()));
        batch.put(DAMAGED_CHUNKS, key, row);
        match self.engine.commit(batch).await {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The newest generation: read it before a pack is written, and let the batch that names the
    /// pack expect it.
    pub(crate) async fn generation(&self) -> Result<u64, StoreError> {
        let scan = Scan { reverse: true, ..Scan::prefix(PACK_GENERATIONS, &[], 1) };
        match self.engine.scan(&scan).await?.first() {
            Some((key, _)) => generation_of(key),
            None => Err(StoreError::Damaged {
                object: "the family pack_generations".into(),
                detail: "it is empty".into(),
            }),
        }
    }

    /// The sequence for the next staged chunk.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds to `batch` what makes the chunks of an already durable message stay: it fails with
    /// [`StoreError::Conflict`] when one of them is gone, and takes back their condemnation.
    pub(crate) fn keep_chunks(stored: impl Iterator<Item = StoredId>, batch: &mut Batch) {
        let mut stored: Vec<StoredId> = stored.collect();
        stored.sort_unstable();
        stored.dedup();
        for stored in stored {
            batch.expect(CHUNK_INDEX, stored_id_key(stored), Expected::Present);
            if !planted(PlantedBug::DedupHitKeepsCondemnation) {
                batch.delete(CONDEMNED, stored_id_key(stored));
            }
        }
    }
}

/// The plain octets of a stored form that lies where `row` says, verified.
pub(super) async fn decoded(
    chunk: &ChunkRef,
    row: &IndexRow,
    stored: Bytes,
) -> Result<Bytes, StoreError> {
    let ChunkRef { chunk: id, plain_octets, stored: stored_id } = *chunk;
    let place = row.place;
    off_thread(stored.len(), move || {
        stored::decode_chunk(&stored, plain_octets, id, &|| describe(stored_id, place))
    })
    .await
}

/// Where chunks come from while a message is rebuilt.
#[async_trait::async_trait]
pub(crate) trait ChunkSource: Send + Sync {
    /// The plain octets of a chunk, verified against its digest.
    async fn plain(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError>;
}

#[async_trait::async_trait]
impl ChunkSource for OctetStore {
    async fn plain(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        self.chunk(chunk).await
    }
}

/// Names a chunk and its place in errors.
pub(crate) fn describe(stored: StoredId, place: Place) -> String {
    match place {
        Place::Staged { sequence } => format!("staged chunk {stored} (sequence {sequence})"),
        Place::Packed { pack, offset } => {
            format!("chunk {stored} at octet {offset} of {}", pack.path())
        }
    }
}

pub(crate) fn missing(stored: StoredId) -> StoreError {
    StoreError::Damaged {
        object: format!("chunk {stored}"),
        detail: "it is neither staged nor in the pack that the index names".into(),
    }
}

/// Work on more octets than this leaves the thread that serves other sessions.
const INLINE_WORK_OCTETS_MAX: usize = 128 << 10;

/// Runs work on `octets` octets, elsewhere when they are many.
pub(crate) async fn off_thread<T: Send + 'static>(
    octets: usize,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if octets <= INLINE_WORK_OCTETS_MAX {
        return work();
    }
    // The task only fails when the runtime is being shut down.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}

/// Rebuilds at most [`WINDOW_OCTETS`] of a message with chunks from `source`.
pub(crate) async fn read_window(
    recipe: &Recipe,
    size: u64,
    range: Range<u64>,
    source: &dyn ChunkSource,
) -> Result<Bytes, StoreError> {
    let mut octets = Vec::new();
    read_window_into(recipe, size, range, source, &mut BTreeMap::new(), &mut octets).await?;
    Ok(octets.into())
}

/// As [`read_window`], into a buffer. `chunks` has the chunks of the window before, and afterwards
/// those of this one: whoever reads on needs most of them again.
async fn read_window_into(
    recipe: &Recipe,
    size: u64,
    range: Range<u64>,
    source: &dyn ChunkSource,
    chunks: &mut BTreeMap<u32, Bytes>,
    octets: &mut Vec<u8>,
) -> Result<(), StoreError> {
    octets.clear();
    let end = range.end.min(size).min(range.start.saturating_add(WINDOW_OCTETS));
    let range = range.start..end;
    if range.is_empty() {
        return Ok(());
    }
    let needed = rebuild::chunks_needed(recipe, &range);
    chunks.retain(|position, _| needed.binary_search(position).is_ok());
    for position in needed {
        if let Some(chunk) = recipe.chunks.get(position as usize)
            && !chunks.contains_key(&position)
        {
            chunks.insert(position, source.plain(chunk).await?);
        }
    }
    octets.reserve(usize::try_from(range.end - range.start).unwrap_or(0));
    rebuild::rebuild(&recipe.segments, &range, chunks, octets).ok_or_else(|| StoreError::Damaged {
        object: "a recipe".into(),
        detail: "it asks for octets that its chunks do not have".into(),
    })
}

/// Rebuilds a message with chunks from `source` and compares it with the octets `received`, or, where
/// they are not at hand, its size and digest with those recorded.
pub(crate) async fn verify(
    message: &StoredMessage,
    source: &dyn ChunkSource,
    received: Option<&[u8]>,
) -> Result<(), StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        object: format!("the message with SHA-256 {}", message.digest()),
        detail,
    };
    let mut left = received;
    let mut hasher = Sha256Hasher::default();
    let (mut chunks, mut octets) = (BTreeMap::new(), Vec::new());
    let mut position = 0;
    while position < message.size() {
        let range = position..message.size();
        let (recipe, size) = (message.recipe(), message.size());
        read_window_into(recipe, size, range, source, &mut chunks, &mut octets).await?;
        if octets.is_empty() {
            break;
        }
        position += octets.len() as u64;
        match &mut left {
            None => hasher.update(&octets),
            Some(rest) => match rest.strip_prefix(octets.as_slice()) {
                Some(after) => *rest = after,
                None => return Err(damaged("its chunks rebuild other octets".to_owned())),
            },
        }
    }
    if let Some(rest) = left {
        let whole = rest.is_empty() && position == message.size();
        return if whole {
            Ok(())
        } else {
            Err(damaged("its chunks rebuild too little".to_owned()))
        };
    }
    let digest = hasher.finish();
    if digest != message.digest() || position != message.size() {
        return Err(damaged(format!("its chunks rebuild {position} octets with SHA-256 {digest}")));
    }
    Ok(())
}

/// Begins the first generation of a store that has none.
async fn open_generation(engine: &dyn Engine) -> Result<(), StoreError> {
    if !engine.scan(&Scan::prefix(PACK_GENERATIONS, &[], 1)).await?.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    batch.expect(PACK_GENERATIONS, generation_key(1), Expected::Absent);
    batch.put(PACK_GENERATIONS, generation_key(1), GenerationRow { since_millis: 0 }.encode());
    match engine.commit(batch).await {
        // Another node opened the new store at the same time.
        Ok(_) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The secret of the store that a catalog belongs to; `None` before it was ever opened.
pub(crate) async fn secret_of(
    reader: &(impl Reader + ?Sized),
) -> Result<Option<StoreSecret>, StoreError> {
    let row = reader.get(STORE_IDENTITY, SECRET_KEY).await?;
    row.map(|octets| read_secret(&octets)).transpose()
}

async fn open_secret(
    engine: &dyn Engine,
    random: &dyn RandomSource,
) -> Result<StoreSecret, StoreError> {
    loop {
        if let Some(secret) = secret_of(engine).await? {
            return Ok(secret);
        }
        let mut octets = [0; 33];
        octets[0] = SECRET_VERSION;
        random.fill(&mut octets[1..]);
        let mut batch = Batch::default();
        batch.expect(STORE_IDENTITY, SECRET_KEY, Expected::Absent);
        batch.put(STORE_IDENTITY, SECRET_KEY, octets.to_vec());
        match engine.commit(batch).await {
            // Another node opened the new store at the same time: its secret counts.
            Err(StoreError::Conflict) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_secret(octets: &[u8]) -> Result<StoreSecret, StoreError> {
    let object = || "store_identity row `secret`".to_owned();
    match octets.split_first() {
        Some((&version, _)) if version > SECRET_VERSION => Err(StoreError::TooNew {
            object: object(),
            found: version.into(),
            known: SECRET_VERSION.into(),
        }),
        Some((&SECRET_VERSION, secret)) if secret.len() == 32 => {
            let mut octets = [0; 32];
            octets.copy_from_slice(secret);
            Ok(StoreSecret::new(octets))
        }
        _ => Err(StoreError::Damaged {
            object: object(),
            detail: "it is not a version octet and 32 octets".into(),
        }),
    }
}
