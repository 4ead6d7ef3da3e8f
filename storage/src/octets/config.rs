//! Every bound of the octet store, with its default.

use crate::pack::disk_cache::DiskCacheConfig;
use crate::pack::format::PACK_OCTETS_LIMIT;

/// The bounds of one [`OctetStore`](super::OctetStore). None of them is part of a format: a store
/// may be reopened with others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OctetStoreConfig {
    /// Plain octets kept in memory for reading. 64 MiB.
    pub cache_octets_max: usize,
    /// Stored forms kept on a local disk, where packs are far away. None.
    pub disk_cache: Option<DiskCacheConfig>,
    /// Plain octets that are fetched together when what is asked for of a message lies in several
    /// chunks; never more than half of `cache_octets_max`. 0 fetches each chunk when it is needed.
    /// 4 MiB.
    pub read_ahead_octets_max: usize,
    /// Octets of one pack that the packer writes; it holds one pack in memory. 64 MiB, at
    /// most half of [`PACK_OCTETS_LIMIT`].
    pub pack_octets_max: usize,
    /// The packer waits for this many staged octets. 4 MiB.
    pub pack_octets_min: usize,
    /// After this many calls in a row that found less than `pack_octets_min`, the packer packs
    /// what there is. With one call a minute: the age in minutes. 10.
    pub pack_patience_calls: u32,
    /// Chunks up to this many plain octets are staged in the catalog, larger ones go straight to
    /// a pack. 256 KiB.
    pub small_chunk_octets_max: usize,
    /// Stored octets that one message stages at most; its further chunks go straight to packs,
    /// however small. 1 MiB.
    pub staged_octets_max: usize,
    /// Octets of the packs that a writer makes while it reads: it holds one in memory, and one
    /// chunk beside it. 4 MiB.
    pub writer_pack_octets_max: usize,
    /// Level of zstd at which messages are taken in. 1.
    pub compression_level: i32,
    /// Level of zstd at which the packer, and the collector when it merges small packs, compress
    /// again; a chunk that does not shrink by it keeps its stored form. At or below
    /// `compression_level` nothing is compressed again. 6.
    pub pack_compression_level: i32,
    /// The same for packs that the collector rewrites because little in them is live. 12.
    pub cold_compression_level: i32,
    /// Octets of headers that are kept for parsing, per message; what stands behind is stored but
    /// not looked at. 1 MiB.
    pub header_octets_max: usize,
    /// Parts of parts that are looked into; deeper ones count as one body. 32.
    pub depth_max: usize,
    /// Parts of one message that are told apart; what follows belongs to the last. 10,000.
    pub parts_max: usize,
}

impl OctetStoreConfig {
    /// The same within what a pack may have: it ends one chunk and its index behind its bound, and none
    /// may be over [`PACK_OCTETS_LIMIT`]. The packer never waits for more than a pack takes.
    #[must_use]
    pub fn within_limits(mut self) -> Self {
        let limit = usize::try_from(PACK_OCTETS_LIMIT / 2).unwrap_or(usize::MAX);
        self.pack_octets_max = self.pack_octets_max.min(limit);
        self.writer_pack_octets_max = self.writer_pack_octets_max.min(limit);
        self.pack_octets_min = self.pack_octets_min.min(self.pack_octets_max);
        self
    }
}

impl Default for OctetStoreConfig {
    fn default() -> Self {
        Self {
            cache_octets_max: 64 << 20,
            disk_cache: None,
            read_ahead_octets_max: 4 << 20,
            pack_octets_max: 64 << 20,
            pack_octets_min: 4 << 20,
            pack_patience_calls: 10,
            small_chunk_octets_max: 256 << 10,
            staged_octets_max: 1 << 20,
            writer_pack_octets_max: 4 << 20,
            compression_level: 1,
            pack_compression_level: 6,
            cold_compression_level: 12,
            header_octets_max: 1 << 20,
            depth_max: 32,
            parts_max: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pack_is_allowed_to_grow_over_what_a_reader_believes() {
        let greedy = OctetStoreConfig {
            pack_octets_max: usize::MAX,
            writer_pack_octets_max: usize::MAX,
            pack_octets_min: usize::MAX,
            ..OctetStoreConfig::default()
        };
        let bounded = greedy.within_limits();
        assert_eq!(bounded.pack_octets_max, 1 << 30);
        assert_eq!((bounded.writer_pack_octets_max, bounded.pack_octets_min), (1 << 30, 1 << 30));
        let usual = OctetStoreConfig::default();
        let (max, min) = (usual.pack_octets_max, usual.pack_octets_min);
        let same = usual.within_limits();
        assert_eq!((same.pack_octets_max, same.pack_octets_min), (max, min));
    }
}
