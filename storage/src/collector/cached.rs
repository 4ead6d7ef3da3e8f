//! Copies of swept chunks that a cache still has: what a run that was cut short between a sweep and
//! the caches has left, or a reader whose process ended before he looked again (`octets::fetch`).
//!
//! Every run goes once over the names in the caches, page by page, and has forgotten what the index
//! does not lead to. The caches are this process's own.

use super::Run;
use crate::{
    error::StoreError,
    pack::index::{CHUNK_INDEX, stored_id_key},
};

/// Names looked up at a time.
const PAGE: usize = 512;

impl Run<'_> {
    /// Has the caches forget what is not in the index.
    pub(super) async fn forget_swept(&mut self) -> Result<(), StoreError> {
        if self.options.dry_run {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.octets.cached_page(after, PAGE);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let keys: Vec<_> =
                page.iter().map(|stored| (CHUNK_INDEX, stored_id_key(*stored))).collect();
            let rows = self.octets.engine.multi_get(&keys).await?;
            let mut octets = 0;
            for (stored, row) in page.into_iter().zip(rows) {
                octets += stored.0.len() + row.as_ref().map_or(0, bytes::Bytes::len);
                if row.is_none() {
                    self.octets.forget_cached(stored).await;
                }
            }
            self.budget.pay(octets as u64, 0).await;
        }
    }
}
