//! The octets of a pack: an immutable object of many chunks that ends in its own index.
//!
//! All numbers are big-endian.
//!
//! ```text
//! header (16)    0..8    "CERAPACK"
//!                8..12   version: 1
//!                12..16  zero
//! chunks         stored forms (`pack::stored`), one after the other, without gaps
//! index          one entry (48) per chunk, ascending by StoredId, none twice
//!                0..32   StoredId
//!                32..40  offset of the stored form from the start of the pack
//!                40..44  octets of the stored form
//!                44..48  plain octets of the chunk
//! footer (64)    0..8    offset of the index from the start of the pack
//!                8..12   entries of the index
//!                12..16  version: 1
//!                16..24  octets of the whole pack
//!                24..56  BLAKE3-256 of header, index, and octets 0..24 of the footer
//!                56..64  "KCAPAREC"
//! ```
//!
//! Everything but the chunks is covered by the digest of the footer; each chunk is covered by its
//! own digest. So the catalog's index can be rebuilt from packs alone, and every changed octet is
//! found. A pack is read from its end: footer, index, then single chunks.
//!
//! Not here: names and I/O (`pack::store`).

use bytes::Bytes;

use super::stored::{PLAIN_OCTETS_MAX, STORED_OCTETS_MAX};
use crate::{error::StoreError, ids::StoredId};

const HEADER_MAGIC: [u8; 8] = *b"CERAPACK";
const FOOTER_MAGIC: [u8; 8] = *b"KCAPAREC";
const VERSION: u32 = 1;
/// Octets before the first chunk.
pub const HEADER_OCTETS: u64 = 16;
/// Octets of one entry of the index.
pub const ENTRY_OCTETS: usize = 48;
/// Octets of the footer.
pub const FOOTER_OCTETS: usize = 64;

/// Octets by which the room of a pack grows.
const ROOM_STEP: usize = 1 << 20;

/// Entries of one pack at most; with the largest index (48 MiB) still one ranged read.
pub const ENTRIES_MAX: usize = 1 << 20;

/// Octets of one pack at most (2 GiB), whatever the configuration says, which ends at half of it. A
/// longer object is no pack: nothing of it is read but its end.
pub const PACK_OCTETS_LIMIT: u64 = 2 << 30;

/// Where one chunk lies in a pack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PackEntry {
    /// The chunk.
    pub stored_id: StoredId,
    /// First octet of its stored form, from the start of the pack.
    pub offset: u64,
    /// Octets of its stored form.
    pub stored_octets: u32,
    /// Its plain octets.
    pub plain_octets: u32,
}

/// A pack that is being put together in memory.
#[derive(Debug)]
pub struct PackBuilder {
    octets: Vec<u8>,
    entries: Vec<PackEntry>,
}

impl Default for PackBuilder {
    fn default() -> Self {
        Self { octets: header().to_vec(), entries: Vec::new() }
    }
}

impl PackBuilder {
    /// A pack with room for so many octets.
    #[must_use]
    pub fn with_room(octets: usize) -> Self {
        let mut builder = Self::default();
        builder.octets.reserve_exact(octets);
        builder
    }

    /// Octets so far, index and footer included.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets.len() + self.entries.len() * ENTRY_OCTETS + FOOTER_OCTETS
    }

    /// Chunks so far.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.entries.len()
    }

    /// Adds a stored form and says where it lies. The caller adds no chunk twice.
    pub fn add(&mut self, stored_id: StoredId, stored: &[u8], plain_octets: u32) -> PackEntry {
        let offset = self.octets.len() as u64;
        // A stored form is at most a chunk (4 MiB) and the overhead of zstd.
        let stored_octets = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        // Room by steps: doubling would take up to twice what a pack of some mebibytes needs.
        if self.octets.capacity() - self.octets.len() < stored.len()
            && self.octets.len() > ROOM_STEP
        {
            self.octets.reserve_exact(stored.len().max(ROOM_STEP));
        }
        self.octets.extend_from_slice(stored);
        let entry = PackEntry { stored_id, offset, stored_octets, plain_octets };
        self.entries.push(entry);
        entry
    }

    /// Closes the pack: its octets, and its entries ascending by StoredId.
    #[must_use]
    pub fn finish(mut self) -> (Bytes, Vec<PackEntry>) {
        self.entries.sort_by_key(|entry| entry.stored_id);
        let index_offset = self.octets.len() as u64;
        for entry in &self.entries {
            self.octets.extend_from_slice(&entry.stored_id.0);
            self.octets.extend_from_slice(&entry.offset.to_be_bytes());
            self.octets.extend_from_slice(&entry.stored_octets.to_be_bytes());
            self.octets.extend_from_slice(&entry.plain_octets.to_be_bytes());
        }
        let entries = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let whole = (self.octets.len() + FOOTER_OCTETS) as u64;
        let mut fields = Vec::with_capacity(FOOTER_OCTETS);
        fields.extend_from_slice(&index_offset.to_be_bytes());
        fields.extend_from_slice(&entries.to_be_bytes());
        fields.extend_from_slice(&VERSION.to_be_bytes());
        fields.extend_from_slice(&whole.to_be_bytes());
        let index_start = usize::try_from(index_offset).unwrap_or(usize::MAX);
        let digest = digest(&self.octets[index_start..], &fields);
        self.octets.extend_from_slice(&fields);
        self.octets.extend_from_slice(&digest);
        self.octets.extend_from_slice(&FOOTER_MAGIC);
        (self.octets.into(), self.entries)
    }
}

