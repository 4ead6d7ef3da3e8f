//! The simulation finds each planted mistake, and finds nothing without it.

use super::{assert_clean, run::run, tell};
use crate::sabotage::{PlantedBug, plant};

/// Seeds in which a mistake must show.
const SEEDS_MAX: u64 = 100;

/// How octets that are gone show: to a reader, and to the check.
const LOST_OCTETS: [&str; 3] = ["Damaged", "Durable", "Rebuilt"];

/// Runs seeds from `first` on until the mistake is found; then the seed that found it, clean.
///
/// The first seed only saves time: it is one that was near a find when it was chosen. Choose another
/// when what the test prints says that many seeds are run.
fn is_found(bug: PlantedBug, first: u64, expected: &[&str]) {
    let mut found = None;
    for seed in first..first + SEEDS_MAX {
        let _planted = plant(bug);
        let outcome = run(seed);
        if !outcome.blamed.is_empty() {
            found = Some((seed, outcome.blamed.join("\n")));
            break;
        }
    }
    let (last, blamed) = found.unwrap_or_else(|| panic!("{bug:?}: not in {SEEDS_MAX} seeds"));
    let seeds = last + 1 - first;
    tell(&format!("{bug:?} is found after {seeds} seeds, by {last}"));
    assert!(expected.iter().any(|text| blamed.contains(text)), "{bug:?} was found as: {blamed}");
    assert_clean(&run(last));
}

#[test]
fn a_row_before_its_chunk_is_found() {
    is_found(PlantedBug::RowBeforeChunk, 1_000, &LOST_OCTETS);
}

#[test]
fn a_missing_sync_is_found() {
    is_found(PlantedBug::MissingSync, 1_000, &["acknowledged was"]);
}

#[test]
fn a_reader_that_ignores_the_packers_move_is_found() {
    is_found(PlantedBug::ReaderIgnoresMove, 1_034, &LOST_OCTETS);
}

#[test]
fn a_collector_that_does_not_look_again_before_it_sweeps_is_found() {
    is_found(PlantedBug::SweepWithoutRecheck, 1_070, &LOST_OCTETS);
}

#[test]
fn a_shared_chunk_that_stays_condemned_is_found() {
    is_found(PlantedBug::DedupHitKeepsCondemnation, 1_255, &LOST_OCTETS);
}

#[test]
fn a_collector_that_ignores_the_packers_move_is_found() {
    is_found(PlantedBug::ScanIgnoresMove, 1_000, &LOST_OCTETS);
}

#[test]
fn an_index_that_names_a_cold_pack_before_it_is_durable_is_found() {
    is_found(PlantedBug::ColdBeforeDurable, 1_000, &LOST_OCTETS);
}

#[test]
fn a_batch_that_names_a_pack_of_a_retired_generation_is_found() {
    is_found(PlantedBug::RetiredGenerationAccepted, 1_043, &LOST_OCTETS);
}

#[test]
fn a_message_removed_although_the_latest_snapshot_holds_it_is_found() {
    is_found(PlantedBug::DepartureForgotten, 1_000, &["that snapshot"]);
}

#[test]
fn a_snapshot_that_goes_with_messages_of_the_one_before_is_found() {
    is_found(PlantedBug::ForgetIgnoresPrevious, 1_000, &["that snapshot"]);
}
