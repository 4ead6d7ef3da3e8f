//! Which runs stay, and how the others go.
//!
//! An account's snapshot covers an instant when it is the latest that was taken until then. For each
//! covered instant that a retention names, these runs stay: the latest that was *closed* until then, and
//! the one, if any, that *took place* then. One of the two attests the snapshot. For let S cover the
//! instant t, be taken by a run, and let N be the snapshot behind it, if there is one: N was taken after
//! t. If the run that took S was closed by t, then the latest run that was closed by t is that run or
//! one behind it, and it looked at the account before t, so before N was taken: its tree has S. If that
//! run was not closed by t, it took place at t, and N is taken by a later one: its own tree has S.
//!
//! Runs are therefore thinned by the longest retention in use, and somewhat longer ([`MARGIN`]), because an
//! account may be thinned up to a day later than is due. Besides, a run stays as long as a snapshot that
//! is noted as needing it ([`super::attest`]) is kept, and the latest run always. Of an account whose
//! row cannot be read nobody knows how long its snapshots stay: they do, and the runs that took them.
//!
//! When a run took place is what the clock said, not always what its record says: after a clock that was
//! ahead records go on behind it. Where clocks contradict each other, what stays by either reading stays, as
//! of snapshots ([`crate::keep::times`]).
//!
//! A run that goes is hidden first. Then pages that departed after it pass to the run before, if that
//! has them, or are removed; last its row. A process that is killed in between goes on with that.

use std::collections::BTreeSet;

use storage::{
    catalog::{
        engine::{Batch, Expected, Family, Scan},
        keys::object,
    },
    ids::AccountId,
};
use trust::clock::UnixMillis;

use super::{
    ClosedRun, Head, Runs,
    keys::{self, DEPARTED_RUN_PAGES, SNAPSHOT_RUN_NEEDS, SNAPSHOT_RUN_PAGES, SNAPSHOT_RUNS},
    rows::{self, HeadRow, RunRow},
};
use crate::{
    error::SnapshotError,
    keep::{settings::Retention, snapshot::Snapshot, thin::instants, times},
};

/// How much longer runs stay than snapshots, in hours, days and months: a sweep over all accounts takes
/// a day.
const MARGIN: (u32, u32, u32) = (26, 2, 1);

/// Pages and needs that one batch works through.
const ENTRIES_PER_BATCH: usize = 1_000;

/// What thinning did.
#[derive(Debug, Default)]
pub struct ThinnedRuns {
    /// Runs that stay.
    pub kept: u64,
    /// Runs that went.
    pub removed: u64,
    /// Pages that were removed with them.
    pub pages: u64,
    /// Why it could not be told whether a run is needed: it stays. At most one for each run.
    pub failures: Vec<SnapshotError>,
    /// Accounts of which it is not known how long their snapshots stay, and why.
    pub unknown: Vec<(AccountId, SnapshotError)>,
}

impl Runs {
    /// Removes the runs that no snapshot needs any more. `general` is the longest of what holds where
    /// accounts have nothing else.
    pub async fn thin(
        &self,
        general: &Retention,
        now: UnixMillis,
    ) -> Result<ThinnedRuns, SnapshotError> {
        let _one = self.one.lock().await;
        let mut thinned = ThinnedRuns::default();
        let unknown = |account, error| thinned.unknown.push((account, error));
        let retention = self.snapshots.longest(general, unknown).await?;
        let all = self.all().await?;
        let stay: Vec<&ClosedRun> =
            all.iter().filter_map(|(_, run)| run.as_ref()).filter(|run| !run.going).collect();
        let mut covering = covering(&stay, &longer(&retention), now);
        for (account, _) in &thinned.unknown {
            let snapshots = self.snapshots.list(*account).await?;
            covering.extend(that_took(&stay, &snapshots, now));
        }
        let mut previous = 0;
        for (number, run) in &all {
            let Some(run) = run else {
                // Nobody can read it: it goes when it is the oldest and no kept snapshot needs it.
                if previous == 0
                    && covering.iter().any(|stays| stays > number)
                    && !self.is_needed(*number, &mut thinned.failures).await?
                {
                    thinned.pages += self.remove(*number, previous).await?;
                    thinned.removed += 1;
                } else {
                    previous = *number;
                    thinned.kept += 1;
                }
                continue;
            };
            let stays = covering.contains(&run.number()) && !run.going;
            let failures = &mut thinned.failures;
            if stays || (!run.going && self.is_needed(run.number(), failures).await?) {
                previous = run.number();
                thinned.kept += 1;
                continue;
            }
            if !run.going {
                self.hide(run).await?;
            }
            thinned.pages += self.remove(run.number(), previous).await?;
            thinned.removed += 1;
        }
        thinned.pages += self.remove_strays().await?;
        Ok(thinned)
    }

