//! Runs on schedule: the loop of the server.
//!
//! * A run is due at each multiple of the interval since midnight UTC. When one or more were missed, the
//!   server was down, say, one run catches up. A run that was cut off goes on.
//! * Accounts are spread over `spread`, never faster than `rate`; a run that is late is not spread.
//! * A closed run is signed by the pair that signs receipts, and the signature is stamped by the service
//!   that stamps the journal, after growing pauses when it does not answer. A run waits unstamped, and
//!   the metrics say so.
//! * Accounts are thinned behind the run that looked at them; a sweep that takes a day thins the others.
//! * After a clock that was ahead and was set right, runs are due by the right time at once; a run whose
//!   instants lie ahead waits for its time stamp, for a stamp from before its end proves nothing.
//! * A tree of accounts that cannot be read is built anew by the run that meets it, and the log says so.
//! * Nothing is thinned while no run of the last days has a time stamp, or the latest that has one lies
//!   ahead: a clock that is years ahead, or behind, would let go of all that there is.
//! * What fails, an account or a step, is logged, counted and tried again. Mail never waits.
//!
//! Not here: what a run does (`snapshots::run`), signatures and stamps (`trust`).

use std::{error::Error, sync::Arc, time::Duration};

use ::snapshots::{
    error::SnapshotError,
    run::{
        ClosedRun, Runs,
        walk::{Schedule, Step, StepLimits},
    },
};
use storage::{account::settings::AccountSettings, error::StoreError, ids::AccountId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use trust::{
    certificate::chain::TrustedAuthorities,
    clock::{Clock, UnixMillis},
    digest::Sha256Digest,
    timestamp::{TimestampError, TimestampSource, verify::verify},
};

use crate::{
    config::SnapshotSettings,
    metrics_names as names,
    pec::engine::{PecEngine, PecError},
    serve::journal::Stamping,
};

/// Accounts of one step, at most.
const STEP_ACCOUNTS_MAX: u32 = 256;
/// Accounts of one step of the sweep.
const SWEEP_ACCOUNTS: usize = 200;
/// In how many milliseconds the sweep goes over all accounts.
const SWEEP_MILLIS: u64 = 24 * 3_600_000;
/// What clocks may differ by, in milliseconds: a run that is further ahead was taken by a wrong clock.
const CLOCK_DIFFERENCE_MAX: i64 = 600_000;
/// For how many milliseconds a time stamp vouches for the clock, so that snapshots may go by it.
const VOUCHED_MAX: i64 = 7 * 24 * 3_600_000;
/// The longest pause between two looks at the clock.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why something is put off.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error(transparent)]
    Engine(#[from] PecError),
    #[error("the run has no time stamp that holds")]
    Stamp(#[from] TimestampError),
    #[error(
        "the time stamp is from {stamped} ms, before the end of the run at {closed} ms since 1970: \
         set the clock right"
    )]
    StampEarly { stamped: i64, closed: i64 },
}

/// Takes snapshots of all accounts of one server.
#[derive(Debug)]
pub struct SnapshotService {
    runs: Arc<Runs>,
    engine: Arc<PecEngine>,
    clock: Arc<dyn Clock>,
    stamps: Arc<dyn TimestampSource>,
    trusted: TrustedAuthorities,
    settings: SnapshotSettings,
    /// Rung when a run is closed.
    closed: Notify,
}

impl Schedule for SnapshotSettings {
    fn interval_millis(&self, settings: &AccountSettings) -> Option<i64> {
        i64::try_from(self.times(&settings.plan).every.0).ok()
    }
}

impl SnapshotService {
    /// A service whose runs are signed by `engine` and stamped by `stamps`, of whose stamps `trusted`
    /// tell.
    pub fn new(
        runs: Arc<Runs>,
        engine: Arc<PecEngine>,
        clock: Arc<dyn Clock>,
        (stamps, trusted): (Arc<dyn TimestampSource>, TrustedAuthorities),
        settings: SnapshotSettings,
    ) -> Self {
        Self { runs, engine, clock, stamps, trusted, settings, closed: Notify::new() }
    }

    /// Works until `stopping` is cancelled; a run that is cut off then goes on at the next start.
    pub async fn work(self, mut stamping: Stamping, stopping: CancellationToken) {
        let mut expected = None;
        let runs = async {
            loop {
                self.round(&mut expected).await;
                tokio::time::sleep(self.pause()).await;
            }
        };
        let seals = async {
            loop {
                if self.seal(&mut stamping).await {
                    self.closed.notified().await;
                } else {
                    tokio::time::sleep(PAUSE_MAX).await;
                }
            }
        };
        let both = async { tokio::join!(runs, seals) };
        let _: Option<((), ())> = Box::pin(stopping.run_until_cancelled(both)).await;
    }

