//! Restores from snapshots go on here, also those that an earlier run of the program left.
//!
//! One step at a time, each job in turn, so that a large restore does not hold up a small one. Between two
//! looks at the jobs is a rest; while a job goes on there is none.

use std::{sync::Arc, time::Duration};

use snapshots::{
    error::SnapshotError,
    keep::{SnapshotLimits, Snapshots},
    restore::{
        RestoreLimits, Restores,
        job::{RestoreJob, RestoreState},
    },
};
use storage::store::Store;
use tokio_util::sync::CancellationToken;
use trust::random::SystemRandom;

use crate::metrics_names;

/// Between two looks at the jobs.
const PAUSE: Duration = Duration::from_secs(1);

/// After a step that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Steps of one job before the next one has its turn.
const STEPS_IN_TURN: usize = 20;

/// Does the steps of every job until `stopping`.
pub(super) async fn restore(store: Arc<Store>, stopping: CancellationToken) {
    let snapshots = Snapshots::new(store, Arc::new(SystemRandom), SnapshotLimits::default());
    let restores = Restores::new(snapshots, RestoreLimits::default());
    loop {
        let pause = match round(&restores, &stopping).await {
            Ok(()) => PAUSE,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "restores from snapshots are put off");
                PAUSE_AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn round(restores: &Restores, stopping: &CancellationToken) -> Result<(), SnapshotError> {
    loop {
        let running = restores.running().await?;
        if running.is_empty() {
            return Ok(());
        }
        for mut job in running {
            for _ in 0..STEPS_IN_TURN {
                if stopping.is_cancelled() {
                    return Ok(());
                }
                let Some(next) = restores.step(job.account, job.number).await? else { break };
                count(&job, &next);
                job = next;
                if job.state != RestoreState::Running {
                    ended(&job);
                    break;
                }
            }
        }
    }
}

fn count(before: &RestoreJob, after: &RestoreJob) {
    for (outcome, was, is) in [
        ("restored", before.restored, after.restored),
        ("present", before.present, after.present),
        ("erased", before.erased, after.erased),
    ] {
        metrics::counter!(metrics_names::SNAPSHOT_RESTORED, "outcome" => outcome)
            .increment(is.saturating_sub(was));
    }
}

fn ended(job: &RestoreJob) {
    let outcome = match job.state {
        RestoreState::Stopped => "stopped",
        RestoreState::Done => "done",
        RestoreState::Cancelled | RestoreState::Running => return,
    };
    metrics::counter!(metrics_names::SNAPSHOT_RESTORES, "outcome" => outcome).increment(1);
    let RestoreJob { account, number, restored, present, erased, trouble, .. } = job;
    tracing::info!(
        %account, number, restored, present, erased, ?trouble, outcome,
        "a restore from a snapshot ended"
    );
}
