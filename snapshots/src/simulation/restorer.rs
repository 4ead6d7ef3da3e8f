//! A restorer brings messages of one account back: rows of a snapshot into some mailbox, and jobs, step by
//! step, which go on after a power cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use storage::{
    account::{Account, quota::QuotaRule, tree::SpecialUse},
    catalog::engine::Batch,
    error::StoreError,
    ids::MailboxId,
    mailbox::{
        restore::{ErasedRows, RestoreRows, Restored, RestoredRow},
        view::MessageRow,
    },
};
use trust::clock::Clock as _;

use super::{
    keeper::{all_rows, is_lost, is_put_off},
    ledger::Ledger,
    mail::{RESTORED, is_unknown},
    run::{Life, Stage},
};
use crate::{
    error::SnapshotError,
    keep::tests::copy::{self, Copied, Copy, Octets},
    restore::{
        Target,
        job::{RestoreJob, RestoreState, Scope},
    },
};

/// Jobs of one account that no more are begun.
const ENOUGH: usize = 6;

#[derive(Clone)]
pub(super) struct Restorer {
    pub(super) stage: Arc<Stage>,
    pub(super) life: Arc<Life>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

impl Restorer {
    pub(super) async fn restore(self) {
        loop {
            self.stage.world.sleep("restorer", self.stage.world.below(120)).await;
            match self.one().await {
                // The keeper may have let the snapshot go; a job in place that stopped lets no other begin.
                Ok(())
                | Err(
                    SnapshotError::NoSuchSnapshot { .. }
                    | SnapshotError::InPlaceOpen { .. }
                    | SnapshotError::Store(StoreError::SnapshotExpired { .. }),
                ) => {}
                Err(error) if is_put_off(&error) => {}
                Err(error) if is_lost(&error) => return self.stage.world.break_down(),
                Err(error) => return self.stage.world.blame(format!("a restorer: {error:?}")),
            }
        }
    }

    async fn one(&self) -> Result<(), SnapshotError> {
        let id = self.ledger.lock().expect("no panic").account;
        let account = self.life.store.account(id).await?;
        let jobs = self.life.restores.list(id).await?;
        let open = |job: &&RestoreJob| job.state == RestoreState::Running;
        match (self.stage.world.below(8), jobs.iter().find(open)) {
            (0..=2, _) => self.rows(&account).await,
            (3, Some(job)) => self.stop_and_go(job).await,
            (_, Some(job)) => self.life.restores.step(id, job.number).await.map(|_| ()),
            (_, None) if jobs.len() < ENOUGH => self.begin(&account).await,
            _ => Ok(()),
        }
    }

    fn snapshot(&self) -> Option<u64> {
        let ledger = self.ledger.lock().expect("no panic");
        ledger.kept.iter().nth(self.stage.world.index(ledger.kept.len())).copied()
    }

    /// Brings rows back in one batch, those of messages that still stand and of others.
    async fn rows(&self, account: &Account) -> Result<(), SnapshotError> {
        let Some(number) = self.snapshot() else { return Ok(()) };
        let open = self.life.snapshots.open(account.id(), number).await?;
        let all = all_rows(&open).await?;
        let rows: Vec<MessageRow> =
            all.into_iter().filter(|_| self.stage.world.chance(200)).take(4).collect();
        let request = RestoreRows {
            destination: MailboxId(1),
            rows: rows.iter().map(RestoredRow::from).collect(),
            quota: QuotaRule::Enforce,
            erased: ErasedRows::Skip,
            also: Batch::default(),
        };
        let messages: Vec<u64> = rows.iter().map(|row| self.stage.message(row)).collect();
        let spans = messages.iter().map(|message| (*message, (0, 1)));
        let operation = self.ledger.lock().expect("no panic").begin("rows", spans);
        let outcome = account.restore_rows(request).await;
        let mut ledger = self.ledger.lock().expect("no panic");
        match outcome {
            Ok(Restored { uids, .. }) => {
                let came = messages.into_iter().zip(uids).filter(|(_, uid)| uid.is_some());
                ledger.end(operation, came.map(|(message, _)| (message, 1)));
                Ok(())
            }
            Err(error) if is_unknown(&error) => Err(error.into()),
            Err(error) => {
                ledger.end(operation, []);
                let stands = ledger.kept.contains(&number) && !ledger.leaving.contains(&number);
                match error {
                    // It went with the snapshot, in between.
                    StoreError::NoSuchMessage { .. } if !stands => Ok(()),
                    error => Err(error.into()),
                }
            }
        }
    }

    async fn begin(&self, account: &Account) -> Result<(), SnapshotError> {
        let Some(number) = self.snapshot() else { return Ok(()) };
        let (id, now) = (account.id(), self.stage.calendar.now());
        let restores = &self.life.restores;
        if !self.stage.world.chance(250) {
            let target = Target::Into(RESTORED.to_owned());
            return restores.begin(id, number, Scope::default(), target, now).await.map(|_| ());
        }
        let open = self.life.snapshots.open(id, number).await?;
        let operation = expect_all(&self.stage, &self.ledger, &all_rows(&open).await?);
        match restores.begin(id, number, Scope::default(), Target::InPlace, now).await {
            // What it brings is seen at the next inspection.
            Ok(_) => Ok(()),
            Err(SnapshotError::Store(error)) if is_unknown(&error) => Err(error.into()),
            Err(error) => {
                self.ledger.lock().expect("no panic").end(operation, []);
                Err(error)
            }
        }
    }