    fn interval(&self) -> i64 {
        i64::try_from(self.settings.interval.0).unwrap_or(i64::MAX).max(1)
    }

    fn pause(&self) -> Duration {
        let left = self.interval() - self.clock.now().0.rem_euclid(self.interval());
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(PAUSE_MAX)
    }

    /// Does the run that is due, if one is. `expected`: how many accounts change between two runs.
    async fn round(&self, expected: &mut Option<u64>) {
        match self.due().await {
            Ok(Due { run: None, .. }) => {}
            Ok(Due { run: Some(due), first, .. }) => {
                let thins = self.may_thin().await;
                match self.run((due, first), expected, thins).await {
                    Ok(run) if thins => {
                        if let Err(error) = self.thin(&run).await {
                            put_off("thin", &error);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => put_off("run", &error),
                }
            }
            Err(error) => put_off("run", &error),
        }
    }

    /// Whether snapshots may go by the clock: a run of the last days has a time stamp, which does not lie
    /// ahead. Of a clock that is far ahead no stamp is right, by one that is behind all that there is lies
    /// ahead, and what was let go does not come back.
    async fn may_thin(&self) -> bool {
        let stamped = match self.runs.stamped().await {
            Ok(Some(stamped)) => stamped,
            Ok(None) => return false,
            Err(error) => {
                put_off("thin", &error.into());
                return false;
            }
        };
        let now = self.clock.now();
        let may = is_vouched(now, stamped);
        if !may {
            metrics::counter!(names::SNAPSHOT_FAILURES, "step" => "thin").increment(1);
            tracing::error!(
                days = now.0.saturating_sub(stamped.0) / (24 * 3_600_000),
                "the latest time stamp of a run of snapshots is so many days old, or lies ahead of the clock: no snapshot is removed; check the clock and the service of [journal]"
            );
        }
        may
    }

    /// What is due now.
    async fn due(&self) -> Result<Due, Failure> {
        let now = self.clock.now();
        let latest = self.runs.latest().await?;
        let begun = self.runs.progress().await?.map(|progress| progress.due);
        let covered = match self.runs.covered().await? {
            Some(covered) => Some(covered),
            None => latest.as_ref().map(|run| run.record.begun),
        };
        let due = Due::at(now, self.interval(), covered, begun);
        if let Some(ahead) = due.ahead {
            metrics::counter!(names::SNAPSHOT_FAILURES, "step" => "clock").increment(1);
            tracing::error!(
                seconds = ahead / 1_000,
                "the latest run of snapshots lies ahead of the clock: runs go on by the clock"
            );
        }
        lag(now, due.first);
        if let Some(run) = latest {
            gauge(names::SNAPSHOT_RUN_INSTANT, run.record.closed.0);
            gauge(names::SNAPSHOT_AHEAD, run.record.closed.0.saturating_sub(now.0).max(0));
        }
        Ok(due)
    }

    /// One whole run. `first`: the first instant that no run covers. `thins`: whether snapshots may go.
    async fn run(
        &self,
        (due, first): (UnixMillis, UnixMillis),
        expected: &mut Option<u64>,
        thins: bool,
    ) -> Result<ClosedRun, Failure> {
        let mut before = self.runs.begin(due, self.clock.now()).await?;
        loop {
            let (from, pace) = (Instant::now(), self.pace(due, *expected));
            let limits = StepLimits {
                accounts_max: usize::try_from(pace.accounts).unwrap_or(1),
                concurrency: usize::try_from(self.settings.concurrency).unwrap_or(1),
            };
            let step = self.runs.step(limits, &self.settings, &*self.clock).await?;
            if let Some(error) = &step.given_up {
                metrics::counter!(names::SNAPSHOT_FAILURES, "step" => "tree").increment(1);
                let error = error as &dyn Error;
                tracing::error!(
                    run = step.progress.number,
                    error,
                    "the tree of accounts cannot be read: this run builds it anew from every account"
                );
            }
            note(&step, before.failed);
            lag(self.clock.now(), first);
            let progress = step.progress;
            count(names::SNAPSHOT_RUN_PAGES, progress.pages.saturating_sub(before.pages));
            let octets = progress.page_octets.saturating_sub(before.page_octets);
            count(names::SNAPSHOT_RUN_OCTETS, octets);
            let taken = progress.taken.saturating_sub(before.taken);
            metrics::counter!(names::SNAPSHOT_ACCOUNTS, "outcome" => "taken").increment(taken);
            before = progress;
            for account in step.accounts.iter().filter(|_| thins) {
                self.thin_account(*account).await;
            }
            if step.done {
                *expected = Some(progress.taken.saturating_add(progress.failed));
                break;
            }
            let accounts = u32::try_from(step.accounts.len()).unwrap_or(u32::MAX);
            tokio::time::sleep_until(from + pace.each.saturating_mul(accounts)).await;
        }
        let closed = self.runs.close(self.clock.now()).await?;
        let closed = closed.ok_or(SnapshotError::NotPresent)?;
        let took = closed.record.closed.0.saturating_sub(closed.record.begun.0);
        gauge(names::SNAPSHOT_RUN_SECONDS, took);
        gauge(names::SNAPSHOT_RUN_INSTANT, closed.record.closed.0);
        lag(self.clock.now(), behind(due, self.interval()));
        count(names::SNAPSHOT_RUNS, 1);
        self.closed.notify_one();
        tracing::info!(
            run = closed.record.number,
            accounts = closed.record.accounts,
            taken = before.taken,
            failed = before.failed,
            milliseconds = took,
            "a run of snapshots is closed"
        );
        Ok(closed)
    }

    /// How many accounts a step has, and how long each may take.
    fn pace(&self, due: UnixMillis, expected: Option<u64>) -> Pace {
        let fastest = Duration::from_secs(1) / self.settings.rate.max(1);
        let late = self.clock.now().0.saturating_sub(due.0) >= self.interval();
        let spread = match expected {
            Some(accounts) if !late => {
                let spread = self.settings.spread.0.min(self.settings.interval.0);
                Duration::from_millis(spread.checked_div(accounts).unwrap_or(0))
            }
            _ => Duration::ZERO,
        };
        let each = fastest.max(spread);
        // About a second's worth.
        let accounts = Duration::from_secs(1).as_millis() / each.as_millis().max(1);
        let accounts = u32::try_from(accounts).unwrap_or(STEP_ACCOUNTS_MAX);
        let least = self.settings.concurrency.clamp(1, STEP_ACCOUNTS_MAX);
        Pace { accounts: accounts.clamp(least, STEP_ACCOUNTS_MAX), each }
    }

    async fn thin_account(&self, account: AccountId) {
        let general = match self.engine.store().account(account).await {
            Ok(handle) => match handle.settings().await {
                Ok(settings) => self.settings.times(&settings.plan).retention,
                Err(error) => return put_off("thin", &SnapshotError::from(error).into()),
            },
            Err(StoreError::NoSuchAccount(_)) => return,
            Err(error) => return put_off("thin", &SnapshotError::from(error).into()),
        };
        match self.runs.snapshots().thin(account, &general, self.clock.now()).await {
            Ok(thinned) => count(names::SNAPSHOTS_REMOVED, thinned.forgotten),
            Err(error) => put_off("thin", &error.into()),
        }
    }

    /// Thins accounts that do not change, some of them each time, and the runs themselves.
    async fn thin(&self, run: &ClosedRun) -> Result<(), Failure> {
        let share = run.record.accounts.saturating_mul(self.settings.interval.0) / SWEEP_MILLIS;
        let mut left = share.saturating_add(1);
        let pause = Duration::from_secs(1) / self.settings.rate.max(1);
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(SWEEP_ACCOUNTS).min(SWEEP_ACCOUNTS);
            let accounts = self.runs.sweep(limit).await?;
            for account in &accounts {
                self.thin_account(*account).await;
                tokio::time::sleep(pause).await;
            }
            if accounts.is_empty() {
                break;
            }
            left = left.saturating_sub(accounts.len() as u64);
        }
        let longest = self.settings.longest();
        let thinned = self.runs.thin(&longest, self.clock.now()).await?;
        for (account, error) in &thinned.unknown {
            metrics::counter!(names::SNAPSHOT_FAILURES, "step" => "thin").increment(1);
            tracing::error!(
                account = account.0,
                error = error as &dyn Error,
                "nobody knows how long snapshots of the account stay: they stay, and the runs that took them"
            );
        }
        for error in &thinned.failures {
            metrics::counter!(names::SNAPSHOT_FAILURES, "step" => "thin").increment(1);
            let error = error as &dyn Error;
            tracing::error!(error, "nobody knows whether a run of snapshots is needed: it stays");
        }
        tracing::debug!(?thinned, "runs of snapshots that nobody needs are gone");
        Ok(())
    }

    /// Signs and stamps whatever is not yet; says whether nothing is left.
    async fn seal(&self, stamping: &mut Stamping) -> bool {
        let unsealed = match self.runs.list().await {
            Ok(runs) => runs.into_iter().filter(|run| run.stamp.is_none()).collect::<Vec<_>>(),
            Err(error) => {
                put_off("sign", &error.into());
                return false;
            }
        };
        let mut waiting = unsealed.len();
        for run in unsealed {
            let signature = match self.signed(&run).await {
                Ok(signature) => signature,
                Err(error) => {
                    put_off("sign", &error);
                    break;
                }
            };
            // Of a run that lies ahead no stamp can be right yet; it keeps no other from its own.
            let early = is_early(self.clock.now(), run.record.closed);
            if early || !stamping.is_due(Instant::now()) {
                continue;
            }
            let stamped = self.stamp(&run, &signature).await;
            stamping.tried(stamped.is_err(), Instant::now());
            match stamped {
                Ok(()) => waiting -= 1,
                Err(error) => put_off("stamp", &error),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "runs are some hundreds")]
        metrics::gauge!(names::SNAPSHOT_UNSTAMPED).set(waiting as f64);
        waiting == 0
    }

    /// The signature of a run, made when it has none.
    async fn signed(&self, run: &ClosedRun) -> Result<Vec<u8>, Failure> {
        if let Some(signature) = &run.signature {
            return Ok(signature.clone());
        }
        let (signer, digest) = (self.engine.signer(), Sha256Digest::of(&run.record.encode()));
        let made = self.engine.compute(move || signer.sign_digest(digest)).await?;
        let signature = made.map_err(|error| PecError::Sign(Box::new(error)))?;
        self.runs.seal(run.number(), Some(signature.clone()), None).await?;
        Ok(signature)
    }

    async fn stamp(&self, run: &ClosedRun, signature: &[u8]) -> Result<(), Failure> {
        let digest = Sha256Digest::of(signature);
        let token = self.stamps.stamp(digest).await?;
        let (stamped, closed) = (verify(&token, digest, &self.trusted)?.instant, run.record.closed);
        if is_early(stamped, closed) {
            // It would never be replaced, and no proof with it holds.
            return Err(Failure::StampEarly { stamped: stamped.0, closed: closed.0 });
        }
        self.runs.seal(run.number(), None, Some(token.as_der().to_vec())).await?;
        Ok(())
    }
}

/// What is due at an instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Due {
    /// What a run is to cover now; `None` when every instant is covered.
    run: Option<UnixMillis>,
    /// The first instant that no run covers.
    first: UnixMillis,
    /// How many milliseconds the latest run is ahead of the clock, when that is too much.
    ahead: Option<i64>,
}

