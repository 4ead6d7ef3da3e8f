//! The collector: gives back the space of chunks that nothing refers to, beside a running store.
//!
//! One run, in four phases:
//!
//! 1. `objects`: objects under `packs/` that no row names are doomed.
//! 2. `chunks`: partition by partition of the StoredId space, from one engine snapshot each, every
//!    reference is marked. A chunk that is not marked is condemned; one that was condemned before
//!    the snapshot, longer than the grace period ago, is swept: its index row goes.
//!    The caches forget it (`cached`), and what the engine's files still have of it is purged.
//! 3. `packs`: packs without a live chunk go, half-dead ones are rewritten, and those with octets of
//!    erased messages (`scour`); small ones are merged. Chunks that only messages without a live row
//!    refer to (`cold`) move into packs under the colder prefix, compressed harder. One that is in
//!    use again moves back when its pack is rewritten anyway, and not before: so nothing moves to
//!    and fro.
//! 4. `doomed`: objects whose time has come are deleted.
//!
//! Why nothing live is lost, whatever comes between two steps:
//!
//! * A batch that refers to a chunk deletes its condemnation. The sweep expects the condemnation
//!   as the snapshot had it, and the snapshot had no reference: so there was none before and none
//!   came after. Condemnations differ from each other by instant and run.
//! * The sweep, the packer and the rewriting expect each index row as they read it: of two that
//!   move or remove one chunk, the second fails and leaves it.
//! * A row of `packs` is removed when none of the chunks that the pack held at the time it was
//!   planned is named there any more, and only as it was then: every batch that brings the pack
//!   into use again changes the row.
//! * An object is deleted when no row names it, and when the generation in which a batch could
//!   still name it has been retired: that batch would fail.
//! * Readers need no grace: a chunk that moved is looked up again.
//!
//! So the grace period is no matter of safety. It spares sessions a failed batch: those that
//! began before a pack was doomed may still name it. With nobody else in the store it may be 0.
//!
//! A run may stop anywhere: each step is one batch. The next goes on at the partition that it had
//! reached ([`state`]); without grace it begins anew instead, because it is to give back all that is
//! dead by then. A dry run reads whatever a run would read, and puts and commits nothing: so it says
//! what a run would do and what it would find damaged. Memory: the marks of one partition, a counter for each pack, and the list
//! of chunks that are being moved, beside two packs.
//!
//! Not here: the interval (the program's), the packer (`pack::packer`).

mod budget;
mod cached;
mod chunks;
mod cold;
mod doomed;
mod marks;
mod objects;
mod packs;
pub mod references;
mod report;
mod rewrite;
mod scour;
pub(crate) mod state;

use std::{collections::HashSet, time::Duration};

use trust::clock::{Clock, UnixMillis};

pub(crate) use self::doomed::UNDATED;
pub use self::report::{CollectPhase, CollectProgress, CollectReport};
use self::{budget::Budget, references::References, state::Position};
use crate::{error::StoreError, octets::OctetStore, pack::store::PackId, store::Store};

/// How a run goes. None of this is part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CollectOptions {
    /// Change nothing, and report what a run would do. Off.
    pub dry_run: bool,
    /// How long a chunk stays condemned, and a pack doomed. Longer than the longest session. 0
    /// when nobody else has the store open. 24 hours.
    pub grace: Duration,
    /// Octets read and written per second; 0 = no bound. 64 MiB.
    pub octets_per_second: u64,
    /// Requests to the object store per second; 0 = no bound. 200.
    pub requests_per_second: u64,
    /// Octets of memory for the marks, and again for the list of chunks that are moved. 64 MiB.
    pub memory_octets_max: usize,
    /// A pack of whose chunks less than this many hundredths are live is rewritten. 50.
    pub live_percent_min: u8,
    /// Packs of fewer octets are merged. 16 MiB.
    pub small_pack_octets: u64,
    /// How old a pack is before the chunks in it that only cold messages refer to may move into cold
    /// packs. `None` = nothing moves there. 30 days.
    pub cold_after: Option<Duration>,
    /// A pack of whose live octets so many hundredths are cold is rewritten for it. 50.
    pub cold_percent_min: u8,
    /// Cold octets that are worth a cold pack; fewer wait. 4 MiB.
    pub cold_octets_min: u64,
    /// Level of zstd for what moves into cold packs; a chunk that does not shrink by it keeps its
    /// stored form. 19.
    pub cold_level: i32,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            grace: Duration::from_hours(24),
            octets_per_second: 64 << 20,
            requests_per_second: 200,
            memory_octets_max: 64 << 20,
            live_percent_min: 50,
            small_pack_octets: 16 << 20,
            cold_after: Some(Duration::from_hours(24 * 30)),
            cold_percent_min: 50,
            cold_octets_min: 4 << 20,
            cold_level: 19,
        }
    }
}

