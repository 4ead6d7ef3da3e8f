//! The tree of accounts is built anew when a page of it is lost or damaged: runs go on.
//!
//! A step that meets such a page gives up its tree and notes so in the row of the run that takes place.
//! From then on that run enters every account's latest record into an empty tree, changed or not, and is
//! closed like any other; its root is the one that an undamaged tree would have.
//!
//! Whatever is stored of the tree that was given up departs under the run before, as far as no list
//! has it already: nothing says which of these pages are still of it. What the run has written
//! itself nobody else refers to, and goes. That is done first, so that no page of the new tree is there yet.
//!
//! The same is done by the next run when the row is lost that says how far runs are.
//!
//! Runs of before stay as they are: what of their trees can be read goes on proving what it proves.
//!
//! Not here: finding damage that no step meets (`check`).

use std::collections::BTreeSet;

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Reader, Scan},
        pages::Pages,
    },
    ids::AccountId,
};
use trust::digest::Sha256Digest;

use super::{
    Head, Runs,
    keys::{self, DEPARTED_RUN_PAGES, SNAPSHOT_RUN_PAGES, SNAPSHOT_RUNS},
    rows::{Current, HeadRow},
    walk::{Found, Step, StepLimits},
};
use crate::{
    error::SnapshotError,
    keep::lost::{is_damage, is_unreadable},
    tree::{TreeRoot, read::row, row::AccountRow},
};

/// Pages that one step sorts out, 24 octets each; it reads all lists for them.
const PAGES_PER_STEP: usize = 20_000;

/// Entries of lists read at once.
const ENTRIES: usize = 1_000;

