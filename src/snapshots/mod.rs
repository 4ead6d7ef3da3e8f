//! Snapshots in the program.
//!
//! | room | what |
//! |---|---|
//! | [`service`] | runs on schedule, signed and time-stamped; thinning |
//! | [`proof_file`] | the one file that shows a fact about a mailbox without the store |
//!
//! Not here: what a snapshot, a run and a proof are (the crate `snapshots`), the commands
//! (`control::operations::snapshot`, `cli::snapshot`).

pub mod proof_file;
pub mod service;

use std::sync::Arc;

use ::snapshots::{
    keep::{SnapshotLimits, Snapshots},
    run::Runs,
};
use storage::store::Store;
use trust::random::SystemRandom;

/// The snapshots of a store, once in a process.
#[must_use]
pub fn open(store: &Arc<Store>, limits: SnapshotLimits) -> Arc<Runs> {
    let random = Arc::new(SystemRandom);
    let snapshots = Snapshots::new(Arc::clone(store), random, limits);
    Runs::new(Arc::clone(store), snapshots)
}