    /// Removes what stands under numbers of runs whose rows are lost, as if those runs went now.
    async fn remove_strays(&self) -> Result<u64, SnapshotError> {
        let last = Head::read(&**self.store.engine()).await?.row.runs;
        let there: BTreeSet<u64> = self.all().await?.into_iter().map(|(run, _)| run).collect();
        let mut removed = 0;
        for family in [DEPARTED_RUN_PAGES, SNAPSHOT_RUN_NEEDS] {
            let mut next = 0;
            // What stands above belongs to the run that takes place.
            while next <= last {
                let scan = Scan { start: keys::run(next), ..Scan::prefix(family, &[], 1) };
                let Some((key, _)) = self.store.engine().scan(&scan).await?.pop() else { break };
                let Ok([number]) = keys::leading(family, &key) else {
                    tell_malformed(family, &key);
                    let mut batch = Batch::default();
                    batch.delete(family, key);
                    self.store.commit(batch).await?;
                    continue;
                };
                if number <= last && !there.contains(&number) {
                    let previous = there.range(..number).next_back().copied().unwrap_or(0);
                    self.forget_needs(number).await?;
                    removed += self.remove(number, previous).await?;
                }
                next = number.saturating_add(1);
            }
        }
        Ok(removed)
    }

    async fn forget_needs(&self, number: u64) -> Result<(), SnapshotError> {
        loop {
            let prefix = keys::run(number);
            let scan = Scan::prefix(SNAPSHOT_RUN_NEEDS, &prefix, ENTRIES_PER_BATCH);
            let entries = self.store.engine().scan(&scan).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::default();
            for (key, _) in entries {
                batch.delete(SNAPSHOT_RUN_NEEDS, key);
            }
            self.store.commit(batch).await?;
        }
    }

    /// The next accounts of a sweep over all of them that begins again at its end: what has not changed
    /// is thinned by it. At most `limit`; none when the sweep begins again.
    pub async fn sweep(&self, limit: usize) -> Result<Vec<AccountId>, SnapshotError> {
        let _one = self.one.lock().await;
        let head = Head::read(&**self.store.engine()).await?;
        let after = head.row.swept.map(AccountId);
        let accounts = self.store.account_ids(after, limit.max(1)).await?;
        let swept = accounts.last().map(|account| account.0);
        let mut batch = Batch::default();
        head.advance(&mut batch, &HeadRow { swept, ..head.row.clone() });
        self.store.commit(batch).await?;
        Ok(accounts)
    }

    /// Whether a kept snapshot needs the run, or one of which that cannot be told. Notes of snapshots that
    /// are gone go too.
    async fn is_needed(
        &self,
        number: u64,
        failures: &mut Vec<SnapshotError>,
    ) -> Result<bool, SnapshotError> {
        loop {
            let prefix = keys::run(number);
            let scan = Scan::prefix(SNAPSHOT_RUN_NEEDS, &prefix, ENTRIES_PER_BATCH);
            let entries = self.store.engine().scan(&scan).await?;
            let mut batch = Batch::default();
            for (key, _) in &entries {
                match self.is_kept(key).await {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(error) => {
                        failures.push(error);
                        return Ok(true);
                    }
                }
                batch.delete(SNAPSHOT_RUN_NEEDS, key.clone());
            }
            if entries.is_empty() {
                return Ok(false);
            }
            self.store.commit(batch).await?;
        }
    }

    /// Whether the snapshot that a need is of is kept.
    async fn is_kept(&self, need: &[u8]) -> Result<bool, SnapshotError> {
        let [_, account, snapshot] = keys::numbers::<3>(SNAPSHOT_RUN_NEEDS, need)?;
        Ok(self.snapshots.get(AccountId(account), snapshot).await?.is_some())
    }

