//! Says whether snapshots keep what they promise: invariant 6, a snapshot never changes and stays
//! complete until its retention ends.
//!
//! For each account, from one state of it:
//!
//! * Every record reads, is later than the one before, names it where that one is still there, and
//!   counts what its state has.
//! * Every state and every page is there and has its hash; every row of it leads to a message of the
//!   account with the row's digest, or to one that was erased.
//! * What departed after a snapshot is listed under it, exactly; no other page is stored. Nothing is
//!   listed, be it pages or messages, under a number that no snapshot has.
//!
//! Then the runs' own tree (`run::check`), and restores: each reads and is of an account.
//!
//! It reads only, beside running takes. Pages that consecutive snapshots share are read once. It holds
//! the names of an account's stored pages, some 50 octets each, and its records, some 250 each. Of an account with a snapshot that is
//! going, or one being taken, what is not reachable is not judged: it is on its way out or in.
//!
//! Not here: messages and chunks (`storage::check`).

use std::collections::HashSet;

use storage::{
    account::{Account, capture::AccountState},
    catalog::{
        engine::{Reader, Scan},
        keys::{DEPARTED_MESSAGES, KeyReader, object},
        pages::Pages,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    store::Store,
};
use trust::digest::Sha256Digest;

use crate::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    keep::{
        account_entry, all_snapshots,
        keys::{self, DEPARTED_PAGES, DepartedKey, PageKey, SNAPSHOT_PAGES, SNAPSHOTS},
        open::state_at,
        pages::CatalogPages,
        records::decode_snapshot,
        snapshot::Snapshot,
    },
    restore::job::{RestoreJob, SNAPSHOT_RESTORES},
    state::State,
    tree::{
        PageStore as _, TreeRoot,
        page::{Page, PageId, PageRef},
        row::{ContentRow, FlagsRow, Row},
    },
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Lists of pages read at once.
const LISTS: usize = 16;

/// Violations kept in the report; the others are only counted.
const VIOLATIONS_MAX: usize = 1_000;

/// The invariant that is checked, by its number in the list of invariants.
pub const INVARIANT: u8 = 6;

/// What can be wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum SnapshotFault {
    #[error("{detail}")]
    Damaged { detail: String },
    #[error("it is of no account")]
    NoAccount,
    #[error("the account's secret is missing")]
    NoSecret,
    #[error("it is not later than the one before it")]
    NotLater,
    #[error("it does not name the snapshot before it")]
    ChainBroken,
    #[error("its record counts something else than its state has")]
    Miscounted,
    #[error("its page {page} is missing or damaged: {detail}")]
    PageLost { page: PageId, detail: String },
    #[error("a tree has {found} rows where {counted} are counted")]
    RowsMiscounted { counted: u64, found: u64 },
    #[error("message {message} of UID {uid} is missing or another")]
    MessageLost { message: u64, uid: u64 },
    #[error("a page that departed after it is not listed")]
    NotListed,
    #[error("a page is listed that did not depart after it")]
    ListedWrongly,
    #[error("what is listed departed after a snapshot that there is not")]
    ListedUnderNone,
    #[error("the page belongs to no snapshot")]
    Leftover,
    #[error("it does not name the run before it")]
    RunChainBroken,
    #[error("it says something else of the last run than that one's row")]
    RunsMiscounted,
    #[error("it is of a run that there is not")]
    ListedUnderNoRun,
    #[error("the page belongs to no run")]
    LeftoverOfRuns,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotViolation {
    /// Account and snapshot, or key.
    pub object: String,
    /// What was found.
    pub fault: SnapshotFault,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnapshotCheckProgress {
    /// Accounts finished.
    pub accounts: u64,
    /// Snapshots seen.
    pub snapshots: u64,
    /// Pages read.
    pub pages: u64,
    /// Rows of content looked up.
    pub rows: u64,
    /// Snapshots that are half forgotten: thinning out finishes them.
    pub going: u64,
    /// Runs whose trees were read.
    pub runs: u64,
    /// Violations found.
    pub violations: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SnapshotCheckReport {
    /// How much was looked at, and how many violations there are.
    pub seen: SnapshotCheckProgress,
    /// The first violations, at most 1,000.
    pub violations: Vec<SnapshotViolation>,
}

impl SnapshotCheckReport {
    /// Says whether the invariant holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.seen.violations == 0
    }

    pub(crate) fn violation(&mut self, object: String, fault: SnapshotFault) {
        self.seen.violations += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(SnapshotViolation { object, fault });
        }
    }
}

/// Called from time to time while a check runs.
pub type Progress<'p> = &'p (dyn Fn(&SnapshotCheckProgress) + Send + Sync);

/// Checks the snapshots of every account. Damage is reported; an error means that the engine did not
/// answer.
pub async fn run(
    store: &Store,
    progress: Progress<'_>,
) -> Result<SnapshotCheckReport, SnapshotError> {
    let mut report = SnapshotCheckReport::default();
    let mut after = None;
    loop {
        let accounts = store.account_ids(after, PAGE).await?;
        let Some(last) = accounts.last() else { break };
        after = Some(*last);
        for id in &accounts {
            let account = match store.account(*id).await {
                Ok(account) => account,
                // It was removed meanwhile.
                Err(StoreError::NoSuchAccount(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            AccountCheck::run(store, &account, &mut report).await?;
            report.seen.accounts += 1;
            progress(&report.seen);
        }
    }
    restores(store, &mut report).await?;
    crate::run::check::check(store.engine().snapshot().await?, &mut report).await?;
    progress(&report.seen);
    Ok(report)
}

/// Looks whether every restore reads and is of an account that there is.
async fn restores(store: &Store, report: &mut SnapshotCheckReport) -> Result<(), SnapshotError> {
    let mut pages = Pages::prefix(SNAPSHOT_RESTORES, &[], PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            let job = match RestoreJob::decode(&key, &value) {
                Ok(job) => job,
                Err(error) => {
                    let (object, detail) = damage_of(error.into())?;
                    report.violation(object, SnapshotFault::Damaged { detail });
                    continue;
                }
            };
            match store.account(job.account).await {
                Ok(_) => {}
                Err(StoreError::NoSuchAccount(_)) => {
                    report.violation(object(SNAPSHOT_RESTORES, &key), SnapshotFault::NoAccount);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Turns damage into a violation; other errors end the check.
pub(crate) fn damage_of(error: SnapshotError) -> Result<(String, String), SnapshotError> {
    match error {
        SnapshotError::Damaged { object, detail } => Ok((object, detail.to_owned())),
        SnapshotError::Store(StoreError::Damaged { object, detail }) => Ok((object, detail)),
        // A store of a newer program is not opened: an octet is another.
        SnapshotError::Store(StoreError::TooNew { object, found, known }) => {
            Ok((object, format!("its format {found} is above {known}")))
        }
        SnapshotError::PageMissing(page) => {
            Ok((format!("page {page}"), "it is missing".to_owned()))
        }
        other => Err(other),
    }
}

struct AccountCheck<'a> {
    store: &'a Store,
    account: &'a Account,
    id: AccountId,
    state: AccountState,
    pages: CatalogPages,
    secret: SnapshotSecret,
    /// Pages of the snapshot after the one being looked at.
    later: HashSet<PageKey>,
    /// Pages that belong to some snapshot.
    known: HashSet<PageKey>,
    report: &'a mut SnapshotCheckReport,
}

impl<'a> AccountCheck<'a> {
    async fn run(
        store: &'a Store,
        account: &'a Account,
        report: &'a mut SnapshotCheckReport,
    ) -> Result<(), SnapshotError> {
        let id = account.id();
        let state = match account.state().await {
            Ok(state) => state,
            // That a head is lost is told by the check of the store.
            Err(StoreError::NoSuchAccount(_)) => return Ok(()),
            Err(error) => {
                let (object, detail) = damage_of(error.into())?;
                report.violation(object, SnapshotFault::Damaged { detail });
                return Ok(());
            }
        };
        let reader = state.reader().clone();
        let all = match all_snapshots(&*reader, id).await {
            Ok(all) => all,
            Err(error) => {
                let (object, detail) = damage_of(error)?;
                report.violation(object, SnapshotFault::Damaged { detail });
                return Ok(());
            }
        };
        let numbers = all.iter().map(|(snapshot, _)| snapshot.number).collect();
        stray_lists(&*reader, id, &numbers, report).await?;
        let going = all.iter().filter(|(_, going)| *going).count() as u64;
        let kept: Vec<Snapshot> =
            all.into_iter().filter(|(_, going)| !going).map(|(snapshot, _)| snapshot).collect();
        report.seen.going += going;
        report.seen.snapshots += kept.len() as u64;
        let secret = match account_entry(&*reader, id).await {
            Ok((entry, _)) => entry.secret,
            Err(error) => {
                let (object, detail) = damage_of(error)?;
                report.violation(object, SnapshotFault::Damaged { detail });
                return Ok(());
            }
        };
        let Some(secret) = secret else {
            if !kept.is_empty() {
                report.violation(format!("account {id}"), SnapshotFault::NoSecret);
            }
            return Ok(());
        };
        let pages = CatalogPages::new(reader, id);
        let (later, known) = (HashSet::new(), HashSet::new());
        let mut check = Self { store, account, id, state, pages, secret, later, known, report };
        check.chain(&kept);
        let is_whole = check.snapshots(&kept, going == 0).await?;
        if going == 0 && is_whole { check.leftovers().await } else { Ok(()) }
    }

    fn name(&self, number: u64) -> String {
        format!("snapshot {number} of account {}", self.id)
    }

    fn reader(&self) -> &dyn Reader {
        &**self.state.reader()
    }

    fn chain(&mut self, kept: &[Snapshot]) {
        for pair in kept.windows(2) {
            let [before, after] = pair else { continue };
            if after.record.instant.seconds() <= before.record.instant.seconds() {
                self.report.violation(self.name(after.number), SnapshotFault::NotLater);
            }
            let named = after.record.previous;
            let is_next = before.number + 1 == after.number;
            if named.is_none() || is_next && named != Some(before.record.hash()) {
                self.report.violation(self.name(after.number), SnapshotFault::ChainBroken);
            }
        }
    }

    /// Goes from the latest snapshot back; says whether all of them could be read.
    async fn snapshots(&mut self, kept: &[Snapshot], lists: bool) -> Result<bool, SnapshotError> {
        let before = self.report.seen.violations;
        for (at, snapshot) in kept.iter().enumerate().rev() {
            let state = match state_at(self.reader(), snapshot, &self.secret).await {
                Ok(state) => state,
                Err(error) => {
                    let (_, detail) = damage_of(error)?;
                    let fault = SnapshotFault::Damaged { detail };
                    self.report.violation(self.name(snapshot.number), fault);
                    continue;
                }
            };
            let root = PageId(snapshot.record.state_root.0);
            self.known.insert(PageRef { birth: snapshot.number, id: root }.into());
            let record = &snapshot.record;
            let counted = (record.messages, record.octets, u64::from(record.mailboxes));
            let found = (state.messages(), state.octets(), state.mailboxes.len() as u64);
            if counted != found {
                self.report.violation(self.name(snapshot.number), SnapshotFault::Miscounted);
            }
            self.later.retain(|page| page.birth <= snapshot.number);
            let departed = self.trees(snapshot, &state).await?;
            if lists {
                let is_latest = at + 1 == kept.len();
                self.list(snapshot.number, &departed, is_latest).await?;
            }
            self.known.extend(departed.iter().copied());
            self.later.extend(departed);
        }
        Ok(self.report.seen.violations == before)
    }

    /// Reads the pages that the snapshot has and the one after it has not.
    async fn trees(
        &mut self,
        snapshot: &Snapshot,
        state: &State,
    ) -> Result<HashSet<PageKey>, SnapshotError> {
        let mut own = HashSet::new();
        for (id, entry) in &state.mailboxes {
            self.tree::<ContentRow>(snapshot, *id, entry.content, &mut own).await?;
            self.tree::<FlagsRow>(snapshot, *id, entry.flags, &mut own).await?;
        }
        Ok(own)
    }

    async fn tree<R: CheckedRow>(
        &mut self,
        snapshot: &Snapshot,
        mailbox: MailboxId,
        root: TreeRoot,
        own: &mut HashSet<PageKey>,
    ) -> Result<(), SnapshotError> {
        let salts = Salts::new(self.secret.clone(), mailbox);
        let mut open = vec![(root.page, root.rows)];
        while let Some((page_ref, counted)) = open.pop() {
            if page_ref.id == PageId::empty() || self.later.contains(&page_ref.into()) {
                continue;
            }
            own.insert(page_ref.into());
            self.report.seen.pages += 1;
            let read = match self.pages.page(page_ref).await {
                Ok(octets) => Page::<R>::decode(page_ref.id, &octets, &salts),
                Err(error) => Err(error),
            };
            let found = match read {
                Ok(Page::Leaf(rows)) => {
                    self.messages(snapshot, &rows).await?;
                    rows.len() as u64
                }
                Ok(Page::Inner(_, children)) => {
                    open.extend(children.iter().map(|child| (child.page, child.rows)));
                    children.iter().fold(0, |sum, child| child.rows.saturating_add(sum))
                }
                Err(error) => {
                    let (_, detail) = damage_of(error)?;
                    let fault = SnapshotFault::PageLost { page: page_ref.id, detail };
                    self.report.violation(self.name(snapshot.number), fault);
                    continue;
                }
            };
            if found != counted {
                let fault = SnapshotFault::RowsMiscounted { counted, found };
                self.report.violation(self.name(snapshot.number), fault);
            }
        }
        Ok(())
    }

    /// Looks up the message of each row.
    async fn messages<R: CheckedRow>(
        &mut self,
        snapshot: &Snapshot,
        rows: &[R],
    ) -> Result<(), SnapshotError> {
        for (row, (number, digest)) in rows.iter().filter_map(|row| Some((row, row.message()?))) {
            self.report.seen.rows += 1;
            let stands = match self.account.stored(number).await {
                Ok(stored) => stored.digest() == digest,
                Err(StoreError::Erased { .. }) => true,
                Err(
                    StoreError::NoSuchMessage { .. }
                    | StoreError::Damaged { .. }
                    | StoreError::TooNew { .. },
                ) => false,
                Err(error) => return Err(error.into()),
            };
            let stands = stands && number < snapshot.email_numbers_below;
            // Messages are read as they are now: the snapshot may have gone meanwhile.
            if !stands && is_kept(self.store, self.id, snapshot.number).await? {
                let fault = SnapshotFault::MessageLost { message: number.0, uid: Row::key(row) };
                self.report.violation(self.name(snapshot.number), fault);
            }
        }
        Ok(())
    }

    /// Compares what departed after a snapshot with its list.
    async fn list(
        &mut self,
        number: u64,
        departed: &HashSet<PageKey>,
        is_latest: bool,
    ) -> Result<(), SnapshotError> {
        let mut listed = HashSet::new();
        let mut rows = Pages::prefix(DEPARTED_PAGES, &keys::snapshot(self.id, number), LISTS);
        while let Some(some) = rows.next(&**self.state.reader()).await? {
            for (key, list) in some {
                let pages = DepartedKey::parse(&key)
                    .and_then(|row| Ok((row, keys::departed_pages(&key, &list)?)));
                let is_right = match pages {
                    Ok((row, pages)) => {
                        let are_new = pages
                            .iter()
                            .all(|page| departed.contains(page) && listed.insert(*page));
                        !is_latest && row.first >= number && are_new
                    }
                    Err(_) => false,
                };
                if !is_right {
                    let name = object(DEPARTED_PAGES, &key);
                    self.report.violation(name, SnapshotFault::ListedWrongly);
                }
            }
        }
        if !is_latest && listed.len() < departed.len() {
            self.report.violation(self.name(number), SnapshotFault::NotListed);
        }
        Ok(())
    }

    /// Looks for pages that no snapshot has. Those born by the snapshot to come are being written.
    async fn leftovers(&mut self) -> Result<(), SnapshotError> {
        let next = self.state.next_snapshot();
        let mut pages = Pages::prefix(SNAPSHOT_PAGES, &keys::account(self.id), PAGE);
        while let Some(page) = pages.next(&**self.state.reader()).await? {
            for (key, _) in page {
                let page = PageKey::of_stored(&key).map(|(_, page)| page);
                let is_known =
                    page.is_ok_and(|page| page.birth == next || self.known.contains(&page));
                if !is_known {
                    let name = object(SNAPSHOT_PAGES, &key);
                    self.report.violation(name, SnapshotFault::Leftover);
                }
            }
        }
        Ok(())
    }
}

/// Looks for lists under numbers that no snapshot has: what they name would never be removed.
async fn stray_lists(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    numbers: &HashSet<u64>,
    report: &mut SnapshotCheckReport,
) -> Result<(), SnapshotError> {
    for family in [DEPARTED_PAGES, DEPARTED_MESSAGES] {
        let mut scan = Scan::prefix(family, &keys::account(account), 1);
        while let Some((key, _)) = reader.scan(&scan).await?.pop() {
            let mut fields = KeyReader::new(family, &key);
            let number = fields.take_u64().and_then(|_| fields.take_u64());
            if !number.as_ref().is_ok_and(|number| numbers.contains(number)) {
                report.violation(object(family, &key), SnapshotFault::ListedUnderNone);
            }
            // One entry of each list is enough.
            scan.start = match number.map(|number| number.checked_add(1)) {
                Ok(Some(next)) => keys::snapshot(account, next),
                Ok(None) => break,
                Err(_) => [&key[..], &[0]].concat().into(),
            };
        }
    }
    Ok(())
}

async fn is_kept(store: &Store, account: AccountId, number: u64) -> Result<bool, SnapshotError> {
    let key = keys::snapshot(account, number);
    let Some(octets) = store.engine().get(SNAPSHOTS, &key).await? else { return Ok(false) };
    Ok(!decode_snapshot(&key, &octets)?.1)
}

/// A row, and the message it leads to, if it does.
trait CheckedRow: Row {
    fn message(&self) -> Option<(storage::ids::EmailNumber, Sha256Digest)>;
}

impl CheckedRow for ContentRow {
    fn message(&self) -> Option<(storage::ids::EmailNumber, Sha256Digest)> {
        Some((self.email_number, self.digest))
    }
}

impl CheckedRow for FlagsRow {
    fn message(&self) -> Option<(storage::ids::EmailNumber, Sha256Digest)> {
        None
    }
}