/// Called from time to time while a run goes on.
pub type Progress<'p> = &'p (dyn Fn(&CollectProgress) + Send + Sync);

/// One run.
pub(crate) struct Run<'r> {
    octets: &'r OctetStore,
    references: &'r [References],
    clock: &'r dyn Clock,
    options: &'r CollectOptions,
    budget: Budget,
    progress: Progress<'r>,
    /// Tells the condemnations of this run from those of others.
    number: u64,
    /// What a dry run would have doomed: packs and their octets.
    dry_doomed: Vec<(PackId, u64)>,
    /// Packs that a dry run would have marked as having octets of erased messages.
    dry_marked: HashSet<PackId>,
    /// Packs that stay because a chunk in them that something refers to is damaged.
    stuck: HashSet<PackId>,
    report: CollectReport,
}

impl Store {
    /// Gives back the space of chunks that nothing refers to, beside a running store, and tells
    /// `progress` from time to time. It may be cut short anywhere, and goes on the next time.
    ///
    /// [`StoreError::Damaged`] when a record that may refer to chunks cannot be read: nothing is
    /// removed then, because what it refers to is not known.
    pub async fn collect(
        &self,
        options: &CollectOptions,
        progress: Progress<'_>,
    ) -> Result<CollectReport, StoreError> {
        let core = &*self.core;
        run(&core.octets, &core.references, &*core.clock, options, progress).await
    }
}

/// Does one run, or what is left of one that was cut short.
async fn run(
    octets: &OctetStore,
    references: &[References],
    clock: &dyn Clock,
    options: &CollectOptions,
    progress: Progress<'_>,
) -> Result<CollectReport, StoreError> {
    let _alone = octets.collecting.lock().await;
    let mut run = Run {
        octets,
        references,
        clock,
        options,
        budget: Budget::new(options.octets_per_second, options.requests_per_second),
        progress,
        number: octets.random.next_u64(),
        dry_doomed: Vec::new(),
        dry_marked: HashSet::new(),
        stuck: HashSet::new(),
        report: CollectReport { dry_run: options.dry_run, ..CollectReport::default() },
    };
    run.all_phases().await?;
    Ok(run.report)
}

impl Run<'_> {
    async fn all_phases(&mut self) -> Result<(), StoreError> {
        self.confirm_claim().await?;
        let anew = self.options.dry_run || self.options.grace.is_zero();
        let position = if anew { None } else { self.resume().await? };
        self.look_at_objects().await?;
        let live = match position {
            Some(Position::Packs) => None,
            Some(Position::Chunks { second, next }) => self.collect_chunks(second, next).await?,
            None => self.collect_chunks(false, 0).await?,
        };
        self.save(Position::Packs).await?;
        self.forget_swept().await?;
        self.purge_staged().await?;
        let live = match live {
            Some(live) => live,
            None => self.count_live().await?,
        };
        self.collect_packs(live).await?;
        self.remove_doomed().await?;
        self.finish().await
    }

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    fn grace_millis(&self) -> i64 {
        i64::try_from(self.options.grace.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether what began at `since` is older than the grace period.
    fn is_due(&self, since: UnixMillis) -> bool {
        self.options.grace.is_zero() || since.plus_millis(self.grace_millis()) <= self.now()
    }

    fn tell(&self, phase: CollectPhase) {
        (self.progress)(&CollectProgress { phase, report: &self.report });
    }
}