/// Any octets as chunks and index of a pack whose footer is right, as a fuzzer needs them.
#[cfg(any(test, fuzzing))]
pub(crate) fn sealed(chunks: &[u8], index: &[u8]) -> Vec<u8> {
    let end = sealed_end(HEADER_OCTETS + chunks.len() as u64, index);
    [header().as_slice(), chunks, &end].concat()
}

/// Index and footer of such a pack, whose index begins at `index_offset`.
#[cfg(any(test, fuzzing))]
pub(crate) fn sealed_end(index_offset: u64, index: &[u8]) -> Vec<u8> {
    let mut fields = index_offset.to_be_bytes().to_vec();
    let entries = u32::try_from(index.len() / ENTRY_OCTETS).unwrap_or(u32::MAX);
    let whole = index_offset + (index.len() + FOOTER_OCTETS) as u64;
    fields.extend_from_slice(&entries.to_be_bytes());
    fields.extend_from_slice(&VERSION.to_be_bytes());
    fields.extend_from_slice(&whole.to_be_bytes());
    let digest = digest(index, &fields);
    [index, fields.as_slice(), digest.as_slice(), FOOTER_MAGIC.as_slice()].concat()
}

pub(crate) fn header() -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&HEADER_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_be_bytes());
    header
}

fn digest(index: &[u8], footer_fields: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header()).update(index).update(footer_fields);
    *hasher.finalize().as_bytes()
}

fn number_u32(octets: &[u8]) -> u32 {
    octets.iter().take(4).fold(0, |number, &octet| number << 8 | u32::from(octet))
}

fn number_u64(octets: &[u8]) -> u64 {
    octets.iter().take(8).fold(0, |number, &octet| number << 8 | u64::from(octet))
}

/// The end of a pack: where its index is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Footer {
    /// First octet of the index, from the start of the pack. The index ends at the footer.
    pub index_offset: u64,
    /// Octets of the whole pack.
    pub pack_octets: u64,
    octets: [u8; FOOTER_OCTETS],
}

/// Reads the last [`FOOTER_OCTETS`] octets of a pack that is `pack_octets` long. `object` names
/// the pack in errors.
pub fn read_footer(octets: &[u8], pack_octets: u64, object: &str) -> Result<Footer, StoreError> {
    let damaged =
        |detail: &str| StoreError::Damaged { object: object.into(), detail: detail.into() };
    let octets: [u8; FOOTER_OCTETS] =
        octets.try_into().map_err(|_| damaged("the pack is shorter than a footer"))?;
    if octets[56..] != FOOTER_MAGIC {
        return Err(damaged("the pack does not end as a pack does"));
    }
    let version = number_u32(&octets[12..16]);
    if version > VERSION {
        return Err(StoreError::TooNew { object: object.into(), found: version, known: VERSION });
    }
    let index_offset = number_u64(&octets[..8]);
    let entries = number_u32(&octets[8..12]) as usize;
    let index_octets = (entries as u64) * ENTRY_OCTETS as u64;
    if pack_octets > PACK_OCTETS_LIMIT {
        return Err(damaged("the object is larger than a pack can be"));
    }
    let index_end = index_offset.checked_add(index_octets);
    let end = index_end.and_then(|end| end.checked_add(FOOTER_OCTETS as u64));
    if version != VERSION
        || entries > ENTRIES_MAX
        || index_offset < HEADER_OCTETS
        || end != Some(pack_octets)
        || number_u64(&octets[16..24]) != pack_octets
    {
        return Err(damaged("the footer contradicts itself or the length of the pack"));
    }
    Ok(Footer { index_offset, pack_octets, octets })
}

/// Reads the index of a pack, verified against the footer.
pub fn read_index(
    index: &[u8],
    footer: &Footer,
    object: &str,
) -> Result<Vec<PackEntry>, StoreError> {
    let damaged = |detail: String| StoreError::Damaged { object: object.into(), detail };
    if digest(index, &footer.octets[..24]) != footer.octets[24..56] {
        return Err(damaged("the index does not have the digest of the footer".into()));
    }
    let mut entries = Vec::with_capacity(index.len() / ENTRY_OCTETS);
    let mut before: Option<StoredId> = None;
    for octets in index.chunks_exact(ENTRY_OCTETS) {
        let mut stored_id = [0; 32];
        stored_id.copy_from_slice(&octets[..32]);
        let entry = PackEntry {
            stored_id: StoredId(stored_id),
            offset: number_u64(&octets[32..40]),
            stored_octets: number_u32(&octets[40..44]),
            plain_octets: number_u32(&octets[44..48]),
        };
        let end = entry.offset.checked_add(u64::from(entry.stored_octets));
        let inside =
            entry.offset >= HEADER_OCTETS && end.is_some_and(|end| end <= footer.index_offset);
        let bounded =
            entry.plain_octets <= PLAIN_OCTETS_MAX && entry.stored_octets <= STORED_OCTETS_MAX;
        if !inside || !bounded || before >= Some(entry.stored_id) {
            return Err(damaged(format!("the index entry of chunk {} is wrong", entry.stored_id)));
        }
        before = Some(entry.stored_id);
        entries.push(entry);
    }
    Ok(entries)
}

