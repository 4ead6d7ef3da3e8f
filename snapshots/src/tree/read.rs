//! Reading a tree: single pages on the way down, and rows in order.

use std::{collections::HashMap, sync::Arc};

use super::{
    PageStore, TreeRoot,
    page::{Child, Page, PageId, PageRef},
    row::Row,
};
use crate::{error::SnapshotError, hash::Salts};

/// Pages asked for at once.
const PAGES_AT_ONCE: usize = 128;

/// Reads pages of one tree, each at most once.
///
/// Holds what it has read: make one per call, not per session.
pub(crate) struct Reader<'a, R> {
    store: &'a dyn PageStore,
    root: TreeRoot,
    salts: &'a Salts,
    read: HashMap<PageRef, Arc<Page<R>>>,
}

/// A page that was looked for by key.
pub(crate) struct Found<R> {
    pub(crate) page_ref: PageRef,
    pub(crate) page: Arc<Page<R>>,
    /// No page of its level comes after it.
    pub(crate) is_last: bool,
}

impl<'a, R: Row> Reader<'a, R> {
    pub(crate) fn new(store: &'a dyn PageStore, root: TreeRoot, salts: &'a Salts) -> Self {
        Self { store, root, salts, read: HashMap::new() }
    }

    /// Reads a page and checks it.
    pub(crate) async fn page(&mut self, page_ref: PageRef) -> Result<Arc<Page<R>>, SnapshotError> {
        if let Some(page) = self.read.get(&page_ref) {
            return Ok(page.clone());
        }
        let page = if page_ref.id == PageId::empty() {
            Page::Leaf(Vec::new())
        } else {
            Page::decode(page_ref.id, &self.store.page(page_ref).await?, self.salts)?
        };
        let page = Arc::new(page);
        self.read.insert(page_ref, page.clone());
        Ok(page)
    }

    /// The root page; `None` when the tree has no rows.
    pub(crate) async fn root(&mut self) -> Result<Option<Arc<Page<R>>>, SnapshotError> {
        if self.root.page.id == PageId::empty() {
            return Ok(None);
        }
        self.page(self.root.page).await.map(Some)
    }

    /// Pages from the root down to the page of `level` in which `key` stands or would stand: the
    /// first that ends at or after it, else the last. `None` when the tree does not reach `level`.
    pub(crate) async fn find(
        &mut self,
        level: u8,
        key: u64,
    ) -> Result<Option<Vec<Found<R>>>, SnapshotError> {
        let Some(root) = self.root().await? else { return Ok(None) };
        if root.level() < level {
            return Ok(None);
        }
        let mut path = vec![Found { page_ref: self.root.page, page: root, is_last: true }];
        while let Some(Found { page, is_last, page_ref }) = path.last() {
            let Page::Inner(found_level, children) = page.as_ref() else { break };
            if *found_level <= level {
                break;
            }
            let at = children.partition_point(|child| child.last_key < key);
            let at = at.min(children.len().saturating_sub(1));
            let child = *children.get(at).ok_or_else(|| misplaced(*page_ref))?;
            let is_last = *is_last && at + 1 == children.len();
            let next = self.page(child.page).await?;
            // A level that does not descend would make this loop endless.
            if next.level() + 1 != *found_level {
                return Err(misplaced(*page_ref));
            }
            path.push(Found { page_ref: child.page, page: next, is_last });
        }
        Ok(Some(path))
    }
}

fn misplaced(page: PageRef) -> SnapshotError {
    SnapshotError::Damaged {
        object: format!("page {}", page.id),
        detail: "its level and the level below do not fit together",
    }
}

