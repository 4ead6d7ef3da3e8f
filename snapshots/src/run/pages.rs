//! The pages of the tree of accounts, in the catalog.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use storage::catalog::engine::{Batch, Reader};

use super::keys::{self, DEPARTED_RUN_PAGES, SNAPSHOT_RUN_PAGES};
use crate::{
    error::SnapshotError,
    keep::pages::{Packer, unpack},
    tree::{PageStore, page::PageRef, update::TreeUpdate},
};

/// How pages are packed: hashes are most of them and do not shrink.
const COMPRESSION_LEVEL: i32 = 1;

#[derive(Clone)]
pub(super) struct RunPages(Arc<dyn Reader>);

impl RunPages {
    pub(super) fn new(reader: Arc<dyn Reader>) -> Self {
        Self(reader)
    }
}

fn unpacked(page: PageRef, value: Option<&Bytes>) -> Result<Bytes, SnapshotError> {
    let value = value.ok_or(SnapshotError::PageMissing(page.id))?;
    unpack(value).ok_or_else(|| SnapshotError::Damaged {
        object: format!("page {} of the tree of accounts", page.id),
        detail: "its value follows no known layout",
    })
}

#[async_trait::async_trait]
impl PageStore for RunPages {
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
        let value = self.0.get(SNAPSHOT_RUN_PAGES, &keys::page(page)).await?;
        unpacked(page, value.as_ref())
    }

    async fn pages(&self, pages: &[PageRef]) -> Result<Vec<Bytes>, SnapshotError> {
        let asked: Vec<_> =
            pages.iter().map(|page| (SNAPSHOT_RUN_PAGES, keys::page(*page))).collect();
        let values = self.0.multi_get(&asked).await?;
        pages.iter().zip(&values).map(|(page, value)| unpacked(*page, value.as_ref())).collect()
    }
}

/// Adds to `batch` what `update` did to the tree in run `number`, and returns octets of new pages.
///
/// What is replaced belonged to the run before, and departs with it; what this very run has
/// written nobody else refers to.
pub(super) fn put(update: &TreeUpdate, number: u64, batch: &mut Batch) -> u64 {
    let mut packer = Packer::new(COMPRESSION_LEVEL);
    let new: HashSet<PageRef> = update.new_pages.iter().map(|(page, _)| *page).collect();
    let mut octets = 0;
    for (page, plain) in &update.new_pages {
        let value = packer.pack(plain);
        octets += value.len() as u64;
        batch.put(SNAPSHOT_RUN_PAGES, keys::page(*page), value);
    }
    for page in update.replaced.iter().filter(|page| !new.contains(page)) {
        let key = keys::page(*page);
        if page.birth == number {
            batch.delete(SNAPSHOT_RUN_PAGES, key);
        } else {
            let departed = keys::departed(number.saturating_sub(1), &key);
            batch.put(DEPARTED_RUN_PAGES, departed, Bytes::new());
        }
    }
    octets
}
