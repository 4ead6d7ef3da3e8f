//! `backup now`, `transmission held` and `transmission release`.

use serde::{Deserialize, Serialize};
use trust::{
    clock::{Clock as _, SystemClock, UnixMillis},
    random::SystemRandom,
};

use crate::{
    backup::{
        held::{self, HeldDuty, Released},
        service::BackupService,
    },
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::engine::EngineSettings,
    texts::Text,
};

/// Asks for an increment of the back-up, now.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct BackupNow {
    /// Writes every object again, whatever is there.
    #[serde(default)]
    pub full: bool,
}

/// What an increment did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct IncrementView {
    /// The checkpoint, complete.
    pub checkpoint: String,
    /// Everything acknowledged before this instant is in it, in ms since 1970.
    pub instant_millis: i64,
    /// Octets of its files.
    pub file_octets: u64,
    /// Octets that were sent for them.
    pub sent_octets: u64,
    /// Packs that it names.
    pub packs: u64,
    /// Packs copied.
    pub copied_packs: u64,
    /// Their octets.
    pub copied_octets: u64,
    /// Packs that the store has lost and the back-up has no copy of.
    pub lost_packs: u64,
    /// Packs that are damaged in the store and in the back-up.
    pub damaged_packs: u64,
    /// Checkpoints that were over their time.
    pub removed_checkpoints: u64,
}

#[async_trait::async_trait]
impl Operation for BackupNow {
    const NAME: &'static str = "backup/now";

    type Outcome = IncrementView;

    async fn run(&self, site: &Site, run: &Run) -> Result<IncrementView, OperationError> {
        let service = site.backup.clone().or_else(|| {
            let clock = std::sync::Arc::new(SystemClock);
            let random = std::sync::Arc::new(SystemRandom);
            BackupService::new(&site.config, &site.store, &site.registry, clock, random)
        });
        let service = service.ok_or_else(|| {
            OperationError::new(
                Kind::Invalid,
                Text::fixed(
                    "backup.target non è impostato: `ceralacca config example` mostra la sezione [backup]",
                    "backup.target is not set: `ceralacca config example` shows the section [backup]",
                ),
            )
        })?;
        run.tell(Progress::new(Text::fixed("copia in corso", "taking an increment"), 0, None));
        // Given up, it leaves pieces that the next one uses or the sweep removes.
        let taken = run.reading(service.take(self.full)).await?;
        let taken = taken.map_err(|error| {
            OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
        })?;
        let swept = run.reading(service.sweep()).await?;
        let swept = swept.map_err(|error| {
            OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
        })?;
        Ok(IncrementView {
            checkpoint: taken.name.to_string(),
            instant_millis: taken.name.instant.0,
            file_octets: taken.file_octets,
            sent_octets: taken.sent_octets,
            packs: taken.packs,
            copied_packs: taken.copied.packs,
            copied_octets: taken.copied.octets,
            lost_packs: taken.copied.lost,
            damaged_packs: taken.copied.damaged,
            removed_checkpoints: swept.checkpoints,
        })
    }
}

/// Asks for the duties that a restore held.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct ListHeld {}

/// A held duty.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HeldView {
    /// Names it in a release.
    pub id: String,
    /// `acceptance`, `distribution`, `delivery`, `sending`.
    pub duty: String,
    /// PEC identifier or Message-ID.
    pub identifier: String,
    /// Whose message it is.
    pub sender: String,
    /// To whom something is owed.
    pub recipients: Vec<String>,
    /// When it began, in ms since 1970.
    pub since_millis: i64,
}

impl HeldView {
    fn of(held: HeldDuty) -> Self {
        let HeldDuty { id, duty, identifier, sender, recipients, since: UnixMillis(since) } = held;
        let duty = duty.word().to_owned();
        Self { id, duty, identifier, sender, recipients, since_millis: since }
    }
}

#[async_trait::async_trait]
impl Operation for ListHeld {
    const NAME: &'static str = "transmission/held";

    type Outcome = Vec<HeldView>;

    async fn run(&self, site: &Site, run: &Run) -> Result<Vec<HeldView>, OperationError> {
        let held = run.reading(held::list(&**site.store.engine())).await??;
        Ok(held.into_iter().map(HeldView::of).collect())
    }
}

/// Gives held duties back to the engine.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ReleaseHeld {
    /// Which; `None`: all.
    pub ids: Option<Vec<String>>,
}

/// What a release did.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct ReleasedView {
    /// Duties released.
    pub released: u64,
}

#[async_trait::async_trait]
impl Operation for ReleaseHeld {
    const NAME: &'static str = "transmission/release";

    type Outcome = ReleasedView;

    async fn run(&self, site: &Site, _: &Run) -> Result<ReleasedView, OperationError> {
        let now = SystemClock.now();
        let node = EngineSettings::default().node;
        let engine = &**site.store.engine();
        let Released { duties, requeued } =
            held::release(engine, self.ids.as_deref(), node, now).await?;
        // The workers look into their families by themselves; the queue has to be told.
        if let Some(engine) = &site.engine {
            for due in requeued {
                engine.queue().announce(due, now);
            }
        }
        Ok(ReleasedView { released: duties })
    }
}