    /// Stops a job, and mostly lets it go on.
    async fn stop_and_go(&self, job: &RestoreJob) -> Result<(), SnapshotError> {
        if self.stage.world.chance(100) {
            self.life.restores.cancel(job.account, job.number, &Batch::default()).await?;
        } else {
            self.life.restores.resume(job.account, job.number, &Batch::default()).await?;
        }
        Ok(())
    }
}

/// Notes that each row of a snapshot may come once more.
fn expect_all(stage: &Stage, ledger: &Mutex<Ledger>, rows: &[MessageRow]) -> u64 {
    let spans = rows.iter().map(|row| (stage.message(row), (0, 1)));
    ledger.lock().expect("no panic").begin("a job in place", spans)
}

/// Notes what jobs in place may still bring: what they have not looked at yet.
pub(super) fn expect_jobs(
    stage: &Stage,
    ledger: &mut Ledger,
    jobs: &[(RestoreJob, Option<Arc<Copy>>)],
) {
    for (job, copy) in jobs {
        let is_open = matches!(job.state, RestoreState::Running | RestoreState::Stopped);
        if let Some(copy) = copy.as_ref().filter(|_| is_open && job.root.is_none()) {
            let at = job.position.map(|position| (position.mailbox, position.after));
            let rows =
                copy.iter().flat_map(|(id, copied)| copied.rows.iter().map(|row| (*id, row)));
            let left = rows.filter(|(id, row)| at.is_none_or(|at| (*id, Some(row.uid)) > at));
            ledger.begin("a job goes on", left.map(|(_, row)| (stage.message(row), (0, 1))));
        }
    }
}

/// With nobody else there: after a job in place everything of the snapshot stands in the account, and a
/// second one brings nothing.
pub(super) async fn bring_all_back(
    stage: &Stage,
    life: &Life,
    ledger: &Mutex<Ledger>,
) -> Result<(), SnapshotError> {
    let (id, kept) = {
        let ledger = ledger.lock().expect("no panic");
        (ledger.account, ledger.kept.clone())
    };
    let Some(number) = kept.iter().nth(stage.world.index(kept.len())).copied() else {
        return Ok(());
    };
    for job in life.restores.list(id).await?.iter().filter(|job| !job.state.is_end()) {
        life.restores.cancel(id, job.number, &Batch::default()).await?;
    }
    let open = life.snapshots.open(id, number).await?;
    expect_all(stage, ledger, &all_rows(&open).await?);
    let before = copy::read(&open, Octets::Without).await?;
    for is_second in [false, true] {
        let (scope, at) = (Scope::default(), stage.calendar.now());
        let mut job = life.restores.begin(id, number, scope, Target::InPlace, at).await?;
        while job.state == RestoreState::Running {
            job = life.restores.step(id, job.number).await?.expect("the job");
        }
        if job.state != RestoreState::Done || job.unreadable > 0 || (is_second && job.restored > 0)
        {
            stage.world.blame(format!("nobody else was there: {job:?}"));
        }
    }
    let now = copy::live(open.account(), Octets::Without).await;
    let erasing = ledger.lock().expect("no panic").erasing.clone();
    let is_aside = |copy: &Copy, name: &str| {
        let uses = [Some(SpecialUse::Junk), Some(SpecialUse::Trash)];
        let bins = copy.values().filter(|copied| uses.contains(&copied.special_use));
        bins.map(|bin| bin.name.as_str()).chain([RESTORED]).any(|aside| name.starts_with(aside))
    };
    let digests = |copied: &Copied| copied.rows.iter().map(|row| row.digest).collect::<Vec<_>>();
    let everywhere: BTreeSet<_> = now.values().flat_map(digests).collect();
    let kept = now.values().filter(|copied| !is_aside(&now, &copied.name));
    let kept: BTreeSet<_> = kept.flat_map(digests).collect();
    for copied in before.values() {
        let there = if is_aside(&before, &copied.name) { &everywhere } else { &kept };
        let is_missing = |row: &&MessageRow| {
            !there.contains(&row.digest) && !erasing.contains(&row.email_number)
        };
        if let Some(row) = copied.rows.iter().find(is_missing) {
            let text = format!("snapshot {number} of {id}: {} lacks {row:?}", copied.name);
            stage.world.blame(format!("after a restore in place, {text}"));
        }
    }
    Ok(())
}

/// What is wrong with what a finished job brought that did not go in place: all of its snapshot, in its order, but what was erased.
pub(super) fn complaint(
    job: &RestoreJob,
    before: &Copy,
    now: &Copy,
    ledger: &Ledger,
) -> Option<String> {
    let root = job.root.as_ref().filter(|_| job.state == RestoreState::Done)?;
    if job.unreadable > 0 {
        return Some(format!("{job:?}: messages could not be read"));
    }
    let found: BTreeMap<&str, &Vec<MessageRow>> =
        now.values().map(|copied| (copied.name.as_str(), &copied.rows)).collect();
    for copied in before.values() {
        let name = format!("{root}/{}", copied.name);
        let Some(rows) = found.get(name.as_str()) else {
            return Some(format!("{job:?} left no mailbox {name}"));
        };
        let mut rows = rows.iter().peekable();
        for row in &copied.rows {
            let same = rows.next_if(|found| {
                (found.digest, &found.flags, found.internal_date)
                    == (row.digest, &row.flags, row.internal_date)
            });
            if same.is_none() && !ledger.erasing.contains(&row.email_number) {
                return Some(format!("{job:?}: {name} lacks {row:?}"));
            }
        }
        if let Some(more) = rows.next() {
            return Some(format!("{job:?}: {name} has {more:?} besides"));
        }
    }
    None
}
