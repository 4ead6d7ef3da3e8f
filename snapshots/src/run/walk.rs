//! The walk of a run: over the accounts that may have changed, step by step.
//!
//! A run has phases: first every account that may have changed, ascending; then accounts of which a
//! snapshot was taken between two runs; then once more those that failed. What fails twice stays with
//! its record of before, and is looked at by the next run, because it still counts as changed; where the
//! tree is built anew there is no record of before, and a row says that the next run has to enter it.
//!
//! A step is one batch: the rows of its accounts in the tree, the pages that this changes, what needs
//! this run, and where the run is. With each snapshot, and in its batch, a row says that a run has to
//! enter it; the step that does removes the row. A step that is cut off is done again: accounts of which
//! it took a snapshot count as unchanged by then, and are found by that row, at the latest by the
//! second phase.
//!
//! A tree of which a page cannot be read is given up, and all accounts are entered anew (`anew`).
//!
//! Whatever is read of one account is read where an error stops that account alone (`look`).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::StreamExt as _;
use storage::{
    account::settings::AccountSettings,
    catalog::engine::{Batch, Expected, Scan},
    error::StoreError,
    ids::AccountId,
};
use trust::clock::{Clock, UnixMillis};

use super::{
    Head, RunProgress, Runs,
    anew::{Anew, Earlier},
    attest::{Need, NeedsOf},
    keys::{self, SNAPSHOT_RUN_DUE, SNAPSHOT_RUN_NEEDS},
    note_due, pages,
    rows::{Current, Phase},
};
use crate::{
    error::SnapshotError,
    keep::{
        self,
        keys::SNAPSHOTS,
        lost::is_damage,
        records,
        snapshot::{Snapshot, SnapshotKind},
        take::Taken,
    },
    tree::{
        TreeRoot,
        row::AccountRow,
        update::{TreeUpdate, update},
    },
};

/// Accounts that failed and are tried again, at most; more wait for the next run.
const AGAIN_MAX: usize = 10_000;

/// What an account's plan says of its schedule.
pub trait Schedule: Send + Sync {
    /// Milliseconds between two scheduled snapshots of an account with these settings; `None`: none are
    /// scheduled.
    fn interval_millis(&self, settings: &AccountSettings) -> Option<i64>;
}

/// How much one step does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StepLimits {
    /// Accounts of one step.
    pub accounts_max: usize,
    /// Accounts of which snapshots are taken at the same time.
    pub concurrency: usize,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct Step {
    /// Accounts of which a snapshot was taken, or tried.
    pub accounts: Vec<AccountId>,
    /// Accounts that were passed over, because they have not changed.
    pub passed_over: u64,
    /// What failed.
    pub failures: Vec<(AccountId, SnapshotError)>,
    /// Why the tree of accounts was given up with this step: from now on the run builds it anew, from
    /// every account's latest record.
    pub given_up: Option<SnapshotError>,
    /// How far the run is.
    pub progress: RunProgress,
    /// Nothing is left to do but to close the run.
    pub done: bool,
}

/// The accounts of one step.
#[derive(Default)]
pub(super) struct Found {
    pub(super) accounts: Vec<AccountId>,
    /// Those of them that have not changed since their latest snapshot and are entered nevertheless.
    pub(super) unchanged: HashSet<AccountId>,
    pub(super) looked_at: u64,
    /// Rows of [`SNAPSHOT_RUN_DUE`] that are done with this step.
    pub(super) due: Vec<(Bytes, Bytes)>,
    /// Where to go on; `None` = the phase is over.
    pub(super) next: Option<AccountId>,
}

/// What is entered for an account.
struct Looked {
    /// Its latest snapshot.
    latest: Snapshot,
    is_new: bool,
    address: String,
    /// Its snapshots that need this run.
    needs: Vec<Need>,
}

/// What every account of a step is looked at with.
struct Looking<'a> {
    current: &'a Current,
    /// The tree before the step.
    tree: TreeRoot,
    /// The run before, when the tree is built anew.
    earlier: Option<Earlier>,
    /// Accounts that are not looked at, but entered.
    unchanged: &'a HashSet<AccountId>,
    /// Accounts of which something waited for a run before they are looked at.
    waiting: HashSet<AccountId>,
    schedule: &'a dyn Schedule,
    clock: &'a dyn Clock,
}

