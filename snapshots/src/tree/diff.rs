//! The difference of two trees, in the order of their keys.
//!
//! Both trees are walked side by side; where they have the same page at the same place it is passed
//! over, so that what is read grows with the changes and not with the rows. Births do not count: pages
//! of equal names have equal rows.
//!
//! A page that is to be opened is read together with the next ones of its level that only one tree has
//! in sight: one trip to the catalog instead of one for each. Memory is that of [`PAGES_AHEAD`] pages of
//! each level of each tree.

use std::collections::HashSet;

use super::{
    PageStore, TreeRoot,
    page::{Child, Page, PageId, PageRef},
    read::read_all,
    row::Row,
};
use crate::{error::SnapshotError, hash::Salts};

/// Pages of one tree that are read at once.
const PAGES_AHEAD: usize = 64;

/// What differs under one key: the row of the one tree and of the other, never none of both.
pub type Difference<R> = (Option<R>, Option<R>);

/// What is left of one tree: the next in the order is last.
#[derive(Debug)]
struct Side<R> {
    left: Vec<Item<R>>,
    /// Every row that is left has a key above this one.
    passed: Option<u64>,
}

#[derive(Debug)]
enum Item<R> {
    /// A page of this level.
    Page(u8, Child),
    Row(R),
}

/// Walks over two trees.
pub struct TreeDiff<'a, R> {
    store: &'a dyn PageStore,
    salts: &'a Salts,
    before: Side<R>,
    after: Side<R>,
}

/// What the walk does next.
enum Step {
    /// Both have this page.
    Pass(u64),
    Open {
        before: bool,
        after: bool,
    },
    Take {
        before: bool,
        after: bool,
    },
    End,
}

impl<R: Row> std::fmt::Debug for TreeDiff<'_, R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TreeDiff").finish_non_exhaustive()
    }
}

impl<R: Row> Side<R> {
    fn new(root: TreeRoot) -> Self {
        let page = Child { last_key: u64::MAX, rows: root.rows, page: root.page };
        let left = if root.page.id == PageId::empty() {
            Vec::new()
        } else {
            vec![Item::Page(u8::MAX, page)]
        };
        Self { left, passed: None }
    }

    /// The page that is next, when one is.
    fn page(&self) -> Option<(u8, Child)> {
        match self.left.last() {
            Some(Item::Page(level, page)) => Some((*level, *page)),
            _ => None,
        }
    }

