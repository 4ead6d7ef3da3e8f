//! Packs in the object store.
//!
//! * A pack is one PUT that creates and never replaces; it is never appended to. Its name is
//!   random, so nobody else can have taken it: "exists already" can only be an earlier try of
//!   the same PUT whose answer was lost, and is accepted when the object has the right octets.
//! * Nothing is read into memory before it is known how long it is: the end of an object (64 octets)
//!   comes with its length, an index has at most 48 MiB, a range is one of chunks. An object longer than
//!   a pack can be is damaged.
//! * After [`PackStore::put`] returned, the pack survives a crash (`objects`).
//! * Objects are named `packs/<first two hexadecimal digits>/<PackId in hexadecimal>.pack`, and those
//!   of chunks that no live row marks `packs/cold/<two digits>/<PackId>.pack`. The name itself says
//!   which ([`PackId::is_cold`]): whoever knows a pack knows its path, and a listing of `packs/` has both.
//!
//! Not here: the octets of a pack (`pack::format`), which packs count (`packs` in the catalog).

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    path::Path,
};
use trust::{clock::UnixMillis, random::RandomSource};

use super::format::{self, PackEntry};
use crate::error::StoreError;
pub use crate::objects::local::local_objects;

const PREFIX: &str = "packs";
const COLD_PREFIX: &str = "packs/cold";
const SUFFIX: &str = ".pack";
/// The last octets of the names of cold packs. Of the packs named before there were cold ones, each
/// ends so with a chance of 2⁻⁴⁸.
const COLD_MARK: [u8; 6] = *b"colder";

/// The random name of a pack.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackId(pub [u8; 16]);

impl PackId {
    /// A new name, of a pack that is not cold.
    #[must_use]
    pub fn random(random: &dyn RandomSource) -> Self {
        let mut octets = [0; 16];
        random.fill(&mut octets);
        if Self(octets).is_cold() {
            octets[15] ^= 1;
        }
        Self(octets)
    }

    /// A new name, of a cold pack: 80 of its bits are random.
    #[must_use]
    pub fn random_cold(random: &dyn RandomSource) -> Self {
        let mut octets = [0; 16];
        random.fill(&mut octets);
        octets[10..].copy_from_slice(&COLD_MARK);
        Self(octets)
    }

    /// Whether it lies under the colder prefix.
    #[must_use]
    pub fn is_cold(self) -> bool {
        self.0.ends_with(&COLD_MARK)
    }

    /// The name that 16 octets are.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }

    /// The object's path.
    #[must_use]
    pub fn path(self) -> String {
        let prefix = if self.is_cold() { COLD_PREFIX } else { PREFIX };
        format!("{prefix}/{:02x}/{self}{SUFFIX}", self.0[0])
    }

    /// The pack whose object has this path.
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        let digits = path.rsplit('/').next()?.strip_suffix(SUFFIX)?;
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        let mut octets = [0; 16];
        for (position, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from_str_radix(digits.get(position * 2..position * 2 + 2)?, 16).ok()?;
        }
        let pack = Self(octets);
        (pack.path() == path).then_some(pack)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PackId({self})")
    }
}

/// An object under `packs/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedObject {
    /// Its path.
    pub path: String,
    /// The pack that it is by its path; `None` = it is a file of somebody else.
    pub pack: Option<PackId>,
    /// Its octets.
    pub octets: u64,
}

/// Octets between two ranges that are read with them, so that one request does for both.
const GAP_OCTETS_MAX: u64 = 64 << 10;
/// Octets of a request for several ranges.
const REQUEST_OCTETS_MAX: u64 = 4 << 20;

/// One request for ranges that lie near each other.
#[derive(Debug, Eq, PartialEq)]
struct Request {
    span: Range<u64>,
    /// Which of the ranges it is for.
    positions: Vec<usize>,
}

/// The requests for `ranges`, each of which is in one of them whole.
fn requests(ranges: &[Range<u64>]) -> Vec<Request> {
    let mut ordered: Vec<(usize, &Range<u64>)> = ranges.iter().enumerate().collect();
    ordered.sort_by_key(|(_, range)| range.start);
    let mut requests: Vec<Request> = Vec::new();
    for (position, range) in ordered {
        match requests.last_mut() {
            Some(Request { span, positions })
                if range.start <= span.end.saturating_add(GAP_OCTETS_MAX)
                    && range.end.saturating_sub(span.start) <= REQUEST_OCTETS_MAX =>
            {
                span.end = span.end.max(range.end);
                positions.push(position);
            }
            _ => requests.push(Request { span: range.clone(), positions: vec![position] }),
        }
    }
    requests
}

