//! Restores from snapshots go on here, also those that an earlier run of the program left.
//!
//! One step at a time, each job in turn, so that a large restore does not hold up a small one. After each
//! step and after each look at the jobs is a rest, as long as the pace wants it ([`Pace`]): deliveries come
//! first. A job whose step fails rests on its own. Between two looks at the jobs while none goes on is a
//! pause, of a second or of twenty times what the look took.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use snapshots::{
    error::SnapshotError,
    keep::Snapshots,
    restore::{
        RestoreLimits, Restores, RunningJobs,
        job::{RestoreJob, RestoreState},
    },
};
use storage::{error::StoreError, ids::AccountId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock as _, SystemClock};

use crate::{
    config::{Config, RestoreSettings},
    metrics_names as names,
};

/// Between two looks at the jobs, at least.
const PAUSE: Duration = Duration::from_secs(1);

/// How many times as long as a look the pause behind it is, at least.
const LOOK_SHARE: u32 = 20;

/// After a step that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Steps of one job before the next one has its turn.
const STEPS_IN_TURN: usize = 20;

/// Does the steps of every job until `stopping`.
pub(super) async fn restore(
    snapshots: Arc<Snapshots>,
    config: Arc<Config>,
    stopping: CancellationToken,
) {
    let settings = &config.snapshots;
    let pace = Pace::of(&settings.restore);
    let mut jobs = Jobs {
        restores: Restores::new(snapshots, pace.step(settings.restore.limits)),
        pace,
        stopping,
        put_off: BTreeMap::new(),
        told: BTreeSet::new(),
    };
    loop {
        let pause = match jobs.round().await {
            Ok(pause) => pause,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "restores from snapshots are put off");
                PAUSE_AFTER_FAILURE
            }
        };
        if !jobs.rest(pause).await {
            return;
        }
    }
}

/// How fast all restores together may go.
#[derive(Clone, Copy, Debug)]
struct Pace {
    messages_per_second_max: u32,
    busy_percent_max: u32,
}

impl Pace {
    fn of(settings: &RestoreSettings) -> Self {
        let RestoreSettings { messages_per_second_max, busy_percent_max, .. } = *settings;
        Self { messages_per_second_max, busy_percent_max }
    }

    /// A step has no more messages than a second may have, so that no rest gets long.
    fn step(self, limits: RestoreLimits) -> RestoreLimits {
        let second = usize::try_from(self.messages_per_second_max).unwrap_or(usize::MAX);
        RestoreLimits { rows_per_step_max: limits.rows_per_step_max.min(second), ..limits }
    }

    /// The rest after a step that took so long and looked at so many messages.
    fn rest(self, messages: u64, took: Duration) -> Duration {
        let busy = self.busy_percent_max.clamp(1, 100);
        let share = took * (100 - busy) / busy;
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let whole = Duration::from_secs(1) * messages / self.messages_per_second_max.max(1);
        share.max(whole.saturating_sub(took))
    }

    /// The pause after a look at the jobs that took so long, when one of them got on, or none. The steps
    /// have had their rests.
    fn pause(self, look: Duration, moved: bool) -> Duration {
        let rest = self.rest(0, look);
        if moved { rest } else { rest.max(PAUSE).max(look * LOOK_SHARE) }
    }
}

struct Jobs {
    restores: Arc<Restores>,
    pace: Pace,
    stopping: CancellationToken,
    /// Jobs whose last step failed, and until when they rest. The others go on.
    put_off: BTreeMap<(AccountId, u64), Instant>,
    /// What was said about rows that cannot be read: once is enough.
    told: BTreeSet<String>,
}