    fn key(&self) -> Option<u64> {
        match self.left.last() {
            Some(Item::Row(row)) => Some(row.key()),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<R> {
        match self.left.pop() {
            Some(Item::Row(row)) => {
                self.passed = Some(row.key());
                Some(row)
            }
            _ => None,
        }
    }

    fn pass(&mut self, key: u64) {
        self.left.pop();
        self.passed = Some(key);
    }

    /// Which items of what is left are to be opened with the next one, a page: those of its level that
    /// `other` does not have, the next first.
    fn ahead(&self, other: &Self) -> Vec<(usize, Child)> {
        let Some((level, next)) = self.page() else { return Vec::new() };
        let shared: HashSet<PageId> =
            other.left.iter().filter_map(|item| item.page_of(level)).collect();
        let pages = self.left.iter().enumerate().rev().filter_map(|(at, item)| match item {
            Item::Page(found, page) if *found == level => Some((at, *page)),
            _ => None,
        });
        // The next one is opened even if both have it, at different places.
        pages
            .filter(|(_, page)| page.page == next.page || !shared.contains(&page.page.id))
            .take(PAGES_AHEAD)
            .collect()
    }

    /// Puts what stands in pages in their places, the last place first.
    fn open(&mut self, pages: Vec<(usize, (PageRef, Page<R>))>) -> Result<(), SnapshotError> {
        let mut behind = Vec::new();
        for (at, (page_ref, page)) in pages {
            behind.extend(self.left.drain(at.saturating_add(1)..).rev());
            let Some(Item::Page(level, _)) = self.left.pop() else { continue };
            // A level that does not descend would make the walk endless. The root's is not known before.
            if level != u8::MAX && page.level().checked_add(1) != Some(level) {
                return Err(SnapshotError::Damaged {
                    object: format!("page {}", page_ref.id),
                    detail: "its level and the level above do not fit together",
                });
            }
            match page {
                Page::Leaf(rows) => behind.extend(rows.into_iter().map(Item::Row)),
                Page::Inner(level, children) => {
                    behind.extend(children.into_iter().map(|child| Item::Page(level, child)));
                }
            }
        }
        self.left.extend(behind.into_iter().rev());
        Ok(())
    }
}

impl<R> Item<R> {
    /// The page's name, when it is one of this level.
    fn page_of(&self, level: u8) -> Option<PageId> {
        match self {
            Self::Page(found, page) if *found == level => Some(page.page.id),
            _ => None,
        }
    }
}

impl<'a, R: Row> TreeDiff<'a, R> {
    /// Compares two trees of one mailbox.
    #[must_use]
    pub fn new(
        store: &'a dyn PageStore,
        salts: &'a Salts,
        before: TreeRoot,
        after: TreeRoot,
    ) -> Self {
        Self { store, salts, before: Side::new(before), after: Side::new(after) }
    }

    /// Returns the next key under which the trees differ; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Difference<R>>, SnapshotError> {
        loop {
            match self.step() {
                Step::End => return Ok(None),
                Step::Pass(key) => {
                    self.before.pass(key);
                    self.after.pass(key);
                }
                Step::Open { before, after } => self.open(before, after).await?,
                Step::Take { before, after } => {
                    let before = before.then(|| self.before.take()).flatten();
                    let after = after.then(|| self.after.take()).flatten();
                    if before != after {
                        return Ok(Some((before, after)));
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        let (before, after) = (&self.before, &self.after);
        match (before.page(), after.page()) {
            (Some((_, one)), Some((_, other))) if one.page.id == other.page.id => {
                Step::Pass(one.last_key.min(other.last_key))
            }
            // The roots, of which no level is known: both.
            (Some((one, _)), Some((other, _))) => {
                Step::Open { before: one >= other, after: other >= one }
            }
            (Some(_), None) => Self::beside(after.key(), before.passed, true),
            (None, Some(_)) => Self::beside(before.key(), after.passed, false),
            (None, None) => match (before.key(), after.key()) {
                (None, None) => Step::End,
                (Some(one), Some(other)) => {
                    Step::Take { before: one <= other, after: other <= one }
                }
                (one, other) => Step::Take { before: one.is_some(), after: other.is_some() },
            },
        }
    }

    /// One side has a page next and the other a row or nothing: a row that cannot be in the page, because
    /// the page's rows come after `passed`, is taken; else the page is opened.
    fn beside(row: Option<u64>, passed: Option<u64>, page_is_before: bool) -> Step {
        if row.is_some_and(|key| passed.is_some_and(|passed| key <= passed)) {
            Step::Take { before: !page_is_before, after: page_is_before }
        } else {
            Step::Open { before: page_is_before, after: !page_is_before }
        }
    }

    async fn open(&mut self, before: bool, after: bool) -> Result<(), SnapshotError> {
        let one = if before { self.before.ahead(&self.after) } else { Vec::new() };
        let other = if after { self.after.ahead(&self.before) } else { Vec::new() };
        let wanted: Vec<Child> = one.iter().chain(&other).map(|(_, page)| *page).collect();
        let mut read = read_all::<R>(self.store, self.salts, &wanted).await?.into_iter();
        let places = |wanted: Vec<(usize, Child)>| wanted.into_iter().map(|(at, _)| at);
        self.before.open(places(one).zip(read.by_ref()).collect())?;
        self.after.open(places(other).zip(read).collect())
    }
}
