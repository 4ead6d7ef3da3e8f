//! Stored forms of chunks kept on a local disk, for stores whose packs are far away.
//!
//! * One file a chunk, `<first two digits>/<StoredId in hexadecimal>.chunk`: the magic, the
//!   BLAKE3 of the stored form, the stored form. `docs/formats.md` has the table.
//! * A file is looked at before it is believed: what does not have its digest is removed and
//!   counts as missing. The chunk itself is verified after that, as always.
//! * Nothing here need survive: a file gets its name when it is written whole, no sync follows, and
//!   what a crash left is found out by the digest. The folder may be removed while no process
//!   uses it.
//! * The octets of the files never exceed the bound, but for those being written; the least
//!   recently used go first. After a restart the order is that of their writing.
//! * A chunk that went while its file was being written is forgotten again ([`DiskCache::put`]).
//! * Files are read and written on the blocking pool. At most [`WRITES_MAX`] chunks wait to be
//!   written; more are not kept, which costs a request later and nobody's time now.
//!
//! The octets are as secret as the packs: the folder is readable by its owner only.
//!
//! Not here: plain chunks in memory (`pack::cache`), what is fetched (`octets::fetch`).

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Bound,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::cache::{Answers, CacheFigures};
use crate::{error::StoreError, ids::StoredId};

const MAGIC: &[u8; 8] = b"CERACCH1";
/// Magic and digest.
const HEAD_OCTETS: usize = 8 + 32;
const SUFFIX: &str = ".chunk";
const UNFINISHED: &str = ".part";
/// Chunks that wait to be written.
pub const WRITES_MAX: usize = 64;

/// Where chunks are kept, and how many octets of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DiskCacheConfig {
    /// The folder, which nobody else uses.
    pub folder: PathBuf,
    /// Octets of its files.
    pub octets_max: u64,
}

/// A bounded folder of stored forms. A clone is the same cache.
#[derive(Clone, Debug)]
pub struct DiskCache {
    files: Arc<Files>,
    writes: Arc<Semaphore>,
    answers: Arc<Answers>,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    octets_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    octets: u64,
    uses: u64,
    chunks: BTreeMap<StoredId, (u64, u64)>,
    by_use: BTreeMap<u64, StoredId>,
}

impl DiskCache {
    /// Opens the folder, and makes it when there is none. What does not belong here stays; what
    /// is too much goes.
    pub async fn open(config: DiskCacheConfig) -> Result<Self, StoreError> {
        let folder = config.folder.display().to_string();
        let opened = tokio::task::spawn_blocking(move || Files::open(config)).await;
        let files = opened.map_err(|_| StoreError::Closed)?.map_err(|source| {
            let source = Box::new(source);
            StoreError::Objects { operation: "open the cache", object: folder, source }
        })?;
        let (files, writes) = (Arc::new(files), Arc::new(Semaphore::new(WRITES_MAX)));
        Ok(Self { files, writes, answers: Arc::default() })
    }

    /// The stored form of a chunk, when it is here and as it was written.
    pub async fn get(&self, stored: StoredId) -> Option<Bytes> {
        let found = self.read(stored).await;
        self.answers.count(found.is_some());
        found
    }

    /// Hits and misses since it was opened, and what the folder holds.
    pub fn figures(&self) -> CacheFigures {
        let state = self.files.lock();
        self.answers.figures(state.chunks.len(), state.octets, self.files.octets_max)
    }

    async fn read(&self, stored: StoredId) -> Option<Bytes> {
        if !self.files.lock().touch(stored) {
            return None;
        }
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || files.read(stored)).await.ok().flatten()
    }

    /// Keeps a stored form, soon. `stays` is asked once the file is there: when it says no, the file
    /// goes again.
    pub fn put(
        &self,
        stored: StoredId,
        octets: Bytes,
        stays: impl Future<Output = bool> + Send + 'static,
    ) {
        let size = (octets.len() + HEAD_OCTETS) as u64;
        let Ok(turn) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        if size > self.files.octets_max || self.files.lock().touch(stored) {
            return;
        }
        let cache = self.clone();
        let files = Arc::clone(&self.files);
        tokio::spawn(async move {
            let writing = move || files.write(stored, &octets, size);
            // The task only fails when the runtime is being shut down.
            let _ = tokio::task::spawn_blocking(writing).await;
            if !stays.await {
                cache.remove(stored).await;
            }
            drop(turn);
        });
    }

    /// Forgets a chunk: it proved wrong, or must not be kept any longer.
    pub async fn remove(&self, stored: StoredId) {
        let files = Arc::clone(&self.files);
        // The task only fails when the runtime is being shut down.
        let _ = tokio::task::spawn_blocking(move || files.remove(stored)).await;
    }

    /// At most `limit` of the chunks that are here, ascending, from the first after `after`.
    pub fn page(&self, after: Option<StoredId>, limit: usize) -> Vec<StoredId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let chunks = &self.files.lock().chunks;
        chunks.range((start, Bound::Unbounded)).map(|(stored, _)| *stored).take(limit).collect()
    }

    /// Octets of the files.
    pub fn octets(&self) -> u64 {
        self.files.lock().octets
    }

    /// Waits for the writes that are under way.
    pub async fn settle(&self) {
        let all = u32::try_from(WRITES_MAX).unwrap_or(u32::MAX);
        let _ = self.writes.acquire_many(all).await;
    }
}

