//! Lists of departed pages made anew, from the snapshots themselves.
//!
//! What departed after a snapshot is what it has and the next one has not; what no snapshot has is
//! nobody's. Both follow from the trees. So lists that are damaged, lost or wrong are written as they
//! must be, and pages that such a list would have freed go. A snapshot's lists change in one batch.
//!
//! Nothing is done for an account of which a record, a state or an inner page cannot be read: what that
//! one has is not known.
//!
//! Memory: the names of the account's stored pages, some 50 octets each, as for the check.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Reader},
        pages::Pages,
    },
    ids::{AccountId, MailboxId},
};

use super::{
    PAGE, Snapshots, account_entry, all_snapshots,
    keys::{self, DEPARTED_PAGES, DepartedKey, PageKey, SNAPSHOT_PAGES},
    lost::{self, is_damage, is_unreadable},
    open::state_at,
    pages::CatalogPages,
    snapshot::Snapshot,
};
use crate::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    tree::{
        PageStore as _, TreeRoot,
        page::{Page, PageId, PageRef},
        row::{ContentRow, FlagsRow, Row},
    },
};

/// Lists of pages read at once.
const LISTS: usize = 16;

/// What was done for an account, or would be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MendedPages {
    /// Snapshots whose lists were made anew, and numbers without a snapshot whose lists were taken out.
    pub lists: u64,
    /// Pages removed that no snapshot has.
    pub pages: u64,
    /// Something cannot be read: nothing was done.
    pub unreadable: bool,
}

impl MendedPages {
    /// What was done, in words; `None` when it is nothing.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let Self { lists, pages, .. } = self;
        let done = format!(
            "{lists} lists of pages that departed are made anew, {pages} pages that no snapshot has are removed"
        );
        (lists + pages > 0).then_some(done)
    }
}

impl Snapshots {
    /// Makes the lists of departed pages of an account say what its snapshots say, and removes pages that
    /// none of them has. With `apply` false it only says what it would do.
    pub async fn mend_pages(
        &self,
        account: AccountId,
        apply: bool,
    ) -> Result<MendedPages, SnapshotError> {
        let _place = self.place(account).await;
        match self.mend(account, apply).await {
            Err(error) if is_any_damage(&error) => {
                Ok(MendedPages { unreadable: true, ..MendedPages::default() })
            }
            mended => mended,
        }
    }

    async fn mend(&self, account: AccountId, apply: bool) -> Result<MendedPages, SnapshotError> {
        let handle = self.store.account(account).await?;
        if apply {
            self.finish_going(&handle).await?;
        }
        let state = handle.state().await?;
        let reader = state.reader().clone();
        let all = all_snapshots(&*reader, account).await?;
        if all.iter().any(|(_, going)| *going) {
            // Only without `apply`: what goes takes its lists along.
            return Ok(MendedPages::default());
        }
        let kept: Vec<Snapshot> = all.into_iter().map(|(snapshot, _)| snapshot).collect();
        let secret = account_entry(&*reader, account).await?.0.secret;
        let mut wanted = Wanted::default();
        if let Some(secret) = &secret {
            let pages = CatalogPages::new(Arc::clone(&reader), account);
            wanted.read(&*reader, &pages, &kept, secret).await?;
        } else if !kept.is_empty() {
            return Ok(MendedPages { unreadable: true, ..MendedPages::default() });
        }
        let mut mended = MendedPages::default();
        for batch in self.lists(&*reader, account, wanted.departed).await? {
            mended.lists += 1;
            if apply {
                self.store.commit(batch).await?;
            }
        }
        // What is being written ahead is of the snapshot to come.
        let next = state.next_snapshot();
        let mut stored = Pages::prefix(SNAPSHOT_PAGES, &keys::account(account), PAGE);
        while let Some(some) = stored.next(&*reader).await? {
            let mut batch = Batch::default();
            for (key, _) in some {
                let page = PageKey::of_stored(&key).map(|(_, page)| page);
                if page.is_ok_and(|page| page.birth == next || wanted.known.contains(&page)) {
                    continue;
                }
                batch.delete(SNAPSHOT_PAGES, key);
                mended.pages += 1;
            }
            if apply && !batch.delete.is_empty() {
                self.store.commit(batch).await?;
            }
        }
        Ok(mended)
    }

