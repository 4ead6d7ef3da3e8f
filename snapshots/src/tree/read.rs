//! Reading a tree: single pages on the way down, and rows in order.

use std::{collections::HashMap, sync::Arc};

use super::{
    PageStore, TreeRoot,
    page::{Page, PageId},
    row::Row,
};
use crate::{error::SnapshotError, hash::Salts};

/// Reads pages of one tree, each at most once.
///
/// Holds what it has read: make one per call, not per session.
pub(crate) struct Reader<'a, R> {
    store: &'a dyn PageStore,
    root: TreeRoot,
    salts: &'a Salts,
    read: HashMap<PageId, Arc<Page<R>>>,
}

/// A page that was looked for by key.
pub(crate) struct Found<R> {
    pub(crate) id: PageId,
    pub(crate) page: Arc<Page<R>>,
    /// No page of its level comes after it.
    pub(crate) is_last: bool,
}

impl<'a, R: Row> Reader<'a, R> {
    pub(crate) fn new(store: &'a dyn PageStore, root: TreeRoot, salts: &'a Salts) -> Self {
        Self { store, root, salts, read: HashMap::new() }
    }

    /// Reads a page and checks it.
    pub(crate) async fn page(&mut self, id: PageId) -> Result<Arc<Page<R>>, SnapshotError> {
        if let Some(page) = self.read.get(&id) {
            return Ok(page.clone());
        }
        let page = if id == PageId::empty() {
            Page::Leaf(Vec::new())
        } else {
            Page::decode(id, &self.store.page(id).await?, self.salts)?
        };
        let page = Arc::new(page);
        self.read.insert(id, page.clone());
        Ok(page)
    }

    /// The root page; `None` when the tree has no rows.
    pub(crate) async fn root(&mut self) -> Result<Option<Arc<Page<R>>>, SnapshotError> {
        if self.root.page == PageId::empty() {
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
        let mut path = vec![Found { id: self.root.page, page: root, is_last: true }];
        while let Some(Found { page, is_last, id }) = path.last() {
            let Page::Inner(found_level, children) = page.as_ref() else { break };
            if *found_level <= level {
                break;
            }
            let at = children.partition_point(|child| child.last_key < key);
            let at = at.min(children.len().saturating_sub(1));
            let damaged = || SnapshotError::Damaged {
                object: format!("page {id}"),
                detail: "its level and the level below do not fit together",
            };
            let child = *children.get(at).ok_or_else(damaged)?;
            let is_last = *is_last && at + 1 == children.len();
            let next = self.page(child.page).await?;
            // A level that does not descend would make this loop endless.
            if next.level() + 1 != *found_level {
                return Err(damaged());
            }
            path.push(Found { id: child.page, page: next, is_last });
        }
        Ok(Some(path))
    }
}

/// Returns at most `limit` rows, ascending, from the first whose key is `from` or more.
///
/// Reads the pages of those rows and the pages above them. Ask again with the last key plus one
/// for more; fewer rows than `limit` mean that the tree ends there.
pub async fn rows<R: Row>(
    store: &dyn PageStore,
    root: TreeRoot,
    salts: &Salts,
    from: u64,
    limit: usize,
) -> Result<Vec<R>, SnapshotError> {
    let mut reader = Reader::<R>::new(store, root, salts);
    let mut rows: Vec<R> = Vec::new();
    let mut next = from;
    while let Some(path) = reader.find(0, next).await? {
        let Some(Found { page, is_last, .. }) = path.last() else { break };
        let Page::Leaf(leaves) = page.as_ref() else { break };
        let wanted = leaves.iter().filter(|row| row.key() >= next);
        rows.extend(wanted.take(limit - rows.len()).cloned());
        let following = leaves.last().and_then(|last| last.key().checked_add(1));
        match following {
            Some(following) if !is_last && rows.len() < limit => next = following,
            _ => break,
        }
    }
    Ok(rows)
}

/// Returns the row under `key`, `None` when there is none.
pub async fn row<R: Row>(
    store: &dyn PageStore,
    root: TreeRoot,
    salts: &Salts,
    key: u64,
) -> Result<Option<R>, SnapshotError> {
    let found = rows(store, root, salts, key, 1).await?;
    Ok(found.into_iter().next().filter(|row: &R| row.key() == key))
}