impl State {
    /// Marks a chunk as used now; says whether it is here.
    fn touch(&mut self, stored: StoredId) -> bool {
        self.uses += 1;
        let now = self.uses;
        let Some((used, _)) = self.chunks.get_mut(&stored) else { return false };
        let before = std::mem::replace(used, now);
        self.by_use.remove(&before);
        self.by_use.insert(now, stored);
        true
    }

    fn insert(&mut self, stored: StoredId, size: u64) {
        self.take(stored);
        self.uses += 1;
        self.octets += size;
        self.chunks.insert(stored, (self.uses, size));
        self.by_use.insert(self.uses, stored);
    }

    fn take(&mut self, stored: StoredId) {
        if let Some((used, size)) = self.chunks.remove(&stored) {
            self.by_use.remove(&used);
            self.octets -= size;
        }
    }

    /// Takes the least recently used out until the rest is within the bound.
    fn evict(&mut self, octets_max: u64) -> Vec<StoredId> {
        let mut out = Vec::new();
        while self.octets > octets_max
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            let oldest = *oldest;
            self.take(oldest);
            out.push(oldest);
        }
        out
    }
}

impl Files {
    fn open(config: DiskCacheConfig) -> io::Result<Self> {
        let DiskCacheConfig { folder, octets_max } = config;
        make_folder(&folder)?;
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            let folder = folder.join(format!("{first:02x}"));
            make_folder(&folder)?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                if name.ends_with(UNFINISHED) {
                    fs::remove_file(entry.path())?;
                } else if let Some(stored) = name.strip_suffix(SUFFIX).and_then(stored_id) {
                    let data = entry.metadata()?;
                    found.push((data.modified()?, stored, data.len()));
                }
            }
        }
        found.sort_unstable();
        let mut state = State::default();
        for (_, stored, size) in found {
            state.insert(stored, size);
        }
        let files = Self { folder, octets_max, state: Mutex::new(state) };
        files.evict();
        Ok(files)
    }

    fn read(&self, stored: StoredId) -> Option<Bytes> {
        let whole = fs::read(self.path(stored)).ok().map(Bytes::from);
        let form = whole.and_then(|whole| {
            let head = whole.get(..HEAD_OCTETS)?;
            let form = whole.slice(HEAD_OCTETS..);
            let digest = blake3::hash(&form);
            (head[..8] == *MAGIC && head[8..] == *digest.as_bytes()).then_some(form)
        });
        if form.is_none() {
            self.remove(stored);
        }
        form
    }

    fn write(&self, stored: StoredId, form: &[u8], size: u64) {
        let path = self.path(stored);
        let unfinished = path.with_extension(&UNFINISHED[1..]);
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&unfinished)?;
            io::Write::write_all(&mut file, MAGIC)?;
            io::Write::write_all(&mut file, blake3::hash(form).as_bytes())?;
            io::Write::write_all(&mut file, form)?;
            fs::rename(&unfinished, &path)
        })();
        match written {
            Ok(()) => {
                self.lock().insert(stored, size);
                self.evict();
            }
            // Another writes the same chunk at this moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A full disk keeps nothing, which is what a cache may do.
            Err(_) => drop(fs::remove_file(&unfinished)),
        }
    }

    fn remove(&self, stored: StoredId) {
        let mut state = self.lock();
        state.take(stored);
        // Under the lock: a write of the same chunk is counted only when it has its name.
        let _ = fs::remove_file(self.path(stored));
    }

    fn evict(&self) {
        let out = self.lock().evict(self.octets_max);
        for stored in out {
            self.remove_evicted(stored);
        }
    }

    /// Removes the file of a chunk that was taken out, unless it came back meanwhile.
    fn remove_evicted(&self, stored: StoredId) {
        let state = self.lock();
        if !state.chunks.contains_key(&stored) {
            let _ = fs::remove_file(self.path(stored));
        }
    }

    fn path(&self, stored: StoredId) -> PathBuf {
        let first = format!("{:02x}", stored.0[0]);
        self.folder.join(first).join(format!("{stored}{SUFFIX}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn stored_id(digits: &str) -> Option<StoredId> {
    let mut octets = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (position, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&digits[position * 2..position * 2 + 2], 16).ok()?;
    }
    Some(StoredId(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    fn config(folder: &Path, octets_max: u64) -> DiskCacheConfig {
        DiskCacheConfig { folder: folder.join("cache"), octets_max }
    }

    fn chunk(number: u8) -> StoredId {
        StoredId([number; 32])
    }

    fn form(number: u8) -> Bytes {
        Bytes::from(vec![number; 1_000])
    }

    async fn keep(cache: &DiskCache, number: u8) {
        cache.put(chunk(number), form(number), async { true });
        cache.settle().await;
    }

    #[tokio::test]
    async fn files_of_the_cache_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(config(folder.path(), 1 << 20)).await.unwrap();
        cache.put(chunk(7), Bytes::from_static(b"a stored form"), async { true });
        cache.settle().await;
        let path = cache.files.path(chunk(7));
        let name = path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        let golden = Golden::of("cached_chunk").key(name);
        fs::write(&path, golden.clone().written(fs::read(&path).unwrap())).unwrap();
        assert_eq!(cache.get(chunk(7)).await.as_deref(), Some(&b"a stored form"[..]));
        golden.is(fs::read(&path).unwrap());
    }

    #[tokio::test]
    async fn the_recently_used_stay_within_the_bound_also_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(config(folder.path(), 3_200)).await.unwrap();
        for number in 1..=3 {
            keep(&cache, number).await;
        }
        assert_eq!(cache.get(chunk(1)).await, Some(form(1)));
        keep(&cache, 4).await;
        assert_eq!(cache.get(chunk(2)).await, None, "the least recently used");
        let figures = cache.figures();
        assert_eq!((figures.hits, figures.misses, figures.entries), (1, 1, 3));
        assert_eq!((figures.octets, figures.octets_max), (3 * 1_040, 3_200));
        assert!(cache.octets() <= 3_200);
        drop(cache);
        let again = DiskCache::open(config(folder.path(), 3_200)).await.unwrap();
        for number in [1, 3, 4] {
            assert_eq!(again.get(chunk(number)).await, Some(form(number)));
        }
        drop(again);
        let smaller = DiskCache::open(config(folder.path(), 1_100)).await.unwrap();
        assert_eq!(smaller.octets(), 1_040);
        assert_eq!(smaller.get(chunk(4)).await, Some(form(4)), "written last");
    }

    #[tokio::test]
    async fn a_chunk_that_went_while_it_was_written_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(config(folder.path(), 1 << 20)).await.unwrap();
        let path = cache.files.path(chunk(1));
        let written = path.clone();
        cache.put(chunk(1), form(1), async move { !written.exists() });
        cache.settle().await;
        assert!(!path.exists(), "it was asked when the file was there, and not before");
        assert_eq!((cache.get(chunk(1)).await, cache.octets()), (None, 0));
        for number in [5, 3, 9] {
            keep(&cache, number).await;
        }
        assert_eq!(cache.page(None, 2), [chunk(3), chunk(5)]);
        assert_eq!(cache.page(Some(chunk(5)), 2), [chunk(9)]);
    }

    #[tokio::test]
    async fn every_damaged_octet_of_a_file_is_found_and_the_file_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(config(folder.path(), 1 << 20)).await.unwrap();
        let path = cache.files.path(chunk(7));
        keep(&cache, 7).await;
        let whole = fs::read(&path).unwrap();
        for position in (0..whole.len()).step_by(13) {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_eq!(cache.get(chunk(7)).await, None, "{position}");
            assert!(!path.exists());
            keep(&cache, 7).await;
        }
        fs::write(&path, &whole[..20]).unwrap();
        assert_eq!(cache.get(chunk(7)).await, None, "torn");
        fs::write(path.with_extension("part"), &whole[..20]).unwrap();
        let again = DiskCache::open(config(folder.path(), 1 << 20)).await.unwrap();
        assert_eq!(again.octets(), 0);
        keep(&again, 7).await;
        assert_eq!(again.get(chunk(7)).await, Some(form(7)));
        again.remove(chunk(7)).await;
        assert!(!path.exists());
    }
}
