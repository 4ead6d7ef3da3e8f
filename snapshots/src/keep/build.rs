//! The trees of one mailbox, from those of an earlier instant.

use std::collections::BTreeMap;

use storage::{
    account::capture::{AccountState, StateMailbox},
    ids::{MailboxId, ModSeq, Uid, UidValidity},
    mailbox::view::MessageRow,
};

use super::pages::Sheet;
use crate::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    tree::{
        TreeRoot,
        read::{self, pages_of},
        row::{ContentRow, FlagsRow, Row},
        update::update,
    },
};

/// A mailbox's trees as they were at some instant.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) content: TreeRoot,
    pub(crate) flags: TreeRoot,
    pub(crate) uid_validity: UidValidity,
    /// Rows from here on are new since.
    pub(crate) uid_next: Option<Uid>,
    /// The account's MODSEQ at the instant.
    pub(crate) mod_seq: ModSeq,
}

/// Where [`Builder::step`] goes on.
pub(crate) enum Step {
    Next(u64),
    Done,
}

/// What changed in a mailbox.
struct Few {
    changed: Vec<MessageRow>,
    expunged: Vec<Uid>,
}

/// Brings the trees of one mailbox up to a state.
pub(crate) struct Builder<'a> {
    state: &'a AccountState,
    mailbox: &'a StateMailbox,
    salts: Salts,
    /// Whether the trees are of this mailbox at an instant from which on changes are known.
    before: Option<(ModSeq, Option<Uid>)>,
    content: TreeRoot,
    flags: TreeRoot,
    pub(crate) sheet: &'a mut Sheet,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        state: &'a AccountState,
        mailbox: &'a StateMailbox,
        secret: &SnapshotSecret,
        base: Option<Base>,
        sheet: &'a mut Sheet,
    ) -> Self {
        let salts = Salts::new(secret.clone(), mailbox.state.mailbox_id);
        let before = base.as_ref().filter(|base| {
            base.uid_validity == mailbox.state.uid_validity && mailbox.expunge_floor <= base.mod_seq
        });
        let before = before.map(|base| (base.mod_seq, base.uid_next));
        let (content, flags) =
            base.map_or((TreeRoot::empty(), TreeRoot::empty()), |base| (base.content, base.flags));
        Self { state, mailbox, salts, before, content, flags, sheet }
    }

    /// What changed since, when that is known and not more than `limit` rows.
    async fn few_changes(&self, limit: usize) -> Result<Option<Few>, SnapshotError> {
        let Some((since, _)) = self.before else { return Ok(None) };
        if self.mailbox.state.highest_mod_seq <= since {
            return Ok(Some(Few { changed: Vec::new(), expunged: Vec::new() }));
        }
        let id = self.mailbox.state.mailbox_id;
        let Some(changed) = self.state.changed(id, since, limit).await? else { return Ok(None) };
        let left = limit.saturating_sub(changed.len());
        let expunged = self.state.expunged(id, since, left).await?;
        Ok(expunged.map(|expunged| Few { changed, expunged }))
    }

    /// Brings the trees up to date with at most `limit` rows; says how many it took, `None` when they
    /// are more.
    pub(crate) async fn in_queue(&mut self, limit: usize) -> Result<Option<usize>, SnapshotError> {
        if let Some(rows) = self.follow_log(limit).await? {
            return Ok(Some(rows));
        }
        // The log does not say all: every row is compared.
        let rows = self.mailbox.state.exists.max(self.content.rows);
        if rows > limit as u64 {
            return Ok(None);
        }
        let mut next = 0;
        while let Step::Next(from) = self.step(next, limit.max(1)).await? {
            next = from;
        }
        Ok(Some(usize::try_from(rows).unwrap_or(limit)))
    }

    /// Brings the trees up to date when the log says how, with at most `limit` rows; says how many it
    /// took.
    pub(crate) async fn follow_log(
        &mut self,
        limit: usize,
    ) -> Result<Option<usize>, SnapshotError> {
        let Some(few) = self.few_changes(limit).await? else { return Ok(None) };
        let rows = few.changed.len() + few.expunged.len();
        self.apply(few).await?;
        Ok(self.is_complete().then_some(rows))
    }

    fn is_complete(&self) -> bool {
        let exists = self.mailbox.state.exists;
        self.content.rows == exists && self.flags.rows == exists
    }

    /// The trees as they now are.
    pub(crate) fn base(&self, mod_seq: ModSeq) -> Base {
        Base {
            content: self.content,
            flags: self.flags,
            uid_validity: self.mailbox.state.uid_validity,
            uid_next: self.mailbox.state.uid_next,
            mod_seq,
        }
    }

    async fn apply(&mut self, few: Few) -> Result<(), SnapshotError> {
        // Rows that stood before have other flags and nothing else.
        let known_below = self
            .before
            .map_or(0, |(_, uid_next)| uid_next.map_or(u64::MAX, |uid| u64::from(uid.get())));
        let (mut content, mut flags) = (BTreeMap::new(), BTreeMap::new());
        for row in &few.changed {
            let key = u64::from(row.uid.get());
            if key >= known_below {
                content.insert(key, Some(ContentRow::from(row)));
            }
            flags.insert(key, Some(FlagsRow::from(row)));
        }
        for uid in few.expunged {
            content.insert(u64::from(uid.get()), None);
            flags.insert(u64::from(uid.get()), None);
        }
        self.put(content, flags).await
    }

    async fn put(
        &mut self,
        content: BTreeMap<u64, Option<ContentRow>>,
        flags: BTreeMap<u64, Option<FlagsRow>>,
    ) -> Result<(), SnapshotError> {
        self.content = change(self.sheet, self.content, &self.salts, content).await?;
        self.flags = change(self.sheet, self.flags, &self.salts, flags).await?;
        Ok(())
    }

    /// Makes the trees equal to the rows from `from` on, as many as `limit`.
    pub(crate) async fn step(&mut self, from: u64, limit: usize) -> Result<Step, SnapshotError> {
        let after = from.checked_sub(1).and_then(|uid| Uid::new(u32::try_from(uid).ok()?));
        let id = self.mailbox.state.mailbox_id;
        let rows = self.state.rows(id, after, limit).await?;
        let last = rows.last().map(|row| u64::from(row.uid.get())).filter(|_| rows.len() == limit);
        let until = last.unwrap_or(u64::MAX);
        let wanted = rows.iter().map(ContentRow::from);
        let content = self.differing(self.content, from, until, wanted).await?;
        let wanted = rows.iter().map(FlagsRow::from);
        let flags = self.differing(self.flags, from, until, wanted).await?;
        self.put(content, flags).await?;
        Ok(last.map_or(Step::Done, |last| Step::Next(last + 1)))
    }

    /// What is to change in a tree so that its rows from `from` to `until` are `wanted`.
    async fn differing<R: Row>(
        &self,
        tree: TreeRoot,
        from: u64,
        until: u64,
        wanted: impl Iterator<Item = R>,
    ) -> Result<BTreeMap<u64, Option<R>>, SnapshotError> {
        const ROWS: usize = 4_096;
        let mut changes: BTreeMap<u64, Option<R>> =
            wanted.map(|row| (Row::key(&row), Some(row))).collect();
        let mut next = from;
        loop {
            let rows: Vec<R> = read::rows(&*self.sheet, tree, &self.salts, next, ROWS).await?;
            let is_last = rows.len() < ROWS;
            let following = rows.last().and_then(|row| Row::key(row).checked_add(1));
            for row in rows.into_iter().take_while(|row| Row::key(row) <= until) {
                let key = Row::key(&row);
                match changes.get(&key) {
                    Some(Some(wanted)) if *wanted == row => changes.remove(&key),
                    Some(Some(_)) => None,
                    _ => changes.insert(key, None),
                };
            }
            match following {
                Some(following) if !is_last && following <= until => next = following,
                _ => return Ok(changes),
            }
        }
    }
}

async fn change<R: Row>(
    sheet: &mut Sheet,
    root: TreeRoot,
    salts: &Salts,
    changes: BTreeMap<u64, Option<R>>,
) -> Result<TreeRoot, SnapshotError> {
    if changes.is_empty() {
        return Ok(root);
    }
    let made = update(&*sheet, sheet.birth, root, salts, changes).await?;
    sheet.take(made.new_pages, made.replaced);
    Ok(made.root)
}

/// Notes that a mailbox is gone with all its pages.
pub(crate) async fn remove(
    sheet: &mut Sheet,
    secret: &SnapshotSecret,
    mailbox: MailboxId,
    base: &Base,
) -> Result<(), SnapshotError> {
    let salts = Salts::new(secret.clone(), mailbox);
    let mut pages = pages_of::<ContentRow>(&*sheet, base.content, &salts).await?;
    pages.extend(pages_of::<FlagsRow>(&*sheet, base.flags, &salts).await?);
    sheet.take(Vec::new(), pages);
    Ok(())
}
