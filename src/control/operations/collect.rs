//! `store collect`: gives back the space of chunks that nothing refers to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::collector::{CollectOptions, CollectPhase, CollectProgress, CollectReport};

use crate::{
    config::CollectorSettings,
    control::{Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Asks for one run of the collector.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct StoreCollect {
    /// Only say what a run would do.
    #[serde(default)]
    pub dry_run: bool,
    /// How long chunks stay condemned and packs doomed, in milliseconds; the configured time when
    /// absent.
    #[serde(default)]
    pub grace_millis: Option<u64>,
}

#[async_trait::async_trait]
impl Operation for StoreCollect {
    const NAME: &'static str = "store/collect";

    type Outcome = CollectOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<CollectOutcome, OperationError> {
        let configured = options(&site.config.collector);
        let options = CollectOptions {
            dry_run: self.dry_run,
            grace: self.grace_millis.map_or(configured.grace, Duration::from_millis),
            ..configured
        };
        let tell = |progress: &CollectProgress<'_>| run.tell(progress_of(progress));
        // A run may be given up at any point: each of its steps is one batch.
        let report = run.reading(site.store.collect(&options, &tell)).await??;
        Ok(CollectOutcome::of(&report))
    }
}

/// What the configuration says about runs of the collector.
#[must_use]
pub fn options(settings: &CollectorSettings) -> CollectOptions {
    CollectOptions {
        grace: settings.grace.duration(),
        octets_per_second: settings.octets_per_second.0,
        requests_per_second: u64::from(settings.requests_per_second),
        memory_octets_max: usize::try_from(settings.memory_octets_max.0).unwrap_or(usize::MAX),
        cold_after: settings.cold.after(),
        cold_percent_min: settings.cold.percent_min,
        cold_octets_min: settings.cold.octets_min.0,
        cold_level: settings.cold.level.into(),
        ..CollectOptions::default()
    }
}

fn progress_of(progress: &CollectProgress<'_>) -> Progress {
    let report = progress.report;
    let (what, done) = match progress.phase {
        CollectPhase::Objects => (Text::fixed("oggetti elencati", "objects listed"), 0),
        CollectPhase::Marking => {
            (Text::fixed("riferimenti, passata", "references, pass"), report.passes)
        }
        CollectPhase::Sweeping => (Text::fixed("chunk esaminati", "chunks seen"), report.chunks),
        CollectPhase::Packs => (Text::fixed("chunk spostati", "chunks moved"), report.chunks_moved),
        CollectPhase::Deleting => {
            (Text::fixed("oggetti eliminati", "objects deleted"), report.packs_deleted)
        }
    };
    Progress::new(what, done, None).with_troubles(report.damages)
}

/// What a run did, or would do.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `storage::collector::CollectReport`")]
pub struct CollectOutcome {
    pub dry_run: bool,
    pub resumed: bool,
    pub chunks: u64,
    pub chunks_kept: u64,
    pub kept_octets: u64,
    pub chunks_condemned: u64,
    pub chunks_spared: u64,
    pub chunks_swept: u64,
    pub swept_octets: u64,
    pub packs_removed: u64,
    pub packs_rewritten: u64,
    pub packs_merged: u64,
    pub packs_written: u64,
    pub chunks_moved: u64,
    pub written_octets: u64,
    pub packs_unnamed: u64,
    pub packs_deleted: u64,
    pub deleted_octets: u64,
    pub packs_waiting: u64,
    pub packs_held: u64,
    pub octets_before: u64,
    pub octets_after: u64,
    pub damages: u64,
    pub damaged: Vec<String>,
    pub strangers: Vec<String>,
    pub conflicts: u64,
}

impl CollectOutcome {
    fn of(report: &CollectReport) -> Self {
        let report = report.clone();
        Self {
            dry_run: report.dry_run,
            resumed: report.resumed,
            chunks: report.chunks,
            chunks_kept: report.chunks_kept,
            kept_octets: report.kept_octets,
            chunks_condemned: report.chunks_condemned,
            chunks_spared: report.chunks_spared,
            chunks_swept: report.chunks_swept,
            swept_octets: report.swept_octets,
            packs_removed: report.packs_removed,
            packs_rewritten: report.packs_rewritten,
            packs_merged: report.packs_merged,
            packs_written: report.packs_written,
            chunks_moved: report.chunks_moved,
            written_octets: report.written_octets,
            packs_unnamed: report.packs_unnamed,
            packs_deleted: report.packs_deleted,
            deleted_octets: report.deleted_octets,
            packs_waiting: report.packs_waiting,
            packs_held: report.packs_held,
            octets_before: report.octets_before,
            octets_after: report.octets_after,
            damages: report.damages,
            damaged: report.damaged,
            strangers: report.strangers,
            conflicts: report.conflicts,
        }
    }
}