impl Due {
    /// `covered`: what the last closed run covers; `begun`: what the one that takes place is to.
    fn at(
        now: UnixMillis,
        interval: i64,
        covered: Option<UnixMillis>,
        begun: Option<UnixMillis>,
    ) -> Self {
        let last = UnixMillis(now.0.div_euclid(interval).saturating_mul(interval));
        let ahead = covered.map(|at| at.0.saturating_sub(now.0));
        let ahead = ahead.filter(|ahead| *ahead > CLOCK_DIFFERENCE_MAX);
        let first = match covered {
            Some(at) if ahead.is_none() => behind(at, interval),
            _ => last,
        };
        let is_due = ahead.is_some() || covered.is_none_or(|at| at < last);
        Self { run: begun.or_else(|| is_due.then_some(last)), first, ahead }
    }
}

/// The first instant of the schedule behind one that is covered.
fn behind(covered: UnixMillis, interval: i64) -> UnixMillis {
    let at = covered.0.div_euclid(interval).saturating_add(1);
    UnixMillis(at.saturating_mul(interval))
}

/// Whether `instant` lies before `closed`, and by more than clocks differ.
fn is_early(instant: UnixMillis, closed: UnixMillis) -> bool {
    instant.0.saturating_add(CLOCK_DIFFERENCE_MAX) < closed.0
}

