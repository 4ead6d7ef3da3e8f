//! All messages of a mailbox, page by page, so that the root of its content tree follows.
//!
//! Of every leaf page the rows stand there, of every page above how many pages of the level below
//! it has. Whoever hashes the leaf pages, then takes as many of them as the first page above has,
//! and so on up, ends with one page: the root. A row that was left out, added or changed gives
//! another root.

use trust::digest::Sha256Digest;

use super::{Asked, ProofError};
use crate::{
    error::SnapshotError,
    hash::Salts,
    tree::{
        PageStore, TreeRoot,
        page::{Child, Page, PageId, inner_outline, inner_page_id, leaf_page_id},
        read::Reader,
        row::{ContentRow, Row as _},
    },
};

/// A message as the list discloses it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listed {
    pub(super) uid: u32,
    pub(super) digest: Sha256Digest,
    pub(super) rest: Sha256Digest,
}

/// Every page of a content tree.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Listing {
    /// Leaf pages in order.
    pub(super) leaves: Vec<Vec<Listed>>,
    /// For each level above, from below: for each of its pages, how many pages it has.
    pub(super) above: Vec<Vec<u16>>,
}

impl Listing {
    pub(super) async fn make(
        store: &dyn PageStore,
        root: TreeRoot,
        salts: &Salts,
    ) -> Result<Self, SnapshotError> {
        let mut reader = Reader::<ContentRow>::new(store, root, salts);
        let mut listing = Self::default();
        // The last page seen of each level, from below.
        let mut seen: Vec<Option<PageId>> = Vec::new();
        let mut next = 0;
        while let Some(path) = reader.find(0, next).await? {
            seen.resize(path.len(), None);
            listing.above.resize(path.len().saturating_sub(1), Vec::new());
            let mut is_new_below = false;
            for (at, found) in path.iter().rev().enumerate() {
                let is_new = seen.get(at) != Some(&Some(found.page_ref.id));
                if let Some(seen) = seen.get_mut(at) {
                    *seen = Some(found.page_ref.id);
                }
                match (found.page.as_ref(), at.checked_sub(1).map(|at| &mut listing.above[at])) {
                    (Page::Leaf(rows), None) => listing.leaves.push(
                        rows.iter()
                            .map(|row| Listed {
                                uid: row.uid.get(),
                                digest: row.digest,
                                rest: row.rest_hash(salts),
                            })
                            .collect(),
                    ),
                    (Page::Inner(..), Some(counts)) => {
                        if is_new {
                            counts.push(0);
                        }
                        if let Some(count) = counts.last_mut().filter(|_| is_new_below) {
                            *count += 1;
                        }
                    }
                    _ => return Err(mixed(found.page_ref.id)),
                }
                is_new_below = is_new;
            }
            let Some(last) = path.last() else { break };
            let Page::Leaf(rows) = last.page.as_ref() else { break };
            match rows.last().and_then(|row| row.key().checked_add(1)) {
                Some(following) if !last.is_last => next = following,
                _ => break,
            }
        }
        Ok(listing)
    }

    /// The UID of a message with `digest`.
    pub(super) fn find(&self, digest: Sha256Digest) -> Option<u64> {
        let mut rows = self.leaves.iter().flatten();
        rows.find(|row| row.digest == digest).map(|row| row.uid.into())
    }

    pub(super) fn has(&self, asked: &Asked) -> bool {
        self.leaves.iter().flatten().any(|row| match asked {
            Asked::Uid(uid) => uid.get() == row.uid,
            Asked::Digest(digest) => *digest == row.digest,
        })
    }

    /// The root page that follows, and how many rows there are.
    pub(super) fn root(&self) -> Result<(PageId, u64), ProofError> {
        if self.leaves.is_empty() && self.above.is_empty() {
            return Ok((PageId::empty(), 0));
        }
        // Over the ends of pages too: the last keys above ascend with them.
        let uids = self.leaves.iter().flatten().map(|row| row.uid);
        if !uids.is_sorted_by(|one, next| one < next) {
            return Err(ProofError::Layout);
        }
        let mut pages: Vec<Child> = self
            .leaves
            .iter()
            .map(|rows| leaf_page(rows))
            .collect::<Option<_>>()
            .ok_or(ProofError::Layout)?;
        for (level, counts) in (1..=u8::MAX).zip(&self.above) {
            let mut below = pages.into_iter();
            let mut built = Vec::with_capacity(counts.len());
            for count in counts {
                let children: Vec<Child> = below.by_ref().take(usize::from(*count)).collect();
                let page = inner_page(level, *count, &children).ok_or(ProofError::Layout)?;
                built.push(page);
            }
            if below.next().is_some() {
                return Err(ProofError::Layout);
            }
            pages = built;
        }
        match pages.as_slice() {
            [root] if u8::try_from(self.above.len()).is_ok() => Ok((root.page.id, root.rows)),
            _ => Err(ProofError::Layout),
        }
    }
}

/// A leaf page as its parent knows it; `None` when it has no rows.
fn leaf_page(rows: &[Listed]) -> Option<Child> {
    let mut outline = u16::try_from(rows.len()).ok()?.to_be_bytes().to_vec();
    for row in rows {
        let key = u64::from(row.uid);
        outline.extend_from_slice(&key.to_be_bytes());
        outline.extend_from_slice(&ContentRow::leaf_of(key, row.digest, row.rest).0);
    }
    let last_key = u64::from(rows.last()?.uid);
    Some(Child::new(last_key, rows.len() as u64, leaf_page_id(&outline)))
}

fn inner_page(level: u8, count: u16, children: &[Child]) -> Option<Child> {
    let last = children.last().filter(|_| children.len() == usize::from(count))?;
    let outline = inner_outline(level, children).ok()?;
    let rows = children.iter().map(|child| child.rows).sum();
    Some(Child::new(last.last_key, rows, inner_page_id(&outline)))
}

fn mixed(id: PageId) -> SnapshotError {
    SnapshotError::Damaged {
        object: format!("page {id}"),
        detail: "it stands at another level than its parent says",
    }
}
