//! Changing a tree: from one root to the next.
//!
//! Level by level, from the leaves up: the pages in which changed keys stand are read, their
//! entries merged with the changes and cut into pages again, going on into the next old page until
//! a new page ends where an old one ends. What comes out is a set of changed pages, which are the
//! changes of the level above. Nothing else of the tree is read.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    PageStore, TreeRoot,
    page::{Child, Entry, Page, PageId, PageRef, ends_page, is_full},
    read::{Found, Reader},
    row::Row,
};
use crate::{error::SnapshotError, hash::Salts};

/// A new root, the pages that it has and the old one had not, and the other way round.
#[derive(Clone, Debug)]
pub struct TreeUpdate {
    /// The root.
    pub root: TreeRoot,
    /// Pages to store before the root is made known, in the order of their names.
    pub new_pages: Vec<(PageRef, Bytes)>,
    /// Pages of the old tree that the new one has not.
    pub replaced: Vec<PageRef>,
}

/// Changes of one level: the entry that is to stand under a key, or none.
type Changes<E> = BTreeMap<u64, Option<E>>;

/// Puts `changes` into the tree `root`: a row under its own key, or `None` to remove the key.
/// Removing what is not there changes nothing. New pages get `birth`; a page that is cut again and
/// comes out as it was keeps its own.
pub async fn update<R: Row>(
    store: &dyn PageStore,
    birth: u64,
    root: TreeRoot,
    salts: &Salts,
    changes: BTreeMap<u64, Option<R>>,
) -> Result<TreeUpdate, SnapshotError> {
    let mut update = Update {
        reader: Reader::<R>::new(store, root, salts),
        salts,
        birth,
        new_pages: BTreeMap::new(),
        replaced: Vec::new(),
    };
    let top = update.reader.root().await?.map_or(0, |page| page.level());
    let mut cut = update.cut(0, changes).await?;
    for level in 1..=top {
        if cut.changed.is_empty() {
            break;
        }
        cut = update.cut(level, cut.changed).await?;
    }
    // No change reaches the top: the tree is the same.
    if cut.changed.is_empty() {
        return Ok(TreeUpdate { root, new_pages: Vec::new(), replaced: Vec::new() });
    }
    // The old root was the only page of its level, so the new pages are all there are.
    let root = update.close(top, cut.pages).await?;
    let new_pages = update.new_pages.into_iter();
    Ok(TreeUpdate {
        root,
        new_pages: new_pages.map(|(id, octets)| (PageRef { birth, id }, octets)).collect(),
        replaced: update.replaced,
    })
}

/// What cutting a level gave.
struct Cut {
    /// Every page that was cut, in order.
    pages: Vec<Child>,
    /// What differs from before: the changes of the level above.
    changed: Changes<Child>,
}

struct Update<'a, R> {
    reader: Reader<'a, R>,
    salts: &'a Salts,
    birth: u64,
    new_pages: BTreeMap<PageId, Bytes>,
    replaced: Vec<PageRef>,
}