/// Whether a time stamp of a run that was closed at `stamped` vouches for a clock that says `now`.
fn is_vouched(now: UnixMillis, stamped: UnixMillis) -> bool {
    !is_early(now, stamped) && now.0.saturating_sub(stamped.0) <= VOUCHED_MAX
}

/// Says how long the first instant that no run covers is ago.
fn lag(now: UnixMillis, first: UnixMillis) {
    gauge(names::SNAPSHOT_LAG, now.0.saturating_sub(first.0).max(0));
}

/// How fast a run goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pace {
    accounts: u32,
    each: Duration,
}

fn put_off(step: &'static str, error: &Failure) {
    metrics::counter!(names::SNAPSHOT_FAILURES, "step" => step).increment(1);
    tracing::warn!(step, error = error as &dyn Error, "a step of snapshots is put off");
}

fn count(name: &'static str, more: u64) {
    metrics::counter!(name).increment(more);
}

/// Sets a gauge of seconds from milliseconds.
fn gauge(name: &'static str, millis: i64) {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2⁵³")]
    metrics::gauge!(name).set(millis as f64 / 1_000.0);
}

/// Counts what became of the accounts of a step.
/// `failed_before`: accounts of the run that had failed before it; one that is tried again is none yet.
fn note(step: &Step, failed_before: u64) {
    let looked_at = step.accounts.len() as u64 + step.passed_over;
    metrics::counter!(names::SNAPSHOT_ACCOUNTS, "outcome" => "looked_at").increment(looked_at);
    let failed = step.progress.failed.saturating_sub(failed_before);
    metrics::counter!(names::SNAPSHOT_ACCOUNTS, "outcome" => "failed").increment(failed);
    for (account, error) in &step.failures {
        tracing::warn!(
            account = account.0,
            error = error as &dyn Error,
            "no snapshot of the account: it is tried again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    /// 2026-11-21T06:00:00Z.
    const SIX: i64 = 1_795_240_800_000;

    fn due(now: i64, covered: Option<i64>, begun: Option<i64>) -> Due {
        Due::at(UnixMillis(now), HOUR, covered.map(UnixMillis), begun.map(UnixMillis))
    }

    fn expected(run: Option<i64>, first: i64, ahead: Option<i64>) -> Due {
        Due { run: run.map(UnixMillis), first: UnixMillis(first), ahead }
    }

    #[test]
    fn a_run_is_due_when_an_instant_is_not_covered_and_goes_on_when_it_was_cut_off() {
        assert_eq!(due(SIX + 5, None, None), expected(Some(SIX), SIX, None));
        assert_eq!(due(SIX + 5, Some(SIX), None), expected(None, SIX + HOUR, None));
        let missed = due(SIX + 5, Some(SIX - 3 * HOUR), None);
        assert_eq!(missed, expected(Some(SIX), SIX - 2 * HOUR, None));
        let cut_off = due(SIX + 5, Some(SIX - 3 * HOUR), Some(SIX - 2 * HOUR));
        assert_eq!(cut_off, expected(Some(SIX - 2 * HOUR), SIX - 2 * HOUR, None));
    }

    #[test]
    fn after_a_clock_that_was_ahead_runs_go_on_at_once_and_the_lag_is_that_of_the_clock() {
        let day = 24 * HOUR;
        let ahead = due(SIX + 5, Some(SIX + day), None);
        assert_eq!(ahead, expected(Some(SIX), SIX, Some(day - 5)));
        // The run that follows covers what the clock says, and so the error is over.
        assert_eq!(due(SIX + 60_000, Some(SIX), None), expected(None, SIX + HOUR, None));
        // A clock that is moved by a little catches up by itself.
        let little = due(SIX - 60_000, Some(SIX), None);
        assert_eq!(little, expected(None, SIX + HOUR, None));
    }

    #[test]
    fn a_clock_is_vouched_for_by_a_stamp_of_the_last_days_that_does_not_lie_ahead() {
        let day = 24 * HOUR;
        for (ago, vouched) in [
            (0, true),
            (7 * day, true),
            (7 * day + 1, false),
            (-600_000, true),
            (-600_001, false),
            (-56 * 365 * day, false),
        ] {
            assert_eq!(is_vouched(UnixMillis(SIX), UnixMillis(SIX - ago)), vouched, "{ago}");
        }
    }

    #[test]
    fn a_stamp_from_before_the_end_of_its_run_is_not_kept() {
        assert!(is_early(UnixMillis(SIX), UnixMillis(SIX + 600_001)));
        assert!(!is_early(UnixMillis(SIX), UnixMillis(SIX + 600_000)), "as clocks differ");
        assert!(!is_early(UnixMillis(SIX + 30 * HOUR), UnixMillis(SIX)), "the service was away");
    }
}