    /// Batches that make the lists of an account those of `departed`, one for each snapshot, and for each
    /// number that there is none of.
    async fn lists(
        &self,
        reader: &dyn Reader,
        account: AccountId,
        mut departed: Vec<(u64, BTreeSet<PageKey>)>,
    ) -> Result<Vec<Batch>, SnapshotError> {
        let mut present: Vec<(u64, Listed)> = Vec::new();
        let mut rows = Pages::prefix(DEPARTED_PAGES, &keys::account(account), LISTS);
        while let Some(some) = rows.next(reader).await? {
            for (key, list) in some {
                let number = DepartedKey::parse(&key).map_or(0, |row| row.last);
                if present.last().is_none_or(|(last, _)| *last != number) {
                    present.push((number, Listed::default()));
                }
                if let Some((_, listed)) = present.last_mut() {
                    listed.take(number, &key, &list)?;
                }
            }
        }
        let mut batches = Vec::new();
        for (number, listed) in present {
            let at = departed.iter().position(|(of, _)| *of == number);
            let pages = at.map(|at| departed.swap_remove(at).1).unwrap_or_default();
            if !listed.is_right || listed.pages != pages {
                batches.push(self.list_anew(account, number, listed.keys, pages));
            }
        }
        let missing = departed.into_iter().filter(|(_, pages)| !pages.is_empty());
        batches.extend(
            missing.map(|(number, pages)| self.list_anew(account, number, Vec::new(), pages)),
        );
        Ok(batches)
    }

    fn list_anew(
        &self,
        account: AccountId,
        number: u64,
        before: Vec<Bytes>,
        pages: BTreeSet<PageKey>,
    ) -> Batch {
        let rows = keys::departed_rows(account, number, pages, self.limits.pages_per_batch_max);
        let mut batch = Batch::default();
        for key in before.into_iter().filter(|key| !rows.iter().any(|(row, _)| row == key)) {
            batch.delete(DEPARTED_PAGES, key);
        }
        for (key, list) in rows {
            batch.put(DEPARTED_PAGES, key, list);
        }
        batch
    }
}

/// What is listed under one number.
struct Listed {
    keys: Vec<Bytes>,
    pages: BTreeSet<PageKey>,
    is_right: bool,
}

impl Default for Listed {
    fn default() -> Self {
        Self { keys: Vec::new(), pages: BTreeSet::new(), is_right: true }
    }
}

impl Listed {
    fn take(&mut self, number: u64, key: &Bytes, list: &[u8]) -> Result<(), SnapshotError> {
        let pages = lost::readable_list(key, list)?;
        // Part and first number must be such that the row can pass to another snapshot.
        let is_row = DepartedKey::parse(key).is_ok_and(|row| row.first >= number);
        self.is_right &= is_row && pages.is_some();
        for page in pages.unwrap_or_default() {
            self.is_right &= self.pages.insert(page);
        }
        self.keys.push(key.clone());
        Ok(())
    }
}

/// What lists must say, and which pages belong to a snapshot.
#[derive(Default)]
struct Wanted {
    departed: Vec<(u64, BTreeSet<PageKey>)>,
    known: HashSet<PageKey>,
    /// Pages of the snapshot behind the one that is read.
    later: HashSet<PageKey>,
}

impl Wanted {
    /// Reads the trees of `kept`, ascending, from the latest back.
    async fn read(
        &mut self,
        reader: &dyn Reader,
        pages: &CatalogPages,
        kept: &[Snapshot],
        secret: &SnapshotSecret,
    ) -> Result<(), SnapshotError> {
        for (at, snapshot) in kept.iter().enumerate().rev() {
            let state = state_at(reader, snapshot, secret).await?;
            let root = PageId(snapshot.record.state_root.0);
            self.known.insert(PageRef { birth: snapshot.number, id: root }.into());
            self.later.retain(|page| page.birth <= snapshot.number);
            let mut own = BTreeSet::new();
            for (id, entry) in &state.mailboxes {
                self.tree::<ContentRow>(pages, *id, secret, entry.content, &mut own).await?;
                self.tree::<FlagsRow>(pages, *id, secret, entry.flags, &mut own).await?;
            }
            self.known.extend(own.iter().copied());
            self.later.extend(own.iter().copied());
            let departed = if at + 1 == kept.len() { BTreeSet::new() } else { own };
            self.departed.push((snapshot.number, departed));
        }
        Ok(())
    }

    /// The pages of a tree that the snapshot behind has not.
    async fn tree<R: Row>(
        &self,
        pages: &CatalogPages,
        mailbox: MailboxId,
        secret: &SnapshotSecret,
        root: TreeRoot,
        own: &mut BTreeSet<PageKey>,
    ) -> Result<(), SnapshotError> {
        let salts = Salts::new(secret.clone(), mailbox);
        let mut open = vec![(root.page, None)];
        while let Some((page, level)) = open.pop() {
            if page.id == PageId::empty() || self.later.contains(&page.into()) {
                continue;
            }
            own.insert(page.into());
            // Leaves below a page that was read need no reading.
            if level == Some(0) {
                continue;
            }
            let octets = pages.page(page).await?;
            if let Page::Inner(level, children) = Page::<R>::decode(page.id, &octets, &salts)? {
                let below = Some(level.saturating_sub(1));
                open.extend(children.iter().map(|child| (child.page, below)));
            }
        }
        Ok(())
    }
}

fn is_any_damage(error: &SnapshotError) -> bool {
    is_damage(error) || matches!(error, SnapshotError::Store(error) if is_unreadable(error))
}