    async fn hide(&self, run: &ClosedRun) -> Result<(), SnapshotError> {
        let key = keys::run(run.number());
        let mut batch = Batch::default();
        let before = rows::encode(&RunRow::of(run));
        batch.expect(SNAPSHOT_RUNS, key.clone(), Expected::Value(before.into()));
        let going = ClosedRun { going: true, ..run.clone() };
        batch.put(SNAPSHOT_RUNS, key, rows::encode(&RunRow::of(&going)));
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Removes a run that is hidden; `previous` is the run before it that stays, 0 = none.
    async fn remove(&self, number: u64, previous: u64) -> Result<u64, SnapshotError> {
        let mut removed = 0;
        loop {
            let prefix = keys::run(number);
            let scan = Scan::prefix(DEPARTED_RUN_PAGES, &prefix, ENTRIES_PER_BATCH);
            let entries = self.store.engine().scan(&scan).await?;
            let mut batch = Batch::default();
            let ended = entries.len() < ENTRIES_PER_BATCH;
            for (key, _) in entries {
                let Ok([_, birth]) = keys::leading::<2>(DEPARTED_RUN_PAGES, &key) else {
                    tell_malformed(DEPARTED_RUN_PAGES, &key);
                    batch.delete(DEPARTED_RUN_PAGES, key);
                    continue;
                };
                let page = key.slice(8..);
                if birth <= previous {
                    let passed = keys::departed(previous, &page);
                    batch.put(DEPARTED_RUN_PAGES, passed, bytes::Bytes::new());
                } else {
                    batch.delete(SNAPSHOT_RUN_PAGES, page);
                    removed += 1;
                }
                batch.delete(DEPARTED_RUN_PAGES, key);
            }
            if ended {
                batch.delete(SNAPSHOT_RUNS, prefix);
                self.store.commit(batch).await?;
                return Ok(removed);
            }
            self.store.commit(batch).await?;
        }
    }
}

/// Says that a key is taken out that no program writes.
fn tell_malformed(family: Family, key: &[u8]) {
    tracing::warn!(object = object(family, key), "a key without its family's layout is removed");
}

fn longer(retention: &Retention) -> Retention {
    let (hours, days, months) = MARGIN;
    Retention {
        hourly_hours: retention.hourly_hours.saturating_add(hours),
        daily_days: retention.daily_days.saturating_add(days),
        monthly_months: retention.monthly_months.saturating_add(months),
        ..*retention
    }
}

/// The runs, ascending, that stay for the instants of `retention`, and the latest.
fn covering(runs: &[&ClosedRun], retention: &Retention, now: UnixMillis) -> BTreeSet<u64> {
    let mut stay: BTreeSet<u64> = runs.last().map(|run| run.number()).into_iter().collect();
    // Nobody knows which hour one by a wrong clock covers: it stays as long as every hour has its own.
    let detailed = now.0.saturating_sub(i64::from(retention.hourly_hours) * 3_600_000);
    for times in Time::readings(runs, now) {
        for instant in instants(retention, now) {
            let behind = times.partition_point(|run| run.closed <= instant);
            if let Some(closed) = behind.checked_sub(1).and_then(|at| times.get(at)) {
                stay.insert(closed.number);
            }
            if let Some(then) = times.get(behind).filter(|run| run.begun <= instant) {
                stay.insert(then.number);
            }
        }
        let wrong = times.iter().filter(|run| run.by_wrong_clock && run.closed.0 > detailed);
        stay.extend(wrong.map(|run| run.number));
    }
    stay
}

/// The runs, ascending, that took the snapshots: the first that was closed behind each, by what the records
/// say or by what a reading of the clocks does. When that one is gone, the next one has the snapshot, too.
fn that_took(runs: &[&ClosedRun], snapshots: &[Snapshot], now: UnixMillis) -> BTreeSet<u64> {
    let readings = Time::readings(runs, now);
    let mut took = BTreeSet::new();
    for snapshot in snapshots {
        let behind = runs.partition_point(|run| run.record.closed < snapshot.record.instant);
        took.extend(runs.get(behind).map(|run| run.number()));
        for times in &readings {
            let behind = times.partition_point(|run| run.closed < snapshot.taken());
            took.extend(times.get(behind).map(|run| run.number));
        }
    }
    took
}

/// When a run took place, by the clock.
struct Time {
    number: u64,
    begun: UnixMillis,
    closed: UnixMillis,
    /// The clock was wrong: it took place at some time before `closed`.
    by_wrong_clock: bool,
}

impl Time {
    /// Both readings of `runs`, ascending.
    fn readings(runs: &[&ClosedRun], now: UnixMillis) -> [Vec<Self>; 2] {
        let taken: Vec<_> = runs.iter().map(|run| run.took_place()).collect();
        times::readings(&taken, now).map(|read| {
            let mended =
                runs.iter().zip(&taken).zip(read).map(|((run, (begun, closed)), until)| {
                    let closed = until.unwrap_or(*closed);
                    let (number, begun) = (run.number(), closed.min(*begun));
                    Self { number, begun, closed, by_wrong_clock: until.is_some() }
                });
            mended.collect()
        })
    }
}
