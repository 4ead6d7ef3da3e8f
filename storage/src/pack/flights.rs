//! Readers who miss the same chunk at the same time wait for one of them to fetch it.
//!
//! When the one who fetches fails or goes away, the next tries. Nothing is kept behind the last of
//! them: caches do that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{error::StoreError, ids::ChunkId};

type UnderWay = HashMap<ChunkId, Arc<OnceCell<Bytes>>>;

/// What is being fetched.
#[derive(Debug, Default)]
pub struct Flights {
    under_way: Mutex<UnderWay>,
}

impl Flights {
    /// The octets of `chunk`: those that another fetches at this moment, or what `fetch` gives.
    pub async fn join(
        &self,
        chunk: ChunkId,
        fetch: impl Future<Output = Result<Bytes, StoreError>>,
    ) -> Result<Bytes, StoreError> {
        let flight = Flight { flights: self, chunk, cell: self.board(chunk) };
        flight.cell.get_or_try_init(|| fetch).await.cloned()
    }

    /// Whether somebody fetches `chunk` at this moment.
    pub fn is_under_way(&self, chunk: ChunkId) -> bool {
        self.lock().contains_key(&chunk)
    }

    fn board(&self, chunk: ChunkId) -> Arc<OnceCell<Bytes>> {
        Arc::clone(self.lock().entry(chunk).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader among those who wait; the last one out ends the flight.
struct Flight<'a> {
    flights: &'a Flights,
    chunk: ChunkId,
    cell: Arc<OnceCell<Bytes>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        // The map's own and ours: nobody else is aboard, and nobody can board under the lock.
        if Arc::strong_count(&self.cell) == 2 {
            under_way.remove(&self.chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn readers_who_come_together_fetch_once_and_a_failure_is_the_next_ones_try() {
        let (flights, fetches) = (Flights::default(), AtomicUsize::new(0));
        let fetch = || async {
            let number = fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if number == 0 { Err(StoreError::Closed) } else { Ok(Bytes::from_static(b"octets")) }
        };
        let readers = (0..10).map(|_| flights.join(ChunkId([1; 32]), fetch()));
        let outcomes = futures::future::join_all(readers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 9);
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
        assert!(flights.lock().is_empty());
    }
}
