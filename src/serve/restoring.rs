//! Restores from snapshots go on here, also those that an earlier run of the program left.
//!
//! One step at a time, each job in turn, so that a large restore does not hold up a small one. Between two
//! looks at the jobs is a rest; while a job goes on there is none. A job whose step fails rests on its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use snapshots::{
    error::SnapshotError,
    keep::{SnapshotLimits, Snapshots},
    restore::{
        RestoreLimits, Restores,
        job::{RestoreJob, RestoreState},
    },
};
use storage::{error::StoreError, ids::AccountId, store::Store};
use tokio::time::Instant;
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
    let mut jobs = Jobs {
        restores: Restores::new(snapshots, RestoreLimits::default()),
        stopping,
        put_off: BTreeMap::new(),
        told: BTreeSet::new(),
    };
    loop {
        let pause = match jobs.round().await {
            // While some job goes on there is no rest.
            Ok(true) => Duration::ZERO,
            Ok(false) => PAUSE,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "restores from snapshots are put off");
                PAUSE_AFTER_FAILURE
            }
        };
        tokio::select! {
            biased;
            () = jobs.stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Jobs {
    restores: Arc<Restores>,
    stopping: CancellationToken,
    /// Jobs whose last step failed, and until when they rest. The others go on.
    put_off: BTreeMap<(AccountId, u64), Instant>,
    /// What was said about rows that cannot be read: once is enough.
    told: BTreeSet<String>,
}

impl Jobs {
    /// Gives each job its turn, and says whether one of them got on.
    async fn round(&mut self) -> Result<bool, SnapshotError> {
        let running = self.restores.running().await?;
        self.tell(&running.unreadable);
        let now = Instant::now();
        self.put_off.retain(|_, until| *until > now);
        let mut moved = false;
        for job in running.jobs {
            let of = (job.account, job.number);
            if self.put_off.contains_key(&of) {
                continue;
            }
            if let Err(error) = self.turn(job, &mut moved).await {
                let ((account, number), error) = (of, &error as &dyn std::error::Error);
                tracing::warn!(error, %account, number, "a restore from a snapshot is put off");
                self.put_off.insert(of, Instant::now() + PAUSE_AFTER_FAILURE);
            }
        }
        Ok(moved)
    }

    /// Some steps of one job.
    async fn turn(&self, mut job: RestoreJob, moved: &mut bool) -> Result<(), SnapshotError> {
        for _ in 0..STEPS_IN_TURN {
            if self.stopping.is_cancelled() {
                return Ok(());
            }
            let Some(next) = self.restores.step(job.account, job.number).await? else { break };
            // It waits for something: without a rest it would only ask again.
            if next == job {
                break;
            }
            *moved = true;
            count(&job, &next);
            job = next;
            if job.state != RestoreState::Running {
                ended(&job);
                break;
            }
        }
        Ok(())
    }

    /// Names rows that cannot be read.
    fn tell(&mut self, unreadable: &[StoreError]) {
        let now: BTreeSet<String> = unreadable.iter().map(ToString::to_string).collect();
        for error in now.difference(&self.told) {
            tracing::error!(error, "a restore from a snapshot cannot be read and is passed over");
        }
        self.told = now;
    }
}

fn count(before: &RestoreJob, after: &RestoreJob) {
    for (outcome, was, is) in [
        ("restored", before.restored, after.restored),
        ("present", before.present, after.present),
        ("erased", before.erased, after.erased),
        ("unreadable", before.unreadable, after.unreadable),
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
    let RestoreJob { account, number, restored, present, erased, unreadable, trouble, .. } = job;
    tracing::info!(
        %account, number, restored, present, erased, unreadable, ?trouble, outcome,
        "a restore from a snapshot ended"
    );
}
