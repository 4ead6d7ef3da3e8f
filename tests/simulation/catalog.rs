//! A catalog whose power can be cut at any of its steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine, Family, Page, Reader, Scan},
        simulated::SimulatedEngine,
    },
    error::StoreError,
};
use tokio::sync::Notify;

/// A catalog that counts its steps: a read is one; a commit is two, before it and between it and
/// its answer. At the step that the test names nothing answers any more: the machine is dead.
pub(crate) struct CutCatalog {
    pub(crate) inner: Arc<SimulatedEngine>,
    /// Whether reads count, or commits alone.
    reads_count: bool,
    /// Steps that are left.
    left: AtomicI64,
    dead: AtomicBool,
    /// Told when it dies.
    death: Notify,
    commits: AtomicU64,
}

impl CutCatalog {
    /// A catalog over `inner` that dies at its step number `steps`; `None` = never.
    pub(crate) fn new(
        inner: Arc<SimulatedEngine>,
        steps: Option<i64>,
        reads_count: bool,
    ) -> Arc<Self> {
        let left = AtomicI64::new(steps.unwrap_or(i64::MAX));
        let (dead, death, commits) = (AtomicBool::new(false), Notify::new(), AtomicU64::new(0));
        Arc::new(Self { inner, reads_count, left, dead, death, commits })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Waits until it is dead.
    pub(crate) async fn death(&self) {
        let notified = self.death.notified();
        if !self.is_dead() {
            notified.await;
        }
    }

    /// Commits that were taken so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    async fn step(&self) {
        if self.is_dead() || self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.dead.store(true, Ordering::SeqCst);
            self.death.notify_waiters();
            std::future::pending::<()>().await;
        }
    }

    async fn read_step(&self) {
        if self.reads_count || self.is_dead() {
            self.step().await;
        }
    }
}

#[async_trait::async_trait]
impl Reader for CutCatalog {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read_step().await;
        self.inner.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.read_step().await;
        self.inner.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.read_step().await;
        self.inner.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for CutCatalog {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.read_step().await;
        self.inner.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.step().await;
        let committed = self.inner.commit(batch).await;
        if committed.is_ok() {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        self.step().await;
        committed
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
