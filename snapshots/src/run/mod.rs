//! Runs: at one instant after the other, one root over the latest records of all accounts.
//!
//! * A run walks over the accounts that may have changed, takes a snapshot of each ([`walk`]) and
//!   enters its record into one ordered tree ([`AccountRow`]), in bounded steps. Where it is stands in
//!   a row: a process that was killed goes on there.
//! * It is closed with a [`RunRecord`], which names the root and the run before. That record is what
//!   the floor above signs and has time-stamped: one signature for all accounts.
//! * The tree's pages are those of the run before but for what changed: they have births and are
//!   listed when they depart, like the pages of accounts ([`pages`]).
//! * Runs are thinned by the same covering rule as snapshots ([`thin`]), so that for each snapshot that is
//!   kept by schedule a run is kept that has it as its account's latest; those that are kept for another
//!   reason, or stand in no run themselves, are noted as needing one ([`attest`]).
//! * A tree of which a page cannot be read is built anew ([`anew`]).
//! * One batch of a run at a time; every batch expects the row that it was computed from.
//!
//! Not here: when a run takes place, how fast it goes, signatures (the floor above).
//!
//! [`AccountRow`]: crate::tree::row::AccountRow

mod anew;
mod asked;
pub mod attest;
pub(crate) mod check;
pub mod keys;
mod pages;
pub mod record;
mod rows;
pub mod thin;
pub mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use storage::{
    catalog::{
        engine::{Batch, Expected, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
    ids::AccountId,
    store::Store,
};
use tokio::sync::Mutex;
use trust::clock::UnixMillis;

use self::{
    keys::{SNAPSHOT_RUN_PROGRESS, SNAPSHOT_RUNS},
    pages::RunPages,
    record::RunRecord,
    rows::{Current, HeadRow, RunRow},
};
use crate::{
    error::SnapshotError,
    keep::{Snapshots, lost::is_unreadable},
    tree::TreeRoot,
};

/// Runs read at once.
const PAGE: usize = 100;

/// A run that was closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClosedRun {
    /// Its record.
    pub record: RunRecord,
    /// The tree of accounts.
    pub root: TreeRoot,
    /// The provider's detached signature of the record, CMS in DER; `None` until it is made.
    pub signature: Option<Vec<u8>>,
    /// The time stamp of the signature; `None` until there is one.
    pub stamp: Option<Vec<u8>>,
    /// It is being removed: nobody opens it any more.
    going: bool,
    /// What the clock said when it began and when it was closed, where the record says otherwise: a clock
    /// had been ahead, and instants ascend.
    clock: (Option<UnixMillis>, Option<UnixMillis>),
}

/// How far the run that takes place is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RunProgress {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub begun: UnixMillis,
    /// The instant that it is to cover.
    pub due: UnixMillis,
    /// Accounts that were looked at.
    pub looked_at: u64,
    /// Snapshots taken.
    pub taken: u64,
    /// Accounts that failed.
    pub failed: u64,
    /// New pages of the tree of accounts.
    pub pages: u64,
    /// Octets of these.
    pub page_octets: u64,
}

/// Takes snapshots of all accounts, run by run.
pub struct Runs {
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    /// One batch at a time.
    one: Mutex<()>,
    /// Who takes a snapshot for the holder of an account holds the account's place.
    asked: Vec<Mutex<()>>,
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runs").finish_non_exhaustive()
    }
}

/// The head as it stands, with the octets that the next batch expects.
struct Head {
    row: HeadRow,
    found: Option<bytes::Bytes>,
}

impl Head {
    async fn read(reader: &dyn Reader) -> Result<Self, SnapshotError> {
        let found = reader.get(SNAPSHOT_RUN_PROGRESS, &keys::head()).await?;
        let row = match found.as_ref().map(rows::decode_head).transpose() {
            Ok(Some(row)) => row,
            Ok(None) => anew::head_of_runs(reader).await?,
            Err(error) if is_unreadable(&error) => {
                tracing::error!(%error, "it is not known how far runs of snapshots are: the next one builds the tree of accounts anew");
                anew::head_of_runs(reader).await?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { row, found })
    }

    /// Adds to `batch` that the head becomes `next`.
    fn advance(&self, batch: &mut Batch, next: &HeadRow) {
        let expected = self.found.clone().map_or(Expected::Absent, Expected::Value);
        batch.expect(SNAPSHOT_RUN_PROGRESS, keys::head(), expected);
        batch.put(SNAPSHOT_RUN_PROGRESS, keys::head(), rows::encode(next));
    }
}

impl Runs {
    /// Runs over the accounts of `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, snapshots: Arc<Snapshots>) -> Arc<Self> {
        let asked = (0..asked::PLACES).map(|_| Mutex::default()).collect();
        Arc::new(Self { store, snapshots, one: Mutex::new(()), asked })
    }

