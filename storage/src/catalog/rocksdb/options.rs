//! Bounds of the engine, and how RocksDB is set up with them.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options};

/// Every bound of the engine, with its default. None of them is part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RocksConfig {
    /// Octets of blocks, indexes and filters kept in memory. 128 MiB.
    pub cache_octets_max: usize,
    /// Octets of changes kept in memory before they are written to tables. 64 MiB.
    pub write_buffer_octets_max: usize,
    /// Octets of write-ahead log before the oldest changes are written to tables. 256 MiB.
    pub log_octets_max: u64,
    /// Table files held open. 1,024.
    pub open_files_max: u16,
    /// Threads that write and merge tables. 2.
    pub background_jobs_max: u16,
    /// Batches that wait for the leader; more callers wait for a place. 1,024.
    pub commits_waiting_max: usize,
    /// Batches committed under one sync. 256.
    pub group_batches_max: usize,
    /// Octets committed under one sync; a larger batch goes alone. 16 MiB.
    pub group_octets_max: usize,
    /// Reads that may touch the disk at the same time. 64.
    pub blocking_reads_max: usize,
}

impl Default for RocksConfig {
    fn default() -> Self {
        Self {
            cache_octets_max: 128 << 20,
            write_buffer_octets_max: 64 << 20,
            log_octets_max: 256 << 20,
            open_files_max: 1_024,
            background_jobs_max: 2,
            commits_waiting_max: 1_024,
            group_batches_max: 256,
            group_octets_max: 16 << 20,
            blocking_reads_max: 64,
        }
    }
}

/// Bits of bloom filter for each key: about one wrong "maybe" in a hundred.
const BLOOM_BITS: f64 = 10.0;

/// RocksDB's own text log: files kept, and octets of each.
const LOG_FILES_MAX: usize = 5;
const LOG_FILE_OCTETS_MAX: usize = 4 << 20;

/// What all families share.
pub(super) struct Shared {
    cache: Cache,
}

impl Shared {
    pub(super) fn new(config: &RocksConfig) -> Self {
        Self { cache: Cache::new_lru_cache(config.cache_octets_max) }
    }

    /// Options of the database.
    pub(super) fn database(&self, config: &RocksConfig) -> Options {
        let mut options = self.family(config);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // A torn end is what a power cut leaves; anything else in the log was synced.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_db_write_buffer_size(config.write_buffer_octets_max);
        options.set_max_total_wal_size(config.log_octets_max);
        options.set_max_open_files(i32::from(config.open_files_max));
        options.set_max_background_jobs(i32::from(config.background_jobs_max.max(1)));
        options.set_keep_log_file_num(LOG_FILES_MAX);
        options.set_max_log_file_size(LOG_FILE_OCTETS_MAX);
        options
    }

    /// Options of a family.
    pub(super) fn family(&self, config: &RocksConfig) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_bloom_filter(BLOOM_BITS, false);
        // Indexes and filters count against the cache, so that memory is bounded by it.
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(config.write_buffer_octets_max);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options
    }
}