/// Returns at most `limit` rows, ascending, from the first whose key is `from` or more.
///
/// Reads the pages of those rows and the pages above them, level by level, many at once. Ask again
/// with the last key plus one for more; fewer rows than `limit` mean that the tree ends there.
pub async fn rows<R: Row>(
    store: &dyn PageStore,
    root: TreeRoot,
    salts: &Salts,
    from: u64,
    limit: usize,
) -> Result<Vec<R>, SnapshotError> {
    let mut rows: Vec<R> = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    let Some(top) = Reader::<R>::new(store, root, salts).root().await? else { return Ok(rows) };
    let mut level = top.level();
    let mut wanted = match top.as_ref() {
        Page::Leaf(leaves) => {
            take_rows(leaves, from, limit, &mut rows);
            return Ok(rows);
        }
        Page::Inner(_, children) => wanted_of(children.clone(), from, limit),
    };
    while level > 1 {
        level -= 1;
        let mut below = Vec::new();
        for some in wanted.chunks(PAGES_AT_ONCE) {
            for page in read_all::<R>(store, salts, some).await? {
                match page {
                    (_, Page::Inner(found, children)) if found == level => below.extend(children),
                    (page, _) => return Err(misplaced(page)),
                }
            }
        }
        wanted = wanted_of(below, from, limit);
    }
    for some in wanted.chunks(PAGES_AT_ONCE) {
        for page in read_all::<R>(store, salts, some).await? {
            match page {
                (_, Page::Leaf(leaves)) => take_rows(&leaves, from, limit, &mut rows),
                (page, Page::Inner(..)) => return Err(misplaced(page)),
            }
        }
    }
    Ok(rows)
}

/// Reads the pages of `children` and checks them.
pub(crate) async fn read_all<R: Row>(
    store: &dyn PageStore,
    salts: &Salts,
    children: &[Child],
) -> Result<Vec<(PageRef, Page<R>)>, SnapshotError> {
    let refs: Vec<PageRef> = children.iter().map(|child| child.page).collect();
    let octets = store.pages(&refs).await?;
    let pages = refs.iter().zip(octets);
    pages.map(|(page, octets)| Ok((*page, Page::decode(page.id, &octets, salts)?))).collect()
}

fn take_rows<R: Row>(leaves: &[R], from: u64, limit: usize, rows: &mut Vec<R>) {
    let wanted = leaves.iter().filter(|row| Row::key(*row) >= from);
    rows.extend(wanted.take(limit.saturating_sub(rows.len())).cloned());
}

/// Those of `children`, in order, in which the first `limit` rows from `from` on stand.
fn wanted_of(children: Vec<Child>, from: u64, limit: usize) -> Vec<Child> {
    let limit = limit as u64;
    let mut wanted: Vec<Child> = Vec::new();
    let mut behind_first = 0_u64;
    for child in children.into_iter().filter(|child| child.last_key >= from) {
        // Of the first one, one row is certain: the last.
        if !wanted.is_empty() {
            if behind_first.saturating_add(1) >= limit {
                break;
            }
            behind_first = behind_first.saturating_add(child.rows);
        }
        wanted.push(child);
    }
    wanted
}

/// Returns the row under `key`, `None` when there is none.
pub async fn row<R: Row>(
    store: &dyn PageStore,
    root: TreeRoot,
    salts: &Salts,
    key: u64,
) -> Result<Option<R>, SnapshotError> {
    let found = rows(store, root, salts, key, 1).await?;
    Ok(found.into_iter().next().filter(|row: &R| Row::key(row) == key))
}

/// Every page of a tree, read from the pages above the leaves alone.
pub(crate) async fn pages_of<R: Row>(
    store: &dyn PageStore,
    root: TreeRoot,
    salts: &Salts,
) -> Result<Vec<PageRef>, SnapshotError> {
    let mut pages = Vec::new();
    let Some(top) = Reader::<R>::new(store, root, salts).root().await? else { return Ok(pages) };
    pages.push(root.page);
    let Page::Inner(mut level, mut children) = top.as_ref().clone() else { return Ok(pages) };
    loop {
        pages.extend(children.iter().map(|child| child.page));
        level -= 1;
        if level == 0 {
            return Ok(pages);
        }
        let mut below = Vec::new();
        for some in children.chunks(PAGES_AT_ONCE) {
            for page in read_all::<R>(store, salts, some).await? {
                match page {
                    (_, Page::Inner(found, children)) if found == level => below.extend(children),
                    (page, _) => return Err(misplaced(page)),
                }
            }
        }
        children = below;
    }
}
