//! Turns at a program that checks messages: a slow check keeps few others waiting.
//!
//! * So many at a time, as the program has threads.
//! * Messages over [`LARGE_OCTETS`] have half of them at most, and so has one source: what takes long, or
//!   comes in crowds, leaves turns for the others.
//! * Nobody waits longer than the bound.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::sources::{Shares, Source};

/// From here on a message is large.
const LARGE_OCTETS: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Turns {
    running: Arc<Semaphore>,
    large: Arc<Semaphore>,
    shares: Shares<Source>,
    share: usize,
    waiting_time_max: Duration,
}

/// One turn; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Turn {
    _held: [Option<OwnedSemaphorePermit>; 3],
}

impl Turns {
    /// So many turns at a time, for each of which one waits so long at most.
    #[must_use]
    pub fn new(at_a_time: usize, waiting_time_max: Duration) -> Self {
        let at_a_time = at_a_time.clamp(1, Semaphore::MAX_PERMITS);
        let half = at_a_time.div_ceil(2);
        Self {
            running: Arc::new(Semaphore::new(at_a_time)),
            large: Arc::new(Semaphore::new(half)),
            shares: Shares::default(),
            share: half,
            waiting_time_max,
        }
    }

    /// The bound of the wait.
    pub(super) fn waiting_time_max(&self) -> Duration {
        self.waiting_time_max
    }

    /// A turn for a message of `octets` from `source`; `None` when there was none in time.
    pub(super) async fn take(&self, source: Source, octets: u64) -> Option<Turn> {
        let share = self.shares.of(source, self.share);
        let taken = timeout(self.waiting_time_max, async {
            // What only its likes wait for comes first.
            let share = share.acquire_owned().await.ok()?;
            let large = if octets > LARGE_OCTETS {
                Some(Arc::clone(&self.large).acquire_owned().await.ok()?)
            } else {
                None
            };
            let running = Arc::clone(&self.running).acquire_owned().await.ok()?;
            Some(Turn { _held: [Some(share), large, Some(running)] })
        });
        taken.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn network(third: u8) -> Source {
        Source::Network([0xff, 0xff, 192, 0, third, 0])
    }

    #[tokio::test]
    async fn large_messages_and_one_source_leave_turns_for_the_others() {
        let turns = Turns::new(4, SOON);
        let first = turns.take(network(1), 2 << 20).await.expect("a turn");
        let second = turns.take(network(2), 2 << 20).await.expect("a turn");
        assert!(turns.take(network(3), 2 << 20).await.is_none(), "half is for small ones");
        let third = turns.take(network(1), 1_000).await.expect("a small one");
        assert!(turns.take(network(1), 1_000).await.is_none(), "half is for other sources");
        let fourth = turns.take(network(3), 1_000).await.expect("a turn");
        assert!(turns.take(network(4), 1_000).await.is_none(), "all are taken");
        drop((first, second, third, fourth));
        let _again = turns.take(network(1), 2 << 20).await.expect("given back");
    }

    #[tokio::test]
    async fn one_turn_serves_everybody_one_after_the_other() {
        let turns = Turns::new(1, SOON);
        drop(turns.take(network(1), 2 << 20).await.expect("a turn"));
        let _held = turns.take(network(2), 1).await.expect("a turn");
        assert!(turns.take(network(1), 1).await.is_none());
    }
}
