//! What systemd is told: that the ports are open, that a stop has begun, that the process is well.
//!
//! Well means that the catalog has just taken a record, durably, and given it back, and that both
//! kinds of threads of the runtime have done a piece of work. A beat that fails is logged and not
//! sent; when they fail for the unit's `WatchdogSec`, systemd starts the process anew.
//!
//! Without `NOTIFY_SOCKET` (no systemd, or another `Type=`) nothing is sent, without
//! `WATCHDOG_USEC` nothing is written.

use std::{error::Error, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use storage::{
    catalog::engine::{Batch, Durability, Family},
    store::Store,
};

/// What this process notes about itself. Keys: `heartbeat`, and `pressure` of
/// [`super::pressure`]; the value is the number of the beat.
pub const NODE_STATE: Family = Family("node_state");
const HEARTBEAT: &[u8] = b"heartbeat";

/// Beats in the time after which systemd gives up: single late ones do no harm.
const BEATS: u32 = 4;

/// All ports are open.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The process is coming to its end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, ?state, "systemd was not told");
    }
}

/// Sends beats as long as the store answers, when the unit asks for them.
pub async fn beat(store: Arc<Store>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let pause = (patience / BEATS).max(Duration::from_millis(1));
    for number in 0_u64.. {
        match tokio::time::timeout(pause, answers(&store, HEARTBEAT, number)).await {
            Ok(Ok(())) => notify(&[NotifyState::Watchdog]),
            Ok(Err(error)) => {
                tracing::error!(error = &*error as &dyn Error, "no heartbeat: the store fails");
            }
            Err(_) => tracing::error!(?pause, "no heartbeat: the store does not answer in time"),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether the store takes the record `key` and gives it back, and the runtime's threads work.
pub(super) async fn answers(
    store: &Store,
    key: &'static [u8],
    number: u64,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let value = number.to_be_bytes();
    let mut batch = Batch { durability: Durability::Synced, ..Batch::default() };
    batch.put(NODE_STATE, key, value.to_vec());
    store.commit(batch).await?;
    let found = store.engine().get(NODE_STATE, key).await?;
    if found.as_deref() != Some(&value) {
        return Err("the catalog does not give back what it has taken".into());
    }
    tokio::spawn(async {}).await?;
    Ok(tokio::task::spawn_blocking(|| ()).await?)
}

#[cfg(test)]
mod tests {
    use trust::{clock::SystemClock, random::SystemRandom};

    use super::*;
    use crate::{config::Config, golden::Golden};

    #[tokio::test]
    async fn there_is_no_heartbeat_without_a_store_that_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.data.folder = folder.path().to_owned();
        let opened =
            crate::serve::store::open(&config, Arc::new(SystemClock), Arc::new(SystemRandom));
        let store = opened.await.expect("a store");
        answers(&store, HEARTBEAT, 1).await.expect("it answers");
        let beat = store.engine().get(NODE_STATE, HEARTBEAT).await.expect("read").expect("a beat");
        Golden::of("node_state").key(HEARTBEAT).is(beat);
        store.close().await.expect("closed");
        answers(&store, HEARTBEAT, 2).await.expect_err("a closed store does not answer");
    }
}