impl<R: Row> Update<'_, R> {
    /// Applies `changes` to the entries of `level`.
    async fn cut<E: Entry<R>>(
        &mut self,
        level: u8,
        mut changes: Changes<E>,
    ) -> Result<Cut, SnapshotError> {
        let mut cutter = Cutter { level, open: Vec::new(), pages: Vec::new() };
        let mut old: BTreeMap<u64, PageRef> = BTreeMap::new();
        while let Some(first) = changes.keys().next().copied() {
            let mut next = first;
            loop {
                let found = self.reader.find(level, next).await?.and_then(|mut path| path.pop());
                let (entries, end, is_last) = entries_of::<R, E>(found.as_ref())?;
                if let (Some(found), Some(end)) = (&found, end) {
                    old.insert(end, found.page_ref);
                }
                let later = match end {
                    Some(end) if !is_last => changes.split_off(&end.saturating_add(1)),
                    _ => Changes::new(),
                };
                for entry in merge::<R, E>(entries, std::mem::replace(&mut changes, later)) {
                    self.push(&mut cutter, entry)?;
                }
                match end {
                    Some(end) if !is_last && !cutter.open.is_empty() => next = end + 1,
                    _ => break,
                }
            }
            // Only the last page of a level is left open by the loop.
            self.end(&mut cutter)?;
        }
        let mut above: Changes<Child> = old.keys().map(|end| (*end, None)).collect();
        for page in &mut cutter.pages {
            match old.get(&page.last_key) {
                // A page that was there before is not stored again.
                Some(before) if before.id == page.page.id => {
                    self.new_pages.remove(&before.id);
                    page.page = *before;
                    old.remove(&page.last_key);
                    above.remove(&page.last_key);
                }
                _ => {
                    above.insert(page.last_key, Some(*page));
                }
            }
        }
        self.replaced.extend(old.into_values());
        Ok(Cut { pages: cutter.pages, changed: above })
    }

    fn push<E: Entry<R>>(&mut self, cutter: &mut Cutter<E>, entry: E) -> Result<(), SnapshotError> {
        let key = entry.key();
        cutter.open.push(entry);
        if ends_page(cutter.level, key) || is_full(cutter.level, cutter.open.len()) {
            self.end(cutter)?;
        }
        Ok(())
    }

    /// Ends the open page, if it has entries.
    fn end<E: Entry<R>>(&mut self, cutter: &mut Cutter<E>) -> Result<(), SnapshotError> {
        let Some(last) = cutter.open.last() else { return Ok(()) };
        let last_key = last.key();
        let rows = cutter.open.iter().map(Entry::rows).sum();
        let page = E::page(cutter.level, std::mem::take(&mut cutter.open));
        let (id, octets) = page.encode(self.salts)?;
        self.new_pages.insert(id, octets);
        cutter.pages.push(Child { last_key, rows, page: PageRef { birth: self.birth, id } });
        Ok(())
    }

    /// Builds levels over `pages`, all pages of `level`, until one is left; then goes down to the
    /// lowest level that has one page only.
    async fn close(
        &mut self,
        mut level: u8,
        mut pages: Vec<Child>,
    ) -> Result<TreeRoot, SnapshotError> {
        while pages.len() > 1 {
            level = level.saturating_add(1);
            let mut cutter = Cutter { level, open: Vec::new(), pages: Vec::new() };
            for page in pages {
                self.push(&mut cutter, page)?;
            }
            self.end(&mut cutter)?;
            pages = cutter.pages;
        }
        let Some(mut top) = pages.first().copied() else { return Ok(TreeRoot::empty()) };
        while level > 0 {
            let new = self.new_pages.get(&top.page.id).filter(|_| top.page.birth == self.birth);
            let page = match new {
                Some(octets) => Page::<R>::decode(top.page.id, octets, self.salts)?,
                None => self.reader.page(top.page).await?.as_ref().clone(),
            };
            match page {
                Page::Inner(_, children) if children.len() == 1 => {
                    // An old page that stood at the top of nothing else goes with it.
                    if self.new_pages.remove(&top.page.id).is_none() {
                        self.replaced.push(top.page);
                    }
                    top = children.first().copied().unwrap_or(top);
                    level -= 1;
                }
                _ => break,
            }
        }
        Ok(TreeRoot { page: top.page, rows: top.rows })
    }
}

/// Entries on their way into pages.
struct Cutter<E> {
    level: u8,
    open: Vec<E>,
    pages: Vec<Child>,
}

/// The entries of an old page, its last key, and whether no page comes after it.
fn entries_of<R: Row, E: Entry<R>>(
    found: Option<&Found<R>>,
) -> Result<(Vec<E>, Option<u64>, bool), SnapshotError> {
    let Some(found) = found else { return Ok((Vec::new(), None, true)) };
    let entries = E::of(&found.page).ok_or_else(|| SnapshotError::Damaged {
        object: format!("page {}", found.page_ref.id),
        detail: "it stands at another level than its parent says",
    })?;
    Ok((entries.to_vec(), entries.last().map(Entry::key), found.is_last))
}

/// Merges entries and changes, both ascending.
fn merge<R: Row, E: Entry<R>>(entries: Vec<E>, changes: Changes<E>) -> Vec<E> {
    let mut merged: BTreeMap<u64, E> =
        entries.into_iter().map(|entry| (entry.key(), entry)).collect();
    for (key, change) in changes {
        match change {
            Some(entry) => merged.insert(key, entry),
            None => merged.remove(&key),
        };
    }
    merged.into_values().collect()
}