impl Runs {
    /// Does one step of the run that takes place; nothing when none does.
    ///
    /// # Errors
    ///
    /// What keeps the whole run from going on. What one account brings is in [`Step::failures`].
    pub async fn step(
        &self,
        limits: StepLimits,
        schedule: &dyn Schedule,
        clock: &dyn Clock,
    ) -> Result<Step, SnapshotError> {
        let _one = self.one.lock().await;
        let head = Head::read(&**self.store.engine()).await?;
        let Some(mut current) = head.row.current.clone() else {
            return Ok(Step { done: true, ..Step::default() });
        };
        if current.anew() == Anew::Sorting {
            return self.sort_out(&head).await;
        }
        let found = self.find(&mut current, limits).await?;
        let tree = head.row.tree();
        let earlier = self.earlier(&current, head.row.closed_millis).await?;
        let unchanged = &found.unchanged;
        let waiting = self.waiting(&found.accounts).await?;
        let looking =
            &Looking { current: &current, tree, earlier, unchanged, waiting, schedule, clock };
        let looks = futures::stream::iter(found.accounts.clone())
            .map(|account| async move { (account, self.look(account, looking).await) });
        let looked: Vec<_> = looks.buffer_unordered(limits.concurrency.max(1)).collect().await;
        let mut step = Step { accounts: found.accounts.clone(), ..Step::default() };
        step.passed_over = found.looked_at.saturating_sub(step.accounts.len() as u64);
        let mut entered = BTreeMap::new();
        for (account, outcome) in looked {
            match outcome {
                Ok(None) | Err(SnapshotError::Store(StoreError::NoSuchAccount(_))) => {}
                Ok(Some(looked)) => {
                    entered.insert(account.0, looked);
                }
                Err(error) => step.failures.push((account, error)),
            }
        }
        let mut batch = Batch::default();
        let mut next = head.row.clone();
        let update = match self.enter(&mut current, tree, &entered, &mut batch).await {
            Ok(update) => update,
            Err(cause) if is_damage(&cause) => return self.start_anew(&head, cause).await,
            Err(error) => return Err(error),
        };
        next.set_tree(update.root);
        self.settle(found.due, &entered, &step.failures, &mut batch).await?;
        if current.anew() != Anew::No {
            for (account, _) in
                step.failures.iter().filter(|(account, _)| gives_up(&current, *account))
            {
                note_due(&mut batch, *account, 0);
            }
        }
        go_on(&mut current, &step, found.looked_at, found.next);
        step.progress = current.progress();
        step.done = current.is_done();
        next.current = Some(current);
        head.advance(&mut batch, &next);
        self.store.commit(batch).await?;
        Ok(step)
    }

    /// The accounts of the next step.
    async fn find(
        &self,
        current: &mut Current,
        limits: StepLimits,
    ) -> Result<Found, SnapshotError> {
        let (after, limit) = (current.after.map(AccountId), limits.accounts_max.max(1));
        match current.phase() {
            Phase::Changed if current.anew() != Anew::No => self.find_all(after, limits).await,
            Phase::Changed => {
                let found = self.store.accounts_to_capture(after, limit).await?;
                Ok(Found {
                    accounts: found.accounts,
                    looked_at: found.looked_at as u64,
                    next: found.next,
                    ..Found::default()
                })
            }
            Phase::Between => self.find_due(after, limit).await,
            Phase::Again => {
                let rest = current.again.split_off(limit.min(current.again.len()));
                let accounts: Vec<_> = current.again.drain(..).map(AccountId).collect();
                let next = accounts.last().copied().filter(|_| !rest.is_empty());
                current.again = rest;
                Ok(Found { accounts, next, ..Found::default() })
            }
            Phase::Done => Ok(Found::default()),
        }
    }

