//! Takes checkpoints while the server runs, and says how old the last complete one is.
//!
//! * One increment at a time: the loop and `backup now` take turns.
//! * Mail never waits for the back-up: what fails is logged, counted and tried again after the
//!   pause.
//! * A graceful stop takes one more increment, after the last change: it loses nothing.
//!
//! Not here: what an increment is (`storage::backup::run`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use storage::{
    backup::{
        BackupError,
        retention::{RetentionRules, Swept, sweep},
        run::{Shipper, Taken},
    },
    error::StoreError,
    store::Store,
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use trust::{clock::Clock, random::RandomSource};

use super::{companions::ProviderFiles, target};
use crate::{config::Config, metrics_names, registry::Registry};

/// Pause between two removals of what is over its time.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// How long an object that no checkpoint names stays: a day.
const UNNAMED_MILLIS: i64 = 24 * 3_600_000;

/// What was opened at the first increment.
#[derive(Debug)]
struct Open {
    shipper: Shipper,
    packs_in_place: bool,
}

/// The back-up of one running store.
#[derive(Debug)]
pub struct BackupService {
    config: Arc<Config>,
    store: Arc<Store>,
    companions: ProviderFiles,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
    open: Mutex<Option<Open>>,
    late: AtomicBool,
    /// Rung when an increment finds the store in another node's hands.
    superseded: Notify,
}

