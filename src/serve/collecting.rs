//! What gives space back beside the sessions: the collector, disposal, and the archive.
//!
//! Each loop ends when `stopping` is cancelled, in the middle of a round too: every step of both is
//! one batch, and the collector goes on where it was. A round that fails is logged and tried again.

use std::{sync::Arc, time::Duration};

use storage::{collector::CollectReport, error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;
use trust::clock::SystemClock;

use crate::{
    archive::schedule::Schedule,
    config::Config,
    control::operations::collect,
    metrics_names,
    pec::{
        disposal::{self, DisposalReport},
        engine::PecEngine,
        quarantine, transmissions,
    },
};

/// Waits for `pause` or the stop; says whether to go on.
async fn rest(pause: Duration, stopping: &CancellationToken) -> bool {
    stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
}

/// Runs the collector, then rests.
pub async fn collect(store: Arc<Store>, config: Arc<Config>, stopping: CancellationToken) {
    let options = collect::options(&config.collector);
    while rest(config.collector.interval.duration(), &stopping).await {
        let run = store.collect(&options, &|_| {});
        match stopping.run_until_cancelled(run).await {
            None => return,
            Some(Ok(report)) => note(&report),
            Some(Err(error)) => {
                metrics::counter!(metrics_names::COLLECTOR_RUNS, "outcome" => "failed")
                    .increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the collector is put off"
                );
            }
        }
    }
}

/// Moves old messages into the archive, unless the configuration says that none shall.
pub async fn archive(store: Arc<Store>, config: Arc<Config>, stopping: CancellationToken) {
    if config.archive.enabled {
        Schedule { store, config, clock: Arc::new(SystemClock) }.keep(stopping).await;
    }
}

/// Counts what a run did, and says what it found damaged.
fn note(report: &CollectReport) {
    metrics::counter!(metrics_names::COLLECTOR_RUNS, "outcome" => "finished").increment(1);
    metrics::counter!(metrics_names::COLLECTOR_CHUNKS_SWEPT).increment(report.chunks_swept);
    metrics::counter!(metrics_names::COLLECTOR_PACKS_DELETED).increment(report.packs_deleted);
    metrics::counter!(metrics_names::COLLECTOR_OCTETS_DELETED).increment(report.deleted_octets);
    metrics::counter!(metrics_names::COLLECTOR_OCTETS_WRITTEN).increment(report.written_octets);
    if report.damages > 0 {
        tracing::error!(
            damages = report.damages,
            first = report.damaged.first(),
            "the collector met damaged chunks or packs and left them: run `ceralacca store check`"
        );
    }
    tracing::info!(
        swept = report.chunks_swept,
        deleted_octets = report.deleted_octets,
        octets = report.octets_after,
        "the collector has run"
    );
}

/// Lets go of what finished transmissions hold, and of old entries of expunge logs and of the repair
/// log.
pub async fn dispose(engine: Arc<PecEngine>, config: Arc<Config>, stopping: CancellationToken) {
    let retention = i64::try_from(config.collector.disposal_retention.0).unwrap_or(i64::MAX);
    while rest(config.collector.disposal_interval.duration(), &stopping).await {
        match stopping
            .run_until_cancelled(round(&engine, retention, config.journal.kept_months))
            .await
        {
            None => return,
            Some(Ok(report)) => {
                metrics::counter!(metrics_names::HELD_RELEASED).increment(report.released);
                tracing::info!(?report, "finished transmissions let go of their messages");
            }
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "disposal is put off");
            }
        }
    }
}

async fn round(
    engine: &PecEngine,
    retention_millis: i64,
    kept_months: u32,
) -> Result<DisposalReport, StoreError> {
    let now = engine.now();
    let report = disposal::dispose(engine.store(), now, retention_millis).await?;
    let before = now.plus_millis(retention_millis.saturating_neg());
    disposal::trim_expunge_logs(engine.store(), before).await?;
    let records = transmissions::dispose(&**engine.store().engine(), now, kept_months).await?;
    if records > 0 {
        tracing::info!(records, "records of old transmissions were removed");
    }
    let disposed = quarantine::dispose(engine.store(), now, engine.settings().node).await?;
    if disposed > 0 {
        metrics::counter!(metrics_names::QUARANTINE_DISPOSED).increment(disposed);
        tracing::info!(disposed, "messages in quarantine came to the end of their time");
    }
    let entries = engine.store().trim_repair_log().await?;
    if entries > 0 {
        tracing::info!(entries, "old entries of the repair log were removed");
    }
    Ok(report)
}
