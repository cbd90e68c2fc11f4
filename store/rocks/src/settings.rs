//! How RocksDB is set up, with every figure named.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Env, Options,
};

/// Blocks, indexes and filters kept in memory, for all tables together.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Rows not yet in table files, for all tables together.
const WRITE_BUFFERS_BYTES: usize = 24 << 20;
/// Rows not yet in table files, for one table.
pub(crate) const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Log bytes after which the oldest tables are flushed: bounds the time to open after a crash.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Table files held open.
const OPEN_FILES_MAX: i32 = 256;
/// Bytes set aside at once for the list of table files; RocksDB's own 4 MiB are much of a small disk.
const MANIFEST_AHEAD_BYTES: usize = 64 << 10;
const BACKGROUND_JOBS: i32 = 2;
const FILTER_BITS_A_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 8 << 10;
/// A part of an index or filter, which is read alone: a whole filter of a large table would be read, and
/// decrypted, for each row that is sought once filters no longer fit the cache.
const INDEX_PART_BYTES: usize = 4 << 10;

/// Settings of one opening: the whole database's and each table's.
pub(crate) struct Settings {
    pub(crate) database: Options,
    pub(crate) table: Options,
}

impl Settings {
    pub(crate) fn new(env: &Env, write_buffer_bytes: usize) -> Self {
        let mut database = Options::default();
        database.set_env(env);
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_paranoid_checks(true);
        database.set_atomic_flush(true);
        database.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
        database.set_max_total_wal_size(WAL_BYTES_MAX);
        database.set_max_open_files(OPEN_FILES_MAX);
        database.set_max_background_jobs(BACKGROUND_JOBS);
        // A tail that a power loss filled with zeros decrypts to noise, which the other modes
        // refuse; what
        // this mode would lose without a word is looked for before (see `wal`).
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // A recycled log would need its keystream twice.
        database.set_recycle_log_file_num(0);
        database.set_manifest_preallocation_size(MANIFEST_AHEAD_BYTES);
        database.set_stats_dump_period_sec(0);
        database.set_stats_persist_period_sec(0);
        database.set_keep_log_file_num(1);
        Self { database, table: table_options(write_buffer_bytes) }
    }
}

fn table_options(write_buffer_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_bloom_filter(FILTER_BITS_A_KEY, false);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(INDEX_PART_BYTES);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_format_version(5);

    let mut table = Options::default();
    table.set_block_based_table_factory(&blocks);
    table.set_write_buffer_size(write_buffer_bytes);
    table.set_max_write_buffer_number(2);
    // Values are ciphertext, which no codec makes smaller.
    table.set_compression_type(DBCompressionType::None);
    table.set_paranoid_checks(true);
    table
}