impl BackupService {
    /// Prepares the back-up that `config` asks for; `None` when it asks for none. The target is
    /// opened with the first increment: a server starts without it.
    #[must_use]
    pub fn new(
        config: &Arc<Config>,
        store: &Arc<Store>,
        registry: &Arc<Registry>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> Option<Arc<Self>> {
        config.backup.target.as_ref()?;
        Some(Arc::new(Self {
            config: Arc::clone(config),
            store: Arc::clone(store),
            companions: ProviderFiles::new(Arc::clone(config), Arc::clone(registry)),
            clock,
            random,
            open: Mutex::new(None),
            late: AtomicBool::new(false),
            superseded: Notify::new(),
        }))
    }

    async fn opened(&self) -> anyhow::Result<Open> {
        let target = target::open(&self.config)?.context("backup.target is not set")?;
        let repository = target::repository(&self.config, &target, Arc::clone(&self.random))?;
        // Not even a seal goes into another node's back-up.
        self.store.confirm_claim(&*target.objects).await.map_err(BackupError::from)?;
        target::seal(&self.config, &repository, &*self.random).await?;
        let packs_in_place = target.packs_in_place;
        let shipper = Shipper::new(
            repository,
            Arc::clone(&self.clock),
            self.config.data.backup_work_folder(),
            packs_in_place,
            format!("ceralacca {}", env!("CARGO_PKG_VERSION")),
        );
        Ok(Open { shipper, packs_in_place })
    }

    /// Takes and ships one checkpoint; `full` writes every object again, whatever is there.
    ///
    /// # Errors
    ///
    /// When the target or the store does not answer; nothing of it is visible then.
    pub async fn take(&self, full: bool) -> anyhow::Result<Taken> {
        let mut open = self.open.lock().await;
        // It goes back only after a whole increment: after a failure, or when this one is given up,
        // what was learnt of the repository may be wrong, and the next one asks again.
        let mut opened = match open.take().filter(|_| !full) {
            Some(opened) => opened,
            None => self.opened().await?,
        };
        if full {
            opened.shipper.repository().ship_anew();
        }
        let taken = opened.shipper.take(&self.store, &self.companions).await?;
        opened.shipper.end_shipping_anew();
        self.companions.confirm();
        *open = Some(opened);
        Ok(taken)
    }

    /// Waits until an increment finds that another node has taken over.
    pub async fn superseded(&self) {
        self.superseded.notified().await;
    }

    /// Removes checkpoints that are over their time, and what no other names.
    ///
    /// # Errors
    ///
    /// When the target does not answer, or a manifest cannot be read.
    pub async fn sweep(&self) -> anyhow::Result<Swept> {
        let open = self.open.lock().await;
        let Some(opened) = &*open else { return Ok(Swept::default()) };
        let rules = rules(&self.config);
        let repository = opened.shipper.repository();
        Ok(sweep(&self.store, repository, opened.packs_in_place, self.clock.now(), &rules).await?)
    }

    /// Takes an increment after each pause until `stopping` is cancelled.
    pub async fn run(self: Arc<Self>, stopping: CancellationToken) {
        let pause = self.config.backup.timing.interval.duration();
        let mut complete = Instant::now();
        let mut swept: Option<Instant> = None;
        loop {
            if self.take_and_tell().await {
                complete = Instant::now();
                if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL) {
                    swept = Some(Instant::now());
                    self.sweep_and_tell().await;
                }
            }
            self.tell_lateness(complete.elapsed());
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The last increment of a graceful stop, for `time_max` at most.
    pub async fn finish(&self, time_max: Duration) {
        if tokio::time::timeout(time_max, self.take_and_tell()).await.is_err() {
            tracing::warn!("the last increment of the back-up was cut off: the one before counts");
        }
    }

    async fn take_and_tell(&self) -> bool {
        let begin = Instant::now();
        match self.take(false).await {
            Ok(taken) => {
                tracing::debug!(
                    checkpoint = %taken.name,
                    sent_octets = taken.sent_octets,
                    packs = taken.copied.packs,
                    milliseconds = begin.elapsed().as_millis(),
                    "increment complete"
                );
                if taken.copied.lost + taken.copied.damaged > 0 {
                    tracing::error!(
                        lost = taken.copied.lost,
                        damaged = taken.copied.damaged,
                        "the back-up has no sound copy of packs that the store has lost or that are damaged: run `ceralacca store scrub`"
                    );
                }
                let sent = taken.sent_octets + taken.copied.octets;
                metrics::counter!(metrics_names::BACKUP_OCTETS).increment(sent);
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
                let instant = taken.name.instant.0 as f64 / 1_000.0;
                metrics::gauge!(metrics_names::BACKUP_INSTANT).set(instant);
                true
            }
            Err(error) => {
                if let Some(BackupError::Store(StoreError::Superseded { .. })) =
                    error.downcast_ref()
                {
                    self.superseded.notify_one();
                }
                metrics::counter!(metrics_names::BACKUP_FAILURES).increment(1);
                tracing::error!(error = %format_args!("{error:#}"), "no increment: it is tried again");
                false
            }
        }
    }

    async fn sweep_and_tell(&self) {
        match self.sweep().await {
            Ok(swept) if swept.unreadable > 0 => tracing::warn!(
                unreadable = swept.unreadable,
                checkpoints = swept.checkpoints,
                "the back-up keeps everything but manifests until those that cannot be read are over their time"
            ),
            Ok(swept) => tracing::info!(
                kept = swept.kept,
                checkpoints = swept.checkpoints,
                octets = swept.octets,
                "removed what is over its time from the back-up"
            ),
            Err(error) => tracing::error!(
                error = %format_args!("{error:#}"),
                "nothing is removed from the back-up"
            ),
        }
    }

    /// Says once that the last complete increment is too old, and once that it is not any more.
    fn tell_lateness(&self, age: Duration) {
        let late = age > self.config.backup.timing.window_max.duration();
        if late != self.late.swap(late, Ordering::Relaxed) {
            if late {
                tracing::error!(
                    seconds = age.as_secs(),
                    "the last complete increment of the back-up is too old: see the errors before"
                );
            } else {
                tracing::info!("the back-up is complete again");
            }
        }
    }
}

/// How long what stays, as the configuration says.
#[must_use]
pub fn rules(config: &Config) -> RetentionRules {
    let millis = |millis: crate::config::units::Millis| i64::try_from(millis.0).unwrap_or(i64::MAX);
    RetentionRules {
        keep_all_millis: millis(config.backup.timing.keep_all),
        keep_hourly_millis: millis(config.backup.timing.keep_hourly),
        keep_daily_millis: millis(config.backup.timing.keep_daily),
        unnamed_millis: UNNAMED_MILLIS,
    }
}
