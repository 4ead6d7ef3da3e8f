//! What goes on beside the sessions: the packer, the scrubber, the builder of blocks, the provider's domains, the
//! directory.
//!
//! Each loop ends when `stopping` is cancelled, between two rounds. A round that fails is logged
//! and tried again: none of them is needed for a message to be taken or delivered.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::FutureExt as _;
use storage::{error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock as _, SystemClock};

use super::{credentials::Credentials, trusted};
use crate::{
    config::Config, directory::keeper::DirectoryKeeper, metrics_names, pec::engine::PecEngine,
    registry::Registry,
};

/// Waits for `pause` or the stop; says whether to go on.
async fn rest(pause: Duration, stopping: &CancellationToken) -> bool {
    tokio::select! {
        () = stopping.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

/// Moves staged chunks into packs: pack after pack while there is enough for one, then a rest.
pub async fn pack(store: Arc<Store>, interval: Duration, stopping: CancellationToken) {
    while rest(interval, &stopping).await {
        loop {
            match store.octets().pack_once().await {
                Ok(report) if report.did_something() && !stopping.is_cancelled() => {}
                Ok(_) | Err(StoreError::Conflict) => break,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the packer is put off"
                    );
                    break;
                }
            }
        }
    }
}

/// Builds blocks: reads at most `rows_per_second_max` rows in a second.
pub async fn build_blocks(
    store: Arc<Store>,
    interval: Duration,
    rows_per_second_max: u32,
    stopping: CancellationToken,
) {
    while rest(interval, &stopping).await {
        let pace = |rows: u64| {
            let rows = u32::try_from(rows).unwrap_or(u32::MAX);
            let (pause, stopping) =
                (Duration::from_secs(1) * rows / rows_per_second_max.max(1), stopping.clone());
            async move { rest(pause, &stopping).await }.boxed()
        };
        match store.build_blocks(&pace).await {
            Ok(report) if report.blocks + report.header_blocks > 0 => {
                tracing::debug!(?report, "blocks were built");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "building blocks is put off"
                );
            }
        }
    }
}

/// Pause between two looks at a store without packs, and the longest between two packs.
const SCRUB_PAUSE_MAX: Duration = Duration::from_hours(1);

/// Reads every pack within `period`, one after the other, and begins again.
pub async fn scrub(store: Arc<Store>, period: Duration, stopping: CancellationToken) {
    let mut pause = Duration::from_mins(1).min(period);
    while rest(pause, &stopping).await {
        pause = match scrub_one(&store, period).await {
            Ok(pause) => pause.min(SCRUB_PAUSE_MAX),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "scrubbing is put off");
                SCRUB_PAUSE_MAX
            }
        };
    }
}

/// Reads the next pack; says how long to rest, so that all packs take `period`.
async fn scrub_one(store: &Store, period: Duration) -> Result<Duration, StoreError> {
    let step = store.octets().scrub_step(SystemClock.now().0).await?;
    metrics::counter!(metrics_names::SCRUBBED_OCTETS).increment(step.octets);
    metrics::counter!(metrics_names::SCRUB_DAMAGES).increment(step.damages.len() as u64);
    for (object, detail) in &step.damages {
        tracing::error!(
            object,
            detail,
            "damaged: run `ceralacca store scrub` for what it concerns"
        );
    }
    if step.ended {
        return Ok(SCRUB_PAUSE_MAX);
    }
    let total = store.octets().pack_octets().await?.max(1);
    let millis = period.as_millis().saturating_mul(u128::from(step.octets)) / u128::from(total);
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// Tells the engine which domains are ours.
pub async fn follow_domains(
    registry: Arc<Registry>,
    config: Arc<Config>,
    keeper: Arc<DirectoryKeeper>,
    engine: Arc<PecEngine>,
    stopping: CancellationToken,
) {
    let interval = config.registry.outbox_interval.duration();
    while rest(interval, &stopping).await {
        match own_domains(&registry).await {
            Ok(domains) if engine.domains() == domains => {}
            Ok(domains) => {
                // Recipients of a new domain are certified from now on, in both or in none: otherwise
                // it is tried again at the next look.
                if let Err(error) = keeper.set_domains(domains).await {
                    tracing::error!(error = %format_args!("{error:#}"), "the directory was not renewed: new domains wait");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the domains could not be read: the last ones stay in use");
            }
        }
    }
}

/// The domains whose mailboxes are here, in lower case.
///
/// # Errors
///
/// When the registry cannot be read.
pub async fn own_domains(registry: &Registry) -> anyhow::Result<BTreeSet<String>> {
    Ok(registry.domains().await?.into_iter().map(|domain| domain.name.clone()).collect())
}

/// Reads revocation lists and the files of the directory anew; on failure the last good ones stay in
/// use.
pub async fn refresh_files(
    config: Arc<Config>,
    credentials: Arc<Credentials>,
    keeper: Arc<DirectoryKeeper>,
    engine: Arc<PecEngine>,
    stopping: CancellationToken,
) {
    while rest(config.directory.refresh.duration(), &stopping).await {
        if let Err(error) = keeper.refresh().await {
            tracing::error!(error = %format_args!("{error:#}"), "the directory was not renewed");
        }
        // The development authority's list ages like any other.
        if let Some(authority) = &credentials.authority
            && let Err(error) = authority.renew_revocation_list()
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the development authority's list was not renewed"
            );
        }
        match trusted::revocation_lists(&config.trust, &credentials) {
            Ok(lists) => engine.verifier().replace_revocation_lists(lists),
            Err(error) => {
                tracing::error!(error = %format_args!("{error:#}"), "revocation lists were not renewed");
            }
        }
    }
}
