//! Starts runs over all accounts, and restores.
//!
//! Not here: what a run does (`crate::snapshots::service`).

use std::sync::Arc;

use ::snapshots::run::Runs;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trust::{clock::SystemClock, random::SystemRandom};

use super::{
    journal::{Stamping, stamps, trusted_stamps},
    restoring::restore,
};
use crate::{config::Config, pec::engine::PecEngine, snapshots::service::SnapshotService};

/// Starts restores and runs among those `beside`; runs, unless the configuration wants none.
///
/// # Errors
///
/// When the source of time stamps cannot be made.
pub fn start(
    config: &Arc<Config>,
    (engine, runs): (&Arc<PecEngine>, &Arc<Runs>),
    beside: &mut JoinSet<()>,
    stopping: &CancellationToken,
) -> anyhow::Result<()> {
    let restores = Arc::clone(runs.snapshots());
    beside.spawn(restore(restores, Arc::clone(config), stopping.clone()));
    if !config.snapshots.enabled {
        return Ok(());
    }
    let clock = Arc::new(SystemClock);
    let stamps = stamps(config, clock.clone(), Arc::new(SystemRandom))?;
    let service = SnapshotService::new(
        Arc::clone(runs),
        Arc::clone(engine),
        clock,
        (stamps, trusted_stamps(config)?),
        config.snapshots.clone(),
    );
    let journal = &config.journal;
    let longest = journal.timestamp_retry_longest.duration();
    let stamping = Stamping::new(journal.seal_interval.duration(), longest);
    beside.spawn(service.work(stamping, stopping.clone()));
    Ok(())
}