    /// Accounts above `after` that wait for a run. A row without its family's key is of nobody: it is
    /// told of and passed over.
    async fn find_due(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Found, SnapshotError> {
        let start = after.and_then(|after| after.0.checked_add(1)).map_or(0, |next| next);
        let mut scan = Scan {
            start: keys::due(AccountId(start)),
            ..Scan::prefix(SNAPSHOT_RUN_DUE, &[], limit)
        };
        loop {
            let due = self.store.engine().scan(&scan).await?;
            let is_end = due.len() < limit;
            let mut found = Found::default();
            for (key, value) in due {
                scan.start = [&key[..], &[0]].concat().into();
                match keys::numbers::<1>(SNAPSHOT_RUN_DUE, &key) {
                    Ok([account]) => {
                        found.accounts.push(AccountId(account));
                        found.due.push((key, value));
                    }
                    Err(error) => {
                        tracing::error!(%error, "what waits for a run of snapshots cannot be read and is passed over");
                    }
                }
            }
            if is_end || !found.accounts.is_empty() {
                found.next = found.accounts.last().copied().filter(|_| !is_end);
                return Ok(found);
            }
        }
    }

    /// Those of `accounts` that wait for a run.
    async fn waiting(&self, accounts: &[AccountId]) -> Result<HashSet<AccountId>, SnapshotError> {
        let keys: Vec<_> =
            accounts.iter().map(|account| (SNAPSHOT_RUN_DUE, keys::due(*account))).collect();
        let rows = self.store.engine().multi_get(&keys).await?;
        let waiting = accounts.iter().zip(rows).filter(|(_, row)| row.is_some());
        Ok(waiting.map(|(account, _)| *account).collect())
    }

    /// Takes a snapshot of an account whose time has come, and returns its latest one.
    async fn look(
        &self,
        account: AccountId,
        looking: &Looking<'_>,
    ) -> Result<Option<Looked>, SnapshotError> {
        let settings = self.store.account(account).await?.settings().await?;
        let own = self.snapshots.settings(account).await?;
        let every = own.overrides.every_minutes.map(|minutes| i64::from(minutes) * 60_000);
        let every = every.or_else(|| looking.schedule.interval_millis(&settings));
        let interval = every.filter(|every| *every > 0);
        let latest = self.snapshots.latest(account).await?;
        let now = looking.clock.now();
        let is_due = looking.current.phase() != Phase::Between
            && !looking.unchanged.contains(&account)
            && interval.is_some_and(|interval| is_due(interval, latest.as_ref(), now));
        let taken = if is_due {
            self.snapshots.take(account, SnapshotKind::Scheduled, now).await?
        } else {
            Taken::Unchanged(latest)
        };
        let (latest, is_new) = match taken {
            Taken::New(latest) => (latest, true),
            Taken::Unchanged(Some(latest)) => (latest, false),
            Taken::Unchanged(None) => return Ok(None),
        };
        let of = NeedsOf {
            latest: &latest,
            held: own.hold.is_some(),
            waits: looking.waiting.contains(&account),
        };
        let needs = self.needs(looking.current, looking.tree, looking.earlier, of).await?;
        Ok(Some(Looked { latest, is_new, address: settings.address, needs }))
    }

    /// Adds to `batch` that snapshots which are entered wait for no run any more. `due`: the rows that
    /// the step was found by. One that was taken since the account was looked at goes on waiting.
    async fn settle(
        &self,
        due: Vec<(Bytes, Bytes)>,
        entered: &BTreeMap<u64, Looked>,
        failures: &[(AccountId, SnapshotError)],
        batch: &mut Batch,
    ) -> Result<(), SnapshotError> {
        let mut settled = |key: Bytes, value: Bytes| {
            batch.expect(SNAPSHOT_RUN_DUE, key.clone(), Expected::Value(value));
            batch.delete(SNAPSHOT_RUN_DUE, key);
        };
        for (key, value) in due {
            let [account] = keys::numbers::<1>(SNAPSHOT_RUN_DUE, &key)?;
            let failed = failures.iter().any(|(failed, _)| failed.0 == account);
            // Nothing is left of it to enter.
            if !failed && !entered.contains_key(&account) {
                settled(key, value);
            }
        }
        let keys = entered.keys().map(|account| keys::due(AccountId(*account)));
        let keys: Vec<_> = keys.map(|key| (SNAPSHOT_RUN_DUE, key)).collect();
        let values = self.store.engine().multi_get(&keys).await?;
        let mut done = Vec::new();
        for (((_, key), value), looked) in keys.into_iter().zip(values).zip(entered.values()) {
            let Some(value) = value else { continue };
            let number = value.as_ref().try_into().map_or(0, u64::from_be_bytes);
            if number <= looked.latest.number {
                done.push((&looked.latest, key, value));
            }
        }
        // One that was asked for since it was looked at goes on waiting: what it needs is not noted.
        let asked: Vec<_> = done.iter().map(|(latest, ..)| (SNAPSHOTS, row_of(latest))).collect();
        let rows = self.store.engine().multi_get(&asked).await?;
        for ((latest, key, value), row) in done.into_iter().zip(rows) {
            if let Some(row) = row {
                let found = records::decode_snapshot(&row_of(latest), &row);
                if found.is_ok_and(|(now, _)| now.asked_at != latest.asked_at) {
                    continue;
                }
                batch.expect(SNAPSHOTS, row_of(latest), Expected::Value(row));
            }
            batch.expect(SNAPSHOT_RUN_DUE, key.clone(), Expected::Value(value));
            batch.delete(SNAPSHOT_RUN_DUE, key);
        }
        Ok(())
    }

    /// Adds to `batch` that the accounts that were looked at stand in the tree, and what needs this.
    async fn enter(
        &self,
        current: &mut Current,
        tree: TreeRoot,
        entered: &BTreeMap<u64, Looked>,
        batch: &mut Batch,
    ) -> Result<TreeUpdate, SnapshotError> {
        let (pages, salts) = (self.pages(), AccountRow::salts());
        let mut changes = BTreeMap::new();
        for (key, looked) in entered {
            let record = looked.latest.record.hash();
            current.taken += u64::from(looked.is_new);
            current.latest_millis = current.latest_millis.max(looked.latest.record.instant.0);
            let address = looked.address.clone();
            let account = AccountId(*key);
            for need in &looked.needs {
                batch.put(SNAPSHOT_RUN_NEEDS, need.key.clone(), need.records.clone());
            }
            changes.insert(*key, Some(AccountRow { account, record, address }));
        }
        let update = update(&pages, current.number, tree, &salts, changes).await?;
        current.pages += update.new_pages.len() as u64;
        current.page_octets += pages::put(&update, current.number, batch);
        Ok(update)
    }
}

/// The key of a snapshot's record.
fn row_of(snapshot: &Snapshot) -> Bytes {
    keep::keys::snapshot(snapshot.record.account, snapshot.number)
}

/// Whether the schedule wants a snapshot behind `latest`: one in each interval since 1970.
fn is_due(interval: i64, latest: Option<&Snapshot>, now: UnixMillis) -> bool {
    latest.is_none_or(|latest| {
        let at = latest.taken().0;
        latest.is_asked_for() || now.0 < at || now.0.div_euclid(interval) > at.div_euclid(interval)
    })
}

/// Whether an account that fails now is left to the next run.
fn gives_up(current: &Current, account: AccountId) -> bool {
    current.phase() == Phase::Again
        || (current.again.len() >= AGAIN_MAX && !current.again.contains(&account.0))
}

/// Moves the run on behind a step.
fn go_on(current: &mut Current, step: &Step, looked_at: u64, next: Option<AccountId>) {
    let phase = current.phase();
    current.looked_at += looked_at;
    if phase == Phase::Again {
        current.failed += step.failures.len() as u64;
    } else {
        for (account, _) in &step.failures {
            if current.again.contains(&account.0) {
                // It failed in the phase before, too.
                continue;
            }
            if current.again.len() < AGAIN_MAX {
                current.again.push(account.0);
            } else {
                current.failed += 1;
            }
        }
    }
    match next {
        Some(account) => current.after = Some(account.0),
        None => current.next_phase(),
    }
}
