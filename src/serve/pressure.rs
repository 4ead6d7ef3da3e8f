//! Measures what the points of the engine go by when they say "later": free disk space, and
//! whether the catalog takes a record in good time.
//!
//! A record that takes its time is waited for before the next one is written: a slow store gets no
//! further work from here.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;

use super::service_manager;
use crate::{
    config::{Config, ObjectSettings},
    metrics_names::FREE_OCTETS,
    pec::{engine::PecEngine, pressure::StoreHealth},
};

/// Key of the record that is written; see [`service_manager::NODE_STATE`].
const PROBE: &[u8] = b"pressure";

/// What is measured, and how often.
#[derive(Debug)]
pub struct Watch {
    engine: Arc<PecEngine>,
    folders: Vec<PathBuf>,
    interval: Duration,
    store_time_max: Duration,
    records: u64,
}

impl Watch {
    /// Watches the folders of `config` and the store of `engine`.
    pub fn new(engine: Arc<PecEngine>, config: &Config) -> Self {
        let mut folders = vec![config.data.folder.clone()];
        if let ObjectSettings::Folder(Some(folder)) = &config.objects {
            folders.push(folder.clone());
        }
        Self {
            engine,
            folders,
            interval: config.limits.pressure_interval.duration(),
            store_time_max: config.limits.store_time_max.duration(),
            records: 0,
        }
    }

    /// Measures until `stopping` is cancelled.
    pub async fn run(mut self, stopping: CancellationToken) {
        loop {
            let round = async {
                self.look().await;
                tokio::time::sleep(self.interval).await;
            };
            if stopping.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
    }

    /// Measures once.
    pub async fn look(&mut self) {
        self.look_at_disk();
        self.look_at_store().await;
    }

    fn look_at_disk(&self) {
        self.engine.pressure().note_free(|| {
            let free = self.folders.iter().filter_map(|folder| free_octets(folder)).min()?;
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a fraction")]
            metrics::gauge!(FREE_OCTETS).set(free as f64);
            Some(free)
        });
    }

    async fn look_at_store(&mut self) {
        self.records += 1;
        let taken = service_manager::answers(self.engine.store(), PROBE, self.records);
        tokio::pin!(taken);
        let (health, error) = match tokio::time::timeout(self.store_time_max, &mut taken).await {
            Ok(Ok(())) => (StoreHealth::Well, None),
            Ok(Err(error)) => (StoreHealth::Refuses, Some(error)),
            Err(_) => {
                self.note(StoreHealth::Slow, None);
                // That it was slow stands until the next one is quick.
                match taken.await {
                    Ok(()) => (StoreHealth::Slow, None),
                    Err(error) => (StoreHealth::Refuses, Some(error)),
                }
            }
        };
        self.note(health, error.as_deref());
    }

    fn note(&self, health: StoreHealth, error: Option<&(dyn Error + Send + Sync + 'static)>) {
        if self.engine.pressure().note_store(health) == health {
            return;
        }
        let error: Option<&dyn Error> = error.map(|error| error as &dyn Error);
        match health {
            StoreHealth::Well => tracing::info!("the store takes messages again"),
            StoreHealth::Slow => tracing::warn!(
                bound = ?self.store_time_max,
                "the store takes a record too slowly: messages are put off; check the disk"
            ),
            StoreHealth::Refuses => tracing::error!(
                error,
                "the store takes no record: messages are put off; check disk space and the catalog's log, restart"
            ),
        }
    }
}

/// Octets that this process can still write below `folder`; `None` when the system does not say.
fn free_octets(folder: &Path) -> Option<u64> {
    let found = statvfs(folder)
        .inspect_err(|error| {
            tracing::warn!(folder = %folder.display(), %error, "free space is not known");
        })
        .ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}
