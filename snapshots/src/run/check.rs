//! Says whether the runs' own tree is whole, and whether what is noted for runs is of something.
//!
//! From one state of the catalog, from the latest tree back:
//!
//! * Every run's row reads, is later than the one before, names it where that one is still there, and
//!   its record counts what its tree has. The row that says how far runs are agrees with the last one.
//! * Every page is there and has its hash. Pages that consecutive runs share are read once.
//! * What departed after a run is listed under it, exactly; no other page is stored, and nothing is listed
//!   under a number that no run has.
//! * What needs a run, and what waits for one, reads and is of an account that there is.
//!
//! It holds the names of the pages of one tree, some 50 octets each, and those of a run's list. While a run
//! is being removed, or the tree is built anew, or something cannot be read, what is listed or stored besides
//! is not judged.
//!
//! Not here: signatures and time stamps (the floor above).

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Family, Reader},
        keys::{ACCOUNTS, object},
        pages::Pages,
    },
    error::StoreError,
    ids::AccountId,
};

use super::{
    ClosedRun,
    anew::Anew,
    attest,
    keys::{
        self, DEPARTED_RUN_PAGES, SNAPSHOT_RUN_DUE, SNAPSHOT_RUN_NEEDS, SNAPSHOT_RUN_PAGES,
        SNAPSHOT_RUN_PROGRESS, SNAPSHOT_RUNS,
    },
    pages::RunPages,
    rows::{self, Current, HeadRow},
};
use crate::{
    check::{SnapshotCheckReport, SnapshotFault, damage_of},
    error::SnapshotError,
    tree::{
        PageStore as _, TreeRoot,
        page::{Page, PageId, PageRef},
        row::AccountRow,
    },
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Stored pages that are looked for in all lists at once, when there are too many of them.
const SOUGHT: usize = 20_000;

/// Checks everything that belongs to runs. Damage is reported.
pub(crate) async fn check(
    reader: Arc<dyn Reader>,
    report: &mut SnapshotCheckReport,
) -> Result<(), SnapshotError> {
    let pages = RunPages::new(Arc::clone(&reader));
    let mut check = RunCheck {
        reader,
        pages,
        report,
        judged: true,
        numbers: BTreeSet::new(),
        latest: HashSet::new(),
        later: HashSet::new(),
        listed: 0,
    };
    let runs = check.runs().await?;
    let head = check.head(runs.last()).await?;
    check.chain(&runs);
    check.judged &= runs.iter().all(|run| !run.going);
    check.trees(&runs, head.as_ref()).await?;
    let current = head.as_ref().and_then(|head| head.current.as_ref());
    if check.judged {
        check.listed_under_none().await?;
        check.leftovers(current).await?;
    }
    check.needs(current.map(|current| current.number)).await?;
    check.due().await
}

struct RunCheck<'a> {
    reader: Arc<dyn Reader>,
    pages: RunPages,
    report: &'a mut SnapshotCheckReport,
    /// Whether what is listed and stored can be judged.
    judged: bool,
    /// Every number that a run has, readable or not.
    numbers: BTreeSet<u64>,
    /// Pages of the latest tree.
    latest: HashSet<PageRef>,
    /// Pages of the tree after the one being looked at.
    later: HashSet<PageRef>,
    /// Pages in lists.
    listed: u64,
}

fn name(number: u64) -> String {
    format!("run {number} of snapshots")
}