/// As much of `range` as `octets` has.
fn within(octets: &Bytes, range: Range<u64>) -> Bytes {
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(octets.len());
    octets.slice(position(range.start)..position(range.end).max(position(range.start)))
}

/// Reads and writes packs.
#[derive(Clone, Debug)]
pub struct PackStore {
    objects: Arc<dyn ObjectStore>,
}

impl PackStore {
    /// Keeps packs in `objects`.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// Where the packs are.
    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes a whole pack; durable on return.
    pub async fn put(&self, pack: PackId, octets: Bytes) -> Result<(), StoreError> {
        let path = Path::from(pack.path());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(octets.clone());
        match self.objects.put_opts(&path, payload, options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) if self.has(pack, &octets).await? => {
                Ok(())
            }
            Err(error) => Err(failed("put", pack, error)),
        }
    }

    /// Reads octets of a pack; `None` when there is no such object (any more). Fewer octets
    /// than asked for, or none, mean that the object ends early.
    pub async fn read(&self, pack: PackId, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let path = Path::from(pack.path());
        match self.objects.get_range(&path, range.clone()).await {
            Ok(octets) => Ok(Some(octets)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            // A range behind the end is an error like any other to the object stores.
            Err(error) => match self.objects.head(&path).await {
                Ok(meta) if meta.size <= range.start => Ok(Some(Bytes::new())),
                _ => Err(failed("get", pack, error)),
            },
        }
    }

    /// Reads several ranges of a pack, those that lie near each other in one request; `None` when
    /// there is no such object (any more). Fewer octets than asked for mean that the object ends early.
    pub async fn read_ranges(
        &self,
        pack: PackId,
        ranges: &[Range<u64>],
    ) -> Result<Option<Vec<Bytes>>, StoreError> {
        let mut parts = vec![Bytes::new(); ranges.len()];
        for Request { span, positions } in requests(ranges) {
            let Some(octets) = self.read(pack, span.clone()).await? else { return Ok(None) };
            for position in &positions {
                let (Some(range), Some(part)) = (ranges.get(*position), parts.get_mut(*position))
                else {
                    continue;
                };
                let cut = within(&octets, range.start - span.start..range.end - span.start);
                // A part of its own: it must not hold what lies between it and the others.
                *part = if positions.len() == 1 { cut } else { Bytes::copy_from_slice(&cut) };
            }
        }
        Ok(Some(parts))
    }

    /// Whether a pack has exactly these octets.
    async fn has(&self, pack: PackId, octets: &Bytes) -> Result<bool, StoreError> {
        match self.objects.get(&Path::from(pack.path())).await {
            Ok(result) if result.meta.size != octets.len() as u64 => Ok(false),
            Ok(result) => {
                Ok(result.bytes().await.map_err(|error| failed("get", pack, error))? == *octets)
            }
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("get", pack, error)),
        }
    }

    /// Reads the index of a pack, with the length of the pack; `None` when there is no such
    /// object. The header and the layout are verified too, the chunks are not.
    pub async fn read_index(
        &self,
        pack: PackId,
    ) -> Result<Option<(u64, Vec<PackEntry>)>, StoreError> {
        let path = Path::from(pack.path());
        let footer_octets = format::FOOTER_OCTETS as u64;
        let options =
            GetOptions { range: Some(GetRange::Suffix(footer_octets)), ..GetOptions::default() };
        let result = match self.objects.get_opts(&path, options).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("get", pack, error)),
        };
        let pack_octets = result.meta.size;
        let octets = result.bytes().await.map_err(|error| failed("get", pack, error))?;
        let object = pack.path();
        let footer = format::read_footer(&octets, pack_octets, &object)?;
        let index_end = pack_octets.saturating_sub(footer_octets);
        let Some(index) = self.read_range_or_empty(pack, footer.index_offset..index_end).await?
        else {
            return Ok(None);
        };
        let entries = format::read_index(&index, &footer, &object)?;
        let Some(header) = self.read_range_or_empty(pack, 0..format::HEADER_OCTETS).await? else {
            return Ok(None);
        };
        format::verify_layout(&header, &footer, &entries, &object)?;
        Ok(Some((pack_octets, entries)))
    }

    /// As [`PackStore::read`]; an empty range, which object stores refuse, reads as no octets.
    async fn read_range_or_empty(
        &self,
        pack: PackId,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, StoreError> {
        if range.is_empty() { Ok(Some(Bytes::new())) } else { self.read(pack, range).await }
    }

    /// When a pack was written, by the object store's clock; `None` when there is no such object.
    pub async fn written_at(&self, pack: PackId) -> Result<Option<UnixMillis>, StoreError> {
        match self.objects.head(&Path::from(pack.path())).await {
            Ok(meta) => Ok(Some(UnixMillis(meta.last_modified.timestamp_millis()))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("head", pack, error)),
        }
    }

    /// Removes a pack that no row of the catalog names. Removing it twice is no error.
    pub async fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        match self.objects.delete(&Path::from(pack.path())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", pack, error)),
        }
    }

    /// Every object under `packs/`, in no order, at most `objects` at a time.
    pub fn pages(
        &self,
        objects: usize,
    ) -> impl Stream<Item = Result<Vec<ListedObject>, StoreError>> + use<> {
        let listed = self.objects.list(Some(&Path::from(PREFIX)));
        let listed = listed.map_ok(|meta| ListedObject {
            pack: PackId::from_path(meta.location.as_ref()),
            octets: meta.size,
            path: meta.location.to_string(),
        });
        listed.try_chunks(objects.max(1)).map_err(|error| StoreError::Objects {
            operation: "list",
            object: PREFIX.into(),
            source: Box::new(error.1),
        })
    }

    /// Lists every pack there is, and the paths under `packs/` that are none.
    pub async fn list(&self) -> Result<(Vec<PackId>, Vec<String>), StoreError> {
        let mut packs = Vec::new();
        let mut strangers = Vec::new();
        let mut listed = self.objects.list(Some(&Path::from(PREFIX)));
        loop {
            let next = listed.try_next().await.map_err(|error| StoreError::Objects {
                operation: "list",
                object: PREFIX.into(),
                source: Box::new(error),
            })?;
            let Some(meta) = next else { break };
            match PackId::from_path(meta.location.as_ref()) {
                Some(pack) => packs.push(pack),
                None => strangers.push(meta.location.to_string()),
            }
        }
        packs.sort_unstable();
        Ok((packs, strangers))
    }
}