impl Jobs {
    /// Waits for `pause` or the stop; says whether to go on.
    async fn rest(&self, pause: Duration) -> bool {
        self.stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// Gives each job its turn, and says how long to pause then.
    async fn round(&mut self) -> Result<Duration, SnapshotError> {
        let begun = Instant::now();
        let running = self.restores.running().await?;
        let look = begun.elapsed();
        self.tell(&running.unreadable);
        show(&running);
        let now = Instant::now();
        self.put_off.retain(|_, until| *until > now);
        let mut moved = false;
        for job in running.jobs {
            let of = (job.account, job.number);
            if self.put_off.contains_key(&of) {
                continue;
            }
            if let Err(error) = self.turn(job, &mut moved).await {
                metrics::counter!(names::SNAPSHOT_RESTORE_FAILURES).increment(1);
                let ((account, number), error) = (of, &error as &dyn std::error::Error);
                tracing::warn!(error, %account, number, "a restore from a snapshot is put off");
                self.put_off.insert(of, Instant::now() + PAUSE_AFTER_FAILURE);
            }
        }
        Ok(self.pace.pause(look, moved))
    }

    /// Some steps of one job.
    async fn turn(&self, mut job: RestoreJob, moved: &mut bool) -> Result<(), SnapshotError> {
        for _ in 0..STEPS_IN_TURN {
            if self.stopping.is_cancelled() {
                return Ok(());
            }
            let begun = Instant::now();
            let Some(next) = self.restores.step(job.account, job.number).await? else { break };
            // It waits for something: without a rest it would only ask again.
            if next == job {
                break;
            }
            *moved = true;
            count(&job, &next);
            let messages = next.done.saturating_sub(job.done);
            job = next;
            if job.state != RestoreState::Running {
                ended(&job);
            }
            let goes_on = self.rest(self.pace.rest(messages, begun.elapsed())).await;
            if !goes_on || job.state != RestoreState::Running {
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

/// Shows how much there is to do.
#[expect(clippy::cast_precision_loss, reason = "gauges of messages and seconds")]
fn show(running: &RunningJobs) {
    let jobs = &running.jobs;
    let left: u64 = jobs.iter().map(|job| job.total.saturating_sub(job.done)).sum();
    let now = SystemClock.now().0;
    let ages = jobs.iter().map(|job| now.saturating_sub(job.begun.0).max(0));
    metrics::gauge!(names::SNAPSHOT_RESTORES_OPEN, "state" => "running").set(jobs.len() as f64);
    metrics::gauge!(names::SNAPSHOT_RESTORES_OPEN, "state" => "stopped")
        .set(running.stopped as f64);
    metrics::gauge!(names::SNAPSHOT_RESTORE_LEFT).set(left as f64);
    metrics::gauge!(names::SNAPSHOT_RESTORE_OLDEST).set(ages.max().unwrap_or(0) as f64 / 1_000.0);
}

fn count(before: &RestoreJob, after: &RestoreJob) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge of messages")]
    metrics::gauge!(names::SNAPSHOT_RESTORE_LEFT)
        .decrement(after.done.saturating_sub(before.done) as f64);
    for (outcome, was, is) in [
        ("restored", before.restored, after.restored),
        ("present", before.present, after.present),
        ("erased", before.erased, after.erased),
        ("unreadable", before.unreadable, after.unreadable),
    ] {
        metrics::counter!(names::SNAPSHOT_RESTORED, "outcome" => outcome)
            .increment(is.saturating_sub(was));
    }
}

fn ended(job: &RestoreJob) {
    let outcome = match job.state {
        RestoreState::Stopped => "stopped",
        RestoreState::Done => "done",
        RestoreState::Cancelled | RestoreState::Running => return,
    };
    metrics::counter!(names::SNAPSHOT_RESTORES, "outcome" => outcome).increment(1);
    let RestoreJob { account, number, restored, present, erased, unreadable, trouble, .. } = job;
    tracing::info!(
        %account, number, restored, present, erased, unreadable, ?trouble, outcome,
        "a restore from a snapshot ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_rested_for_by_its_messages_and_by_its_time_whichever_is_more() {
        let pace = Pace { messages_per_second_max: 1_000, busy_percent_max: 25 };
        let millis = Duration::from_millis;
        // 500 messages may take half a second.
        assert_eq!(pace.rest(500, millis(20)), millis(480));
        // A slow disk: a quarter of the time is the step's, the rest is for mail.
        assert_eq!(pace.rest(500, millis(400)), millis(1_200));
        assert_eq!(pace.rest(0, millis(10)), millis(30));
        let all = Pace { messages_per_second_max: 1_000_000, busy_percent_max: 100 };
        assert_eq!(all.rest(500, millis(400)), Duration::ZERO);
        let slow = Pace { messages_per_second_max: 10, busy_percent_max: 100 };
        let step = slow.step(RestoreLimits::default());
        assert_eq!((step.rows_per_step_max, step.jobs_open_max), (10, 20));
    }

    #[test]
    fn a_look_at_the_jobs_is_rested_for_also_when_one_of_them_got_on() {
        let pace = Pace { messages_per_second_max: 1_000, busy_percent_max: 25 };
        let millis = Duration::from_millis;
        assert_eq!(pace.pause(millis(10), true), millis(30));
        assert_eq!(pace.pause(millis(10), false), PAUSE);
        assert_eq!(pace.pause(millis(100), false), millis(2_000));
        let gentle = Pace { busy_percent_max: 1, ..pace };
        assert_eq!(gentle.pause(millis(100), false), millis(9_900));
        let all = Pace { busy_percent_max: 100, ..pace };
        assert_eq!(all.pause(millis(400), true), Duration::ZERO);
    }
}
