//! Back-up: checkpoints of the catalog, with what belongs to them, in an object store elsewhere.
//!
//! * [`repository`]: the objects of a back-up, encrypted, and their names.
//! * [`manifest`]: what one checkpoint consists of.
//! * [`run`]: takes a checkpoint while the store is in use, and ships what is new of it.
//! * [`packs`]: copies of packs, where the back-up must outlive the packs' own store.
//! * [`retention`]: which checkpoints stay, and the removal of what none of them names.
//! * [`fetch`]: reads a checkpoint back, for verification and for a restore.
//! * [`rules`]: what a restored catalog must be changed by before it serves again.
//! * [`mend`]: brings back packs that the store has lost, from their copies.
//! * [`epoch`]: how often this store was restored.
//!
//! Invariants:
//!
//! * A checkpoint exists from the moment its manifest does, which is written last: a torn back-up
//!   is never visible. Nothing that it names is removed while the manifest is there.
//! * Whatever was acknowledged before a checkpoint's instant is in it.
//! * While a checkpoint is being taken, or kept beside the packs it names, the row in
//!   [`BACKUP_CHECKPOINTS`] keeps the collector from deleting these packs. The row is durable before
//!   the checkpoint's state is fixed; its key is an instant before which every pack was doomed
//!   that the checkpoint does not name.
//! * Before anything is shipped or removed, the node confirms that the back-up is still its own
//!   (`crate::claim`).
//! * A sound copy of a pack is never replaced; a pack that the store lost stays in the manifest.
//! * Nothing of the catalog leaves the node unencrypted. Packs do: they are what the object store
//!   holds anyway.
//!
//! Not here: the registry's copy, keys of the provider, configuration, the loop (`src/backup`).

pub mod epoch;
pub mod fetch;
pub mod manifest;
pub mod mend;
pub mod packs;
pub mod repository;
pub mod retention;
pub mod rules;
pub mod run;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use trust::seal::SealError;

use crate::error::StoreError;
pub use crate::pack::index::BACKUP_CHECKPOINTS;

/// Why a step of back-up or restore did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store failed.
    #[error("the store refused a step of the back-up")]
    Store(#[from] StoreError),
    /// The object store of the back-up failed. Temporary: tried again with the next increment.
    #[error("the back-up's object store cannot {operation} {object}: check that it is reachable")]
    Objects {
        /// `put`, `get`, `list`, `delete`.
        operation: &'static str,
        /// The object's path.
        object: String,
        /// The cause.
        #[source]
        source: object_store::Error,
    },
    /// A file of this node cannot be read or written.
    #[error("cannot {operation} {}: check disk space and permissions", path.display())]
    File {
        /// `read`, `write`, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// An object of the back-up is not what was written, or is gone.
    #[error(
        "{object} of the back-up is unusable ({detail}): `ceralacca backup verify` says which checkpoints are whole; \
         take one of those, and have everything shipped anew with `ceralacca backup now --full`"
    )]
    Damaged {
        /// The object.
        object: String,
        /// What was seen.
        detail: String,
    },
    /// The back-up was written by a newer program.
    #[error("{object} has format {found}, this program reads up to {known}: use the newer program")]
    TooNew {
        /// The object.
        object: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The engine of the catalog cannot write checkpoints.
    #[error("the engine of this catalog writes no checkpoints")]
    NoCheckpoints,
    /// Encryption failed, or an object is encrypted under another key.
    #[error("the back-up cannot be sealed or opened")]
    Seal(#[from] SealError),
    /// A file of a floor above could not be prepared.
    #[error("what goes with the catalog cannot be prepared")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) fn file_error<'p>(
    operation: &'static str,
    path: &'p Path,
) -> impl Fn(std::io::Error) -> BackupError + 'p {
    move |source| BackupError::File { operation, path: path.to_owned(), source }
}

/// Runs blocking work on files elsewhere.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    // The task only fails when the runtime is being shut down.
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or(Err(BackupError::Store(StoreError::Closed)))
}