impl RunCheck<'_> {
    fn violation(&mut self, object: String, fault: SnapshotFault) {
        self.report.violation(object, fault);
    }

    fn damaged(&mut self, error: StoreError) -> Result<(), SnapshotError> {
        let (object, detail) = damage_of(error.into())?;
        self.violation(object, SnapshotFault::Damaged { detail });
        Ok(())
    }

    /// Every run that can be read, ascending.
    async fn runs(&mut self) -> Result<Vec<ClosedRun>, SnapshotError> {
        let mut pages = Pages::prefix(SNAPSHOT_RUNS, &[], PAGE);
        let mut runs = Vec::new();
        while let Some(page) = pages.next(&*self.reader).await? {
            for (key, octets) in page {
                if let Ok([number]) = keys::numbers(SNAPSHOT_RUNS, &key) {
                    self.numbers.insert(number);
                }
                match rows::decode_run(&key, &octets) {
                    Ok(run) => runs.push(run),
                    Err(error) => {
                        self.damaged(error)?;
                        self.judged = false;
                    }
                }
            }
        }
        self.report.seen.runs += runs.len() as u64;
        Ok(runs)
    }

    /// The row that says how far runs are.
    async fn head(&mut self, last: Option<&ClosedRun>) -> Result<Option<HeadRow>, SnapshotError> {
        let octets = self.reader.get(SNAPSHOT_RUN_PROGRESS, &keys::head()).await?;
        let row = object(SNAPSHOT_RUN_PROGRESS, &keys::head());
        let head = match octets.as_ref().map(rows::decode_head).transpose() {
            Ok(head) => head.unwrap_or_default(),
            Err(error) => {
                self.damaged(error)?;
                self.judged = false;
                return Ok(None);
            }
        };
        let highest = self.numbers.last().copied().unwrap_or(0);
        let agrees = head.runs == highest
            && last.is_none_or(|last| {
                last.number() != highest || rows::digest(&head.record) == Some(last.record.hash())
            });
        if !agrees {
            self.violation(row, SnapshotFault::RunsMiscounted);
            self.judged = false;
        }
        // Nothing is known of the tree then, and the next run builds it anew.
        self.judged &= !head.is_lost;
        self.judged &= head.current.as_ref().is_none_or(|current| current.anew() != Anew::Sorting);
        Ok(Some(head))
    }

    fn chain(&mut self, runs: &[ClosedRun]) {
        for pair in runs.windows(2) {
            let [before, after] = pair else { continue };
            if after.record.begun < before.record.closed || after.record.closed < after.record.begun
            {
                self.violation(name(after.number()), SnapshotFault::NotLater);
            }
            let named = after.record.previous;
            let is_next = before.number() + 1 == after.number();
            if is_next && named != Some(before.record.hash()) {
                self.violation(name(after.number()), SnapshotFault::RunChainBroken);
            }
        }
    }

    /// Reads the trees, from the latest back: that of the run that takes place, if one does, first.
    async fn trees(
        &mut self,
        runs: &[ClosedRun],
        head: Option<&HeadRow>,
    ) -> Result<(), SnapshotError> {
        let current = head.and_then(|head| Some((head.current.as_ref()?.number, head.tree())));
        if let Some((number, tree)) = current {
            let before = self.report.seen.violations;
            self.later = self.tree(number, tree).await?;
            self.judged &= self.report.seen.violations == before;
            self.latest.clone_from(&self.later);
        }
        let mut is_latest = current.is_none();
        for run in runs.iter().rev() {
            let number = run.number();
            self.later.retain(|page| page.birth <= number);
            let whole = self.report.seen.violations;
            let departed = self.tree(number, run.root).await?;
            let is_whole = self.report.seen.violations == whole;
            if self.judged && is_whole {
                let listed = if is_latest { HashSet::new() } else { departed.clone() };
                self.list(number, &listed).await?;
            }
            self.judged &= is_whole;
            self.later.extend(departed);
            if is_latest {
                self.latest.clone_from(&self.later);
                is_latest = false;
            }
        }
        Ok(())
    }

    /// Reads the pages of a tree that the one after it has not.
    async fn tree(
        &mut self,
        number: u64,
        root: TreeRoot,
    ) -> Result<HashSet<PageRef>, SnapshotError> {
        let salts = AccountRow::salts();
        let (mut own, mut open) = (HashSet::new(), vec![(root.page, root.rows)]);
        while let Some((page_ref, counted)) = open.pop() {
            if page_ref.id == PageId::empty() || self.later.contains(&page_ref) {
                continue;
            }
            own.insert(page_ref);
            self.report.seen.pages += 1;
            let read = match self.pages.page(page_ref).await {
                Ok(octets) => Page::<AccountRow>::decode(page_ref.id, &octets, &salts),
                Err(error) => Err(error),
            };
            let found = match read {
                Ok(Page::Leaf(rows)) => rows.len() as u64,
                Ok(Page::Inner(_, children)) => {
                    open.extend(children.iter().map(|child| (child.page, child.rows)));
                    children.iter().fold(0, |sum, child| child.rows.saturating_add(sum))
                }
                Err(error) => {
                    let (_, detail) = damage_of(error)?;
                    let fault = SnapshotFault::PageLost { page: page_ref.id, detail };
                    self.violation(name(number), fault);
                    continue;
                }
            };
            if found != counted {
                self.violation(name(number), SnapshotFault::RowsMiscounted { counted, found });
            }
        }
        Ok(own)
    }

    /// Compares what departed after a run with its list.
    async fn list(
        &mut self,
        number: u64,
        departed: &HashSet<PageRef>,
    ) -> Result<(), SnapshotError> {
        let departed: HashSet<Bytes> = departed.iter().map(|page| keys::page(*page)).collect();
        let mut found = 0;
        let mut rows = Pages::prefix(DEPARTED_RUN_PAGES, &keys::run(number), PAGE);
        while let Some(some) = rows.next(&*self.reader).await? {
            for (key, _) in some {
                self.listed += 1;
                if key.get(8..).is_some_and(|page| departed.contains(page)) {
                    found += 1;
                } else {
                    let name = object(DEPARTED_RUN_PAGES, &key);
                    self.violation(name, SnapshotFault::ListedWrongly);
                }
            }
        }
        if found < departed.len() {
            self.violation(name(number), SnapshotFault::NotListed);
            // What is in no list is not told a second time.
            self.judged = false;
        }
        Ok(())
    }

    /// Looks for lists under numbers that no run has.
    async fn listed_under_none(&mut self) -> Result<(), SnapshotError> {
        let mut scan = storage::catalog::engine::Scan::prefix(DEPARTED_RUN_PAGES, &[], 1);
        while let Some((key, _)) = self.reader.scan(&scan).await?.pop() {
            let number = keys::leading::<1>(DEPARTED_RUN_PAGES, &key).ok().map(|[number]| number);
            if !number.is_some_and(|number| self.numbers.contains(&number)) {
                let name = object(DEPARTED_RUN_PAGES, &key);
                self.violation(name, SnapshotFault::ListedUnderNoRun);
                self.judged = false;
            }
            // One entry of each list is enough.
            scan.start = match number.map(|number| number.checked_add(1)) {
                Some(Some(next)) => keys::run(next),
                Some(None) => break,
                None => [&key[..], &[0]].concat().into(),
            };
        }
        Ok(())
    }

    /// Looks for pages that no run has: what is stored is in the latest tree or in a list. Only when
    /// there are more than that they are looked for one by one.
    async fn leftovers(&mut self, current: Option<&Current>) -> Result<(), SnapshotError> {
        let being_written = current.map(|current| current.number);
        let mut stored = Pages::prefix(SNAPSHOT_RUN_PAGES, &[], PAGE);
        let mut count = 0;
        while let Some(some) = stored.next(&*self.reader).await? {
            count += some.len() as u64;
        }
        if !self.judged || count <= self.latest.len() as u64 + self.listed {
            return Ok(());
        }
        let latest: HashSet<Bytes> = self.latest.iter().map(|page| keys::page(*page)).collect();
        let mut stored = Pages::prefix(SNAPSHOT_RUN_PAGES, &[], PAGE);
        let mut sought = BTreeSet::new();
        loop {
            let some = stored.next(&*self.reader).await?;
            let is_end = some.is_none();
            let unknown = some.into_iter().flatten().map(|(key, _)| key);
            sought.extend(unknown.filter(|key| !latest.contains(key)));
            if is_end || sought.len() >= SOUGHT {
                super::anew::without_listed(&*self.reader, &mut sought).await?;
                for key in std::mem::take(&mut sought) {
                    let birth = keys::leading::<1>(SNAPSHOT_RUN_PAGES, &key).ok();
                    if birth.map(|[birth]| birth) != being_written {
                        let name = object(SNAPSHOT_RUN_PAGES, &key);
                        self.violation(name, SnapshotFault::LeftoverOfRuns);
                    }
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }

    /// Checks what needs a run: `current` takes place.
    async fn needs(&mut self, current: Option<u64>) -> Result<(), SnapshotError> {
        let mut rows = Pages::prefix(SNAPSHOT_RUN_NEEDS, &[], PAGE);
        while let Some(some) = rows.next(&*self.reader).await? {
            let mut known = Vec::new();
            for (key, records) in &some {
                match keys::numbers::<3>(SNAPSHOT_RUN_NEEDS, key) {
                    Ok([run, account, _]) => {
                        if !self.numbers.contains(&run) && current != Some(run) {
                            let name = object(SNAPSHOT_RUN_NEEDS, key);
                            self.violation(name, SnapshotFault::ListedUnderNoRun);
                        }
                        known.push((key.clone(), AccountId(account)));
                    }
                    Err(error) => self.damaged(error)?,
                }
                if attest::records_of(records).is_none() {
                    let detail = "its records follow no known layout".to_owned();
                    let name = object(SNAPSHOT_RUN_NEEDS, key);
                    self.violation(name, SnapshotFault::Damaged { detail });
                }
            }
            self.accounts(SNAPSHOT_RUN_NEEDS, known).await?;
        }
        Ok(())
    }

    /// Checks what waits for a run.
    async fn due(&mut self) -> Result<(), SnapshotError> {
        let mut rows = Pages::prefix(SNAPSHOT_RUN_DUE, &[], PAGE);
        while let Some(some) = rows.next(&*self.reader).await? {
            let mut known = Vec::new();
            for (key, number) in some {
                match keys::numbers::<1>(SNAPSHOT_RUN_DUE, &key) {
                    Ok([account]) => known.push((key.clone(), AccountId(account))),
                    Err(error) => self.damaged(error)?,
                }
                if number.len() != 8 {
                    let detail = "its value follows no known layout".to_owned();
                    let name = object(SNAPSHOT_RUN_DUE, &key);
                    self.violation(name, SnapshotFault::Damaged { detail });
                }
            }
            self.accounts(SNAPSHOT_RUN_DUE, known).await?;
        }
        Ok(())
    }

    /// Looks whether there are such accounts.
    async fn accounts(
        &mut self,
        family: Family,
        rows: Vec<(Bytes, AccountId)>,
    ) -> Result<(), SnapshotError> {
        let asked: Vec<_> = rows
            .iter()
            .map(|(_, account)| (ACCOUNTS, storage::catalog::keys::account(*account)))
            .collect();
        let found = self.reader.multi_get(&asked).await?;
        for ((key, _), found) in rows.iter().zip(found) {
            if found.is_none() {
                self.violation(object(family, key), SnapshotFault::NoAccount);
            }
        }
        Ok(())
    }
}