/// Verifies the header, and that the chunks named by `entries` fill the pack without gaps.
pub fn verify_layout(
    pack_header: &[u8],
    footer: &Footer,
    entries: &[PackEntry],
    object: &str,
) -> Result<(), StoreError> {
    let damaged =
        |detail: &str| StoreError::Damaged { object: object.into(), detail: detail.into() };
    if pack_header != header() {
        return Err(damaged("the pack does not begin as a pack does"));
    }
    let mut by_offset: Vec<(u64, u32)> =
        entries.iter().map(|entry| (entry.offset, entry.stored_octets)).collect();
    by_offset.sort_unstable();
    let mut next = HEADER_OCTETS;
    for (offset, octets) in by_offset {
        if offset != next {
            return Err(damaged("the chunks do not lie one after the other"));
        }
        next += u64::from(octets);
    }
    if next != footer.index_offset {
        return Err(damaged("octets between the last chunk and the index belong to nothing"));
    }
    Ok(())
}

/// Reads and verifies everything of a pack held in memory except the digests of its chunks.
pub fn read(pack: &[u8], object: &str) -> Result<Vec<PackEntry>, StoreError> {
    let footer_start =
        pack.len().checked_sub(FOOTER_OCTETS).ok_or_else(|| StoreError::Damaged {
            object: object.into(),
            detail: "the pack is shorter than a footer".into(),
        })?;
    let footer = read_footer(&pack[footer_start..], pack.len() as u64, object)?;
    let index_start = usize::try_from(footer.index_offset).unwrap_or(usize::MAX);
    let entries = read_index(&pack[index_start..footer_start], &footer, object)?;
    verify_layout(&pack[..16], &footer, &entries, object)?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::stored;

    fn sample() -> (Bytes, Vec<PackEntry>, stored::StoreSecret) {
        let secret = stored::StoreSecret::new([9; 32]);
        let mut builder = PackBuilder::default();
        for plain in [b"first chunk".as_slice(), b"second", b"third, a little longer"] {
            let stored_id = secret.stored_id(stored::chunk_id(plain));
            let stored = stored::encode(plain, 3).unwrap();
            builder.add(stored_id, &stored, u32::try_from(plain.len()).unwrap());
        }
        let expected_octets = builder.octets();
        let (octets, entries) = builder.finish();
        assert_eq!(octets.len(), expected_octets);
        (octets, entries, secret)
    }

    fn verify(pack: &[u8], secret: &stored::StoreSecret) -> Result<(), StoreError> {
        for entry in read(pack, "pack")? {
            let start = usize::try_from(entry.offset).unwrap();
            let stored = &pack[start..start + entry.stored_octets as usize];
            stored::verify(stored, entry.plain_octets, entry.stored_id, secret, &|| "pack".into())?;
        }
        Ok(())
    }

    #[test]
    fn the_index_read_from_a_pack_is_the_one_written() {
        let (octets, entries, secret) = sample();
        assert_eq!(read(&octets, "pack").unwrap(), entries);
        verify(&octets, &secret).unwrap();
    }

    #[test]
    fn every_changed_octet_and_every_cut_of_a_pack_is_found() {
        let (octets, _, secret) = sample();
        for position in 0..octets.len() {
            let mut changed = octets.to_vec();
            changed[position] ^= 1;
            assert!(
                matches!(
                    verify(&changed, &secret),
                    Err(StoreError::Damaged { .. } | StoreError::TooNew { .. })
                ),
                "octet {position}"
            );
        }
        for cut in 0..octets.len() {
            assert!(verify(&octets[..cut], &secret).is_err());
        }
    }

    #[test]
    fn a_pack_of_a_newer_version_is_refused_by_version() {
        let (octets, ..) = sample();
        let mut newer = octets.to_vec();
        let version = newer.len() - FOOTER_OCTETS + 15;
        newer[version] = 2;
        assert!(matches!(read(&newer, "pack"), Err(StoreError::TooNew { found: 2, .. })));
    }

    #[test]
    fn an_empty_pack_is_a_pack() {
        let (octets, entries) = PackBuilder::default().finish();
        assert!(entries.is_empty());
        assert_eq!(read(&octets, "pack").unwrap(), Vec::new());
    }
}
