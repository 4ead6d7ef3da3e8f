//! A path of pages: from a leaf to the root of its tree.

use trust::digest::Sha256Digest;

use super::ProofError;
use crate::{
    error::SnapshotError,
    hash::Salts,
    tree::{
        PageStore, TreeRoot,
        page::{Child, Page, inner_page_id, leaf_page_id, parse_inner_outline, parse_leaf_outline},
        read::Reader,
        row::Row,
    },
};

/// Outlines from the leaf page up to the root page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Path(pub(super) Vec<Vec<u8>>);

impl Path {
    /// The row under `key` and the path to it; `None` when there is no such row.
    pub(super) async fn make<R: Row>(
        store: &dyn PageStore,
        root: TreeRoot,
        salts: &Salts,
        key: u64,
    ) -> Result<Option<(R, Self)>, SnapshotError> {
        let mut reader = Reader::<R>::new(store, root, salts);
        let Some(path) = reader.find(0, key).await? else { return Ok(None) };
        let leaf = path.last().map(|found| found.page.as_ref());
        let Some(Page::Leaf(rows)) = leaf else { return Ok(None) };
        let Some(row) = rows.iter().find(|row| Row::key(*row) == key) else { return Ok(None) };
        let outlines =
            path.iter().rev().map(|found| found.page.outline(salts)).collect::<Result<_, _>>()?;
        Ok(Some((row.clone(), Self(outlines))))
    }

    /// Returns the root page above the leaf `leaf` of `key`, with the rows that its tree has.
    pub(super) fn climb(&self, key: u64, leaf: Sha256Digest) -> Result<Child, ProofError> {
        let mut outlines = self.0.iter();
        let leaf_page = outlines.next().ok_or(ProofError::Layout)?;
        let leaves = parse_leaf_outline(leaf_page).ok_or(ProofError::Layout)?;
        if !leaves.contains(&(key, leaf)) {
            return Err(ProofError::Pages);
        }
        let (last_key, _) = *leaves.last().ok_or(ProofError::Pages)?;
        let mut page = Child::new(last_key, leaves.len() as u64, leaf_page_id(leaf_page));
        for (level, outline) in (1..=u8::MAX).zip(outlines.by_ref()) {
            page = above(&page, level, key, outline)?;
        }
        if outlines.next().is_some() {
            return Err(ProofError::Layout);
        }
        Ok(page)
    }
}

/// Goes one page up: `outline` must be a page of `level` that has `page`, with its last key and its
/// rows, where `key` belongs.
fn above(page: &Child, level: u8, key: u64, outline: &[u8]) -> Result<Child, ProofError> {
    let (found_level, children) = parse_inner_outline(outline).ok_or(ProofError::Layout)?;
    let child = children.iter().find(|child| child.last_key >= key);
    if found_level != level || child != Some(page) {
        return Err(ProofError::Pages);
    }
    let last = children.last().ok_or(ProofError::Layout)?;
    let rows = children.iter().try_fold(0_u64, |sum, child| sum.checked_add(child.rows));
    Ok(Child::new(last.last_key, rows.ok_or(ProofError::Layout)?, inner_page_id(outline)))
}