/// What the row that says how far runs are would say, by the runs themselves, when it is lost or damaged.
/// What a run that took place had written is not known, so the next one builds the tree anew.
pub(super) async fn head_of_runs(reader: &dyn Reader) -> Result<HeadRow, SnapshotError> {
    let last = Scan { reverse: true, ..Scan::prefix(SNAPSHOT_RUNS, &[], 1) };
    let Some((key, octets)) = reader.scan(&last).await?.pop() else {
        // Pages tell that a first run had begun.
        let pages = reader.scan(&Scan::prefix(SNAPSHOT_RUN_PAGES, &[], 1)).await?;
        return Ok(HeadRow { is_lost: !pages.is_empty(), ..HeadRow::default() });
    };
    let [runs] = keys::numbers(SNAPSHOT_RUNS, &key)?;
    let mut head = HeadRow { runs, is_lost: true, ..HeadRow::default() };
    if let Some(run) = super::readable(&key, &octets)? {
        head.record = run.record.hash().0.to_vec();
        head.closed_millis = run.record.closed.0;
        head.set_tree(run.root);
    }
    Ok(head)
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Anew {
    /// The tree is gone on with.
    No,
    /// Pages of the tree that was given up are sorted out.
    Sorting,
    /// Every account is entered.
    Entering,
}

impl Current {
    pub(super) fn anew(&self) -> Anew {
        match self.anew {
            0 => Anew::No,
            1 => Anew::Sorting,
            _ => Anew::Entering,
        }
    }
}

impl Runs {
    /// Gives up the tree of the run that takes place, of which `cause` says that a page cannot be read.
    pub(super) async fn start_anew(
        &self,
        head: &Head,
        cause: SnapshotError,
    ) -> Result<Step, SnapshotError> {
        let Some(mut current) = head.row.current.clone() else {
            return Err(cause);
        };
        (current.anew, current.sorted) = (1, Vec::new());
        (current.phase, current.after) = (0, None);
        let mut next = head.row.clone();
        next.set_tree(TreeRoot::empty());
        let progress = current.progress();
        next.current = Some(current);
        let mut batch = Batch::default();
        head.advance(&mut batch, &next);
        self.store.commit(batch).await?;
        Ok(Step { progress, given_up: Some(cause), ..Step::default() })
    }

    /// Sorts out some pages of the tree that was given up.
    pub(super) async fn sort_out(&self, head: &Head) -> Result<Step, SnapshotError> {
        let Some(mut current) = head.row.current.clone() else {
            return Ok(Step { done: true, ..Step::default() });
        };
        let scan = Scan::prefix(SNAPSHOT_RUN_PAGES, &[], ENTRIES);
        let start = if current.sorted.is_empty() {
            scan.start.clone()
        } else {
            [&current.sorted[..], &[0]].concat().into()
        };
        let mut stored = Pages::new(Scan { start, ..scan });
        let (mut batch, mut loose) = (Batch::default(), BTreeSet::new());
        let mut last = None;
        while loose.len() + batch.delete.len() < PAGES_PER_STEP {
            let Some(entries) = stored.next(&**self.store.engine()).await? else { break };
            for (key, _) in entries {
                last = Some(key.clone());
                let birth = keys::leading::<1>(SNAPSHOT_RUN_PAGES, &key);
                if birth.is_ok_and(|[birth]| birth < current.number) {
                    loose.insert(key);
                } else {
                    // Of this run, or of none.
                    batch.delete(SNAPSHOT_RUN_PAGES, key);
                }
            }
        }
        without_listed(&**self.store.engine(), &mut loose).await?;
        for page in loose {
            let departed = keys::departed(current.number.saturating_sub(1), &page);
            batch.put(DEPARTED_RUN_PAGES, departed, Bytes::new());
        }
        match last {
            Some(last) if !stored.is_at_end() => current.sorted = last.to_vec(),
            _ => (current.anew, current.sorted) = (2, Vec::new()),
        }
        let progress = current.progress();
        let mut next = head.row.clone();
        next.current = Some(current);
        head.advance(&mut batch, &next);
        self.store.commit(batch).await?;
        Ok(Step { progress, ..Step::default() })
    }

    /// The next accounts of a run that enters all of them: `Found::unchanged` says which ones need no
    /// look at their mailboxes.
    pub(super) async fn find_all(
        &self,
        after: Option<AccountId>,
        limits: StepLimits,
    ) -> Result<Found, SnapshotError> {
        let limit = limits.accounts_max.max(1);
        let accounts = self.store.account_ids(after, limit).await?;
        let mut changed = BTreeSet::new();
        let (mut from, last) = (after, accounts.last().copied());
        while let Some(last) = last {
            let found = self.store.accounts_to_capture(from, limit).await?;
            changed.extend(found.accounts);
            from = found.next;
            if from.is_none_or(|next| next >= last) {
                break;
            }
        }
        let unchanged = accounts.iter().copied().filter(|account| !changed.contains(account));
        Ok(Found {
            looked_at: accounts.len() as u64,
            unchanged: unchanged.collect(),
            next: last.filter(|_| accounts.len() == limit),
            accounts,
            ..Found::default()
        })
    }

    /// The run before that of `current`, when the tree is built anew.
    pub(super) async fn earlier(
        &self,
        current: &Current,
        closed_millis: i64,
    ) -> Result<Option<Earlier>, SnapshotError> {
        if current.anew() == Anew::No {
            return Ok(None);
        }
        let unknown = Earlier { tree: None, begun: closed_millis };
        Ok(Some(match self.run(current.number.saturating_sub(1)).await {
            Ok(Some(run)) => Earlier { tree: Some(run.root), begun: run.took_place().0.0 },
            Ok(None) => unknown,
            Err(SnapshotError::Store(error)) if is_unreadable(&error) => unknown,
            Err(error) => return Err(error),
        }))
    }

    /// The record of an account in the tree of the run before.
    pub(super) async fn entered_by(
        &self,
        earlier: Earlier,
        account: AccountId,
    ) -> Result<Entered, SnapshotError> {
        let Some(tree) = earlier.tree else { return Ok(Entered::Unknown(earlier.begun)) };
        match row::<AccountRow>(&self.pages(), tree, &AccountRow::salts(), account.0).await {
            Ok(row) => Ok(Entered::Known(row.map(|row| row.record))),
            Err(error) if is_damage(&error) => Ok(Entered::Unknown(earlier.begun)),
            Err(error) => Err(error),
        }
    }
}

/// The run before one that builds the tree anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier {
    /// Its tree, of which some pages may be missing.
    tree: Option<TreeRoot>,
    /// When it began.
    begun: i64,
}

/// What is known of an account in an earlier tree.
pub(super) enum Entered {
    /// Its record; `None` = it has none there.
    Known(Option<Sha256Digest>),
    /// Nothing, but that what was taken before this instant stood in that tree or an earlier one.
    Unknown(i64),
}

/// Takes those pages out that stand in a list, by their keys.
pub(super) async fn without_listed(
    reader: &dyn Reader,
    pages: &mut BTreeSet<Bytes>,
) -> Result<(), SnapshotError> {
    if pages.is_empty() {
        return Ok(());
    }
    let mut lists = Pages::prefix(DEPARTED_RUN_PAGES, &[], ENTRIES);
    while let Some(entries) = lists.next(reader).await? {
        for (key, _) in entries {
            if let Some(page) = key.get(8..) {
                pages.remove(page);
            }
        }
    }
    Ok(())
}