    /// The snapshots of single accounts.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    fn pages(&self) -> RunPages {
        let engine: Arc<dyn Reader> = self.store.engine().clone();
        RunPages::new(engine)
    }

    /// The run that takes place, if one does.
    pub async fn progress(&self) -> Result<Option<RunProgress>, SnapshotError> {
        let head = Head::read(&**self.store.engine()).await?;
        Ok(head.row.current.as_ref().map(Current::progress))
    }

    /// The latest closed run, of those that can be read.
    pub async fn latest(&self) -> Result<Option<ClosedRun>, SnapshotError> {
        let scan = Scan { reverse: true, ..Scan::prefix(SNAPSHOT_RUNS, &[], 2) };
        let mut pages = Pages::new(scan);
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, octets) in page {
                if let Some(run) = readable(&key, &octets)?.filter(|run| !run.going) {
                    return Ok(Some(run));
                }
            }
        }
        Ok(None)
    }

    /// The instant that the last closed run was to cover. Unlike the instants of its record, which
    /// ascend from run to run, it is what the clock said, even after a clock that was ahead.
    pub async fn covered(&self) -> Result<Option<UnixMillis>, SnapshotError> {
        let head = Head::read(&**self.store.engine()).await?;
        Ok(head.row.covered_millis.map(UnixMillis))
    }

    /// Begins a run that is to cover `due`, or returns the one that takes place already.
    pub async fn begin(
        &self,
        due: UnixMillis,
        now: UnixMillis,
    ) -> Result<RunProgress, SnapshotError> {
        let _one = self.one.lock().await;
        let head = Head::read(&**self.store.engine()).await?;
        if let Some(current) = &head.row.current {
            return Ok(current.progress());
        }
        let number = head.row.runs.checked_add(1).ok_or(StoreError::Exhausted("runs"))?;
        // However the clock is set back: a run begins behind the one before.
        let begun = now.0.max(head.row.closed_millis);
        let current = Current {
            number,
            begun_millis: begun,
            begun_clock_millis: (begun != now.0).then_some(now.0),
            due_millis: due.0,
            anew: u32::from(head.row.is_lost),
            ..Current::default()
        };
        let progress = current.progress();
        let mut batch = Batch::default();
        let mut next = HeadRow { current: Some(current), is_lost: false, ..head.row.clone() };
        if head.row.is_lost {
            next.set_tree(TreeRoot::empty());
        }
        head.advance(&mut batch, &next);
        self.store.commit(batch).await?;
        Ok(progress)
    }

    /// Closes the run that takes place; `None` when none does, or when it is not at its end.
    pub async fn close(&self, now: UnixMillis) -> Result<Option<ClosedRun>, SnapshotError> {
        let _one = self.one.lock().await;
        let head = Head::read(&**self.store.engine()).await?;
        let Some(current) = head.row.current.as_ref().filter(|current| current.is_done()) else {
            return Ok(None);
        };
        let root = head.row.tree();
        let record = RunRecord {
            number: current.number,
            begun: UnixMillis(current.begun_millis),
            closed: UnixMillis(now.0.max(current.begun_millis).max(current.latest_millis)),
            root: root.page.id,
            accounts: root.rows,
            previous: rows::digest(&head.row.record),
        };
        let closed_clock = (record.closed != now).then_some(now);
        let clock = (current.begun_clock_millis.map(UnixMillis), closed_clock);
        let run = ClosedRun { record, root, signature: None, stamp: None, going: false, clock };
        let next = HeadRow {
            runs: run.record.number,
            record: run.record.hash().0.to_vec(),
            closed_millis: run.record.closed.0,
            covered_millis: Some(current.due_millis),
            current: None,
            ..head.row.clone()
        };
        let mut batch = Batch::default();
        let key = keys::run(run.record.number);
        batch.expect(SNAPSHOT_RUNS, key.clone(), Expected::Absent);
        batch.put(SNAPSHOT_RUNS, key, rows::encode(&RunRow::of(&run)));
        head.advance(&mut batch, &next);
        self.store.commit(batch).await?;
        Ok(Some(run))
    }

    /// The run `number`, `None` when there is none (any more).
    pub async fn run(&self, number: u64) -> Result<Option<ClosedRun>, SnapshotError> {
        let key = keys::run(number);
        let found = self.store.engine().get(SNAPSHOT_RUNS, &key).await?;
        let run = found.map(|octets| rows::decode_run(&key, &octets)).transpose()?;
        Ok(run.filter(|run| !run.going))
    }

    /// Every run that is kept, ascending; those whose rows are damaged are left out, of which the log
    /// speaks.
    pub async fn list(&self) -> Result<Vec<ClosedRun>, SnapshotError> {
        let all = self.all().await?;
        Ok(all.into_iter().filter_map(|(_, run)| run.filter(|run| !run.going)).collect())
    }

    /// When the latest run was closed that has a time stamp, by the clock of then.
    pub async fn stamped(&self) -> Result<Option<UnixMillis>, SnapshotError> {
        let runs = self.list().await?;
        let stamped = runs.into_iter().rfind(|run| run.stamp.is_some());
        Ok(stamped.map(|run| run.took_place().1))
    }

    /// Every run that is there, ascending, those that are going too, by their numbers; `None` = its row
    /// cannot be read.
    async fn all(&self) -> Result<Vec<(u64, Option<ClosedRun>)>, SnapshotError> {
        let mut pages = Pages::new(Scan::prefix(SNAPSHOT_RUNS, &[], PAGE));
        let mut runs = Vec::new();
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, octets) in page {
                let run = readable(&key, &octets)?;
                if let Ok([number]) = keys::numbers::<1>(SNAPSHOT_RUNS, &key) {
                    runs.push((number, run));
                }
            }
        }
        Ok(runs)
    }

    /// Adds signature or time stamp to a run; nothing when the run is gone or has them. What is there
    /// is never replaced.
    pub async fn seal(
        &self,
        number: u64,
        signature: Option<Vec<u8>>,
        stamp: Option<Vec<u8>>,
    ) -> Result<(), SnapshotError> {
        let _one = self.one.lock().await;
        let key = keys::run(number);
        let Some(octets) = self.store.engine().get(SNAPSHOT_RUNS, &key).await? else {
            return Ok(());
        };
        let mut run = rows::decode_run(&key, &octets)?;
        run.signature = run.signature.or(signature);
        run.stamp = run.stamp.or(stamp);
        let mut batch = Batch::default();
        batch.expect(SNAPSHOT_RUNS, key.clone(), Expected::Value(octets));
        batch.put(SNAPSHOT_RUNS, key, rows::encode(&RunRow::of(&run)));
        self.store.commit(batch).await?;
        Ok(())
    }
}

/// The run under `key`; `None` when its row is damaged.
fn readable(key: &[u8], octets: &[u8]) -> Result<Option<ClosedRun>, StoreError> {
    match rows::decode_run(key, octets) {
        Ok(run) => Ok(Some(run)),
        Err(error) if is_unreadable(&error) => {
            tracing::warn!(%error, "a run of snapshots cannot be read and is passed over: restore it from a back-up");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl ClosedRun {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// When it took place, by the clock of then: from when to when.
    fn took_place(&self) -> (UnixMillis, UnixMillis) {
        let (begun, closed) = self.clock;
        (begun.unwrap_or(self.record.begun), closed.unwrap_or(self.record.closed))
    }
}

/// The batch part that has a run enter a snapshot: without it the account would count as unchanged,
/// when the snapshot was taken between two runs, or by a step that was cut off.
pub(crate) fn note_due(batch: &mut Batch, account: AccountId, number: u64) {
    batch.put(keys::SNAPSHOT_RUN_DUE, keys::due(account), number.to_be_bytes().to_vec());
}
