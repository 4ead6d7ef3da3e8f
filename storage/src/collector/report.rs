//! What a run did, or would do.

/// Texts kept in a report; the others are only counted.
const TEXTS_MAX: usize = 1_000;

/// What a run did; of a dry run, what it would have done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CollectReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The run went on where an earlier one was cut short.
    pub resumed: bool,
    /// Passes over everything that refers to chunks.
    pub passes: u64,
    /// Chunks looked at.
    pub chunks: u64,
    /// Those of them that stay: used, or condemned too short a time ago.
    pub chunks_kept: u64,
    /// Stored octets of the chunks that stay.
    pub kept_octets: u64,
    /// Chunks condemned.
    pub chunks_condemned: u64,
    /// Chunks whose condemnation was taken back, because something refers to them.
    pub chunks_spared: u64,
    /// Chunks removed from the index.
    pub chunks_swept: u64,
    /// Their stored octets.
    pub swept_octets: u64,
    /// Packs in which nothing was live.
    pub packs_removed: u64,
    /// Packs of which little was live, and whose chunks were moved.
    pub packs_rewritten: u64,
    /// Small packs whose chunks were moved.
    pub packs_merged: u64,
    /// Packs written for what was moved.
    pub packs_written: u64,
    /// Chunks moved.
    pub chunks_moved: u64,
    /// Octets of the packs written.
    pub written_octets: u64,
    /// Packs of which much was cold, and whose chunks were moved.
    pub packs_cooled: u64,
    /// Those of `chunks_moved` that moved from warm packs into cold ones.
    pub chunks_cooled: u64,
    /// Those of `written_octets` that are in cold packs.
    pub cold_written_octets: u64,
    /// Objects found that no row named; they are doomed.
    pub packs_unnamed: u64,
    /// Objects deleted.
    pub packs_deleted: u64,
    /// Octets of the objects deleted.
    pub deleted_octets: u64,
    /// Doomed objects that wait for the end of the grace period.
    pub packs_waiting: u64,
    /// Doomed objects that a retained back-up checkpoint still names.
    pub packs_held: u64,
    /// Octets of all objects before the run.
    pub octets_before: u64,
    /// The same after it.
    pub octets_after: u64,
    /// Damaged chunks and packs, which were left where they are; the first 1,000.
    pub damaged: Vec<String>,
    /// All of them.
    pub damages: u64,
    /// Files under `packs/` that are no packs, which were left alone; the first 1,000.
    pub strangers: Vec<String>,
    /// Steps that came too late, because something else changed what they were about.
    pub conflicts: u64,
}

impl CollectReport {
    pub(crate) fn damage(&mut self, text: String) {
        self.damages += 1;
        if self.damaged.len() < TEXTS_MAX {
            self.damaged.push(text);
        }
    }

    pub(crate) fn stranger(&mut self, path: String) {
        if self.strangers.len() < TEXTS_MAX {
            self.strangers.push(path);
        }
    }
}

/// What a run is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CollectPhase {
    /// Listing the objects.
    Objects,
    /// Marking what is referred to.
    Marking,
    /// Condemning and sweeping chunks.
    Sweeping,
    /// Rewriting packs.
    Packs,
    /// Deleting objects.
    Deleting,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct CollectProgress<'r> {
    /// What it is at.
    pub phase: CollectPhase,
    /// What it has done so far.
    pub report: &'r CollectReport,
}