fn failed(operation: &'static str, pack: PackId, error: object_store::Error) -> StoreError {
    StoreError::Objects { operation, object: pack.path(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_lie_near_each_other_are_one_request_of_a_bounded_length() {
        let gap = GAP_OCTETS_MAX;
        let ranges = [100..200, 0..100, 200 + gap..300 + gap, 301 + 2 * gap..302 + 2 * gap];
        let expected = [
            Request { span: 0..300 + gap, positions: vec![1, 0, 2] },
            Request { span: 301 + 2 * gap..302 + 2 * gap, positions: vec![3] },
        ];
        assert_eq!(requests(&ranges), expected);
        let large = [0..REQUEST_OCTETS_MAX, REQUEST_OCTETS_MAX..REQUEST_OCTETS_MAX + 1];
        assert_eq!(requests(&large).len(), 2);
        assert_eq!(requests(&[]), []);
    }

    #[test]
    fn a_pack_is_found_again_by_its_path_and_nothing_else_is_a_pack() {
        let pack = PackId([0xab; 16]);
        assert_eq!(PackId::from_path(&pack.path()), Some(pack));
        for path in ["packs/ab/short.pack", "packs/00/abababababababababababababababab.pack"] {
            assert_eq!(PackId::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn the_name_of_a_pack_says_whether_it_lies_under_the_colder_prefix() {
        let random = trust::random::SeededRandom::new(4);
        let (warm, cold) = (PackId::random(&random), PackId::random_cold(&random));
        assert!(!warm.is_cold() && cold.is_cold());
        assert_eq!(cold.path(), format!("packs/cold/{:02x}/{cold}.pack", cold.0[0]));
        assert_eq!(PackId::from_path(&cold.path()), Some(cold));
        for moved in
            [warm.path().replace("packs/", "packs/cold/"), cold.path().replace("/cold", "")]
        {
            assert_eq!(PackId::from_path(&moved), None, "{moved}");
        }
    }

    #[tokio::test]
    async fn a_pack_is_created_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for objects in [
            local_objects(folder.path()).unwrap(),
            Arc::new(object_store::memory::InMemory::new()) as Arc<dyn ObjectStore>,
        ] {
            let store = PackStore::new(objects);
            let pack = PackId([7; 16]);
            let (octets, entries) = format::PackBuilder::default().finish();
            store.put(pack, octets.clone()).await.unwrap();
            store.put(pack, octets.clone()).await.unwrap();
            assert!(store.put(pack, Bytes::from_static(b"other")).await.is_err());
            let index = store.read_index(pack).await.unwrap();
            assert_eq!(index, Some((octets.len() as u64, entries)));
            assert_eq!(store.list().await.unwrap(), (vec![pack], Vec::new()));
            store.delete(pack).await.unwrap();
            store.delete(pack).await.unwrap();
            assert_eq!(store.read_index(pack).await.unwrap(), None);
        }
    }
}
