//! A catalog whose commits fail from some point on, as after a crash.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine, Family, Page, Reader, Scan},
        keys::HELD_MESSAGES,
        simulated::SimulatedEngine,
    },
    error::StoreError,
};

use crate::provider::families;

/// See the module's documentation.
pub(crate) struct Dying {
    pub(crate) inner: Arc<SimulatedEngine>,
    /// Commits that are left.
    pub(crate) left: AtomicI64,
    /// The most messages that one batch has held.
    pub(crate) most_held: AtomicUsize,
}

impl Dying {
    /// An empty one that does not die yet.
    pub(crate) fn new() -> Arc<Self> {
        let left = AtomicI64::new(i64::MAX);
        Arc::new(Self {
            inner: SimulatedEngine::new(&families()),
            left,
            most_held: AtomicUsize::new(0),
        })
    }

    /// Lets so many more commits pass.
    pub(crate) fn let_pass(&self, commits: i64) {
        self.left.store(commits, Ordering::SeqCst);
    }

    /// Whether a commit has failed since.
    pub(crate) fn has_died(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

#[async_trait::async_trait]
impl Reader for Dying {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.inner.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.inner.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for Dying {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Closed);
        }
        let held = batch.put.iter().filter(|(family, ..)| *family == HELD_MESSAGES).count();
        self.most_held.fetch_max(held, Ordering::SeqCst);
        self.inner.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
