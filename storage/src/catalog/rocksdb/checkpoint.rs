//! A copy of the database at one instant, made of links to its files.
//!
//! The log is synced first, so that every batch that was answered before the call is in the
//! checkpoint. Nothing is flushed: tables are linked, the logs come with them, and whoever opens the
//! checkpoint replays them. So a checkpoint every minute makes no small tables. A batch that is being
//! written meanwhile is whole in the last log or cut off at opening, like after a power cut.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;

use super::{RocksEngine, engine_error};
use crate::{catalog::engine::CheckpointSource, error::StoreError};

/// Octets of log above which a checkpoint would flush: never.
const NEVER_FLUSH: u64 = u64::MAX;

#[async_trait::async_trait]
impl CheckpointSource for RocksEngine {
    async fn checkpoint(&self, folder: &Path) -> Result<(), StoreError> {
        let (db, folder) = (self.db()?, folder.to_owned());
        let writing = tokio::task::spawn_blocking(move || {
            db.flush_wal(true)?;
            Checkpoint::new(&db)?.create_checkpoint_with_log_size(&folder, NEVER_FLUSH)
        });
        match writing.await {
            Ok(written) => written.map_err(|error| engine_error("write a checkpoint", error)),
            Err(error) => Err(engine_error("write a checkpoint", error)),
        }
    }
}
