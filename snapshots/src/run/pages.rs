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

#[cfg(test)]
mod tests {
    use storage::{
        catalog::{engine::Engine as _, simulated::SimulatedEngine},
        ids::AccountId,
        store::Store,
    };
    use trust::digest::Sha256Digest;

    use super::*;
    use crate::{
        golden::Golden,
        tree::{
            TreeRoot,
            page::Page,
            row::AccountRow,
            tests::Pages,
            update::{TreeUpdate, update},
        },
    };

    /// A number that takes three octets: births are what an inner page can be packed by.
    const RUN: u64 = 100_000;

    fn row(number: u64) -> AccountRow {
        AccountRow {
            account: AccountId(3 * number),
            record: Sha256Digest::of(&number.to_be_bytes()),
            address: format!("casella{number}@pec.alfa.example"),
        }
    }

    async fn tree(accounts: u64) -> TreeUpdate {
        let rows = (1..=accounts).map(|number| (3 * number, Some(row(number)))).collect();
        let (stored, salts) = (Pages::default(), AccountRow::salts());
        update(&stored, RUN, TreeRoot::empty(), &salts, rows).await.expect("a tree")
    }

    fn entries(page: PageRef, octets: &[u8]) -> (u8, usize) {
        match Page::<AccountRow>::decode(page.id, octets, &AccountRow::salts()).expect("a page") {
            Page::Leaf(rows) => (0, rows.len()),
            Page::Inner(level, children) => (level, children.len()),
        }
    }

    /// The page of `update` with most entries among leaves, or among pages above them.
    fn largest(update: &TreeUpdate, leaves: bool) -> &(PageRef, Bytes) {
        let pages = update.new_pages.iter();
        let pages = pages.filter(|(page, plain)| (entries(*page, plain).0 == 0) == leaves);
        pages.max_by_key(|(page, plain)| (entries(*page, plain).1, page.id)).expect("a page")
    }

    #[tokio::test]
    async fn pages_of_runs_stay_as_they_are() {
        let (one, some, many) = (tree(1).await, tree(40).await, tree(600).await);
        for (name, form, update, leaves) in [
            ("leaf", 1, &many, true),
            ("leaf-plain", 0, &one, true),
            ("inner", 1, &many, false),
            ("inner-plain", 0, &some, false),
        ] {
            let (page, plain) = largest(update, leaves);
            let mut batch = Batch::default();
            put(update, RUN, &mut batch);
            let key = keys::page(*page);
            let stored = batch.put.iter().find(|(_, under, _)| *under == key).expect("its row");
            assert_eq!(stored.0, SNAPSHOT_RUN_PAGES);
            // What zstd makes of a page may be another today: it is unpacked.
            let golden = Golden::of("snapshot_run_pages").variant(name).key(&key);
            let then: Bytes = golden.written(&stored.2).into();
            assert_eq!(then[0], form, "{name}: the shorter form");
            assert_eq!(unpack(&stored.2).as_ref(), Some(plain), "{name}: of today");
            let engine = SimulatedEngine::new(&Store::families(&keys::FAMILIES));
            let mut batch = Batch::default();
            batch.put(SNAPSHOT_RUN_PAGES, key, then);
            engine.commit(batch).await.expect("commit");
            let read = RunPages::new(engine).page(*page).await.expect("a page");
            assert_eq!(&read, plain, "{name}");
        }
    }
}
