//! The simulation finds each planted mistake, and finds nothing without it.

use super::{assert_clean, run::run, tell};
use crate::sabotage::{PlantedBug, plant};

/// Seeds in which a mistake must show.
const SEEDS_MAX: u64 = 60;

/// Runs seeds until the mistake is found; then the same seeds, clean.
fn is_found(bug: PlantedBug, expected: &[&str]) {
    let mut found = None;
    for seed in 1_000..1_000 + SEEDS_MAX {
        let _planted = plant(bug);
        let outcome = run(seed);
        if !outcome.blamed.is_empty() {
            found = Some((seed, outcome.blamed.join("\n")));
            break;
        }
    }
    let (last, blamed) = found.unwrap_or_else(|| panic!("{bug:?}: not in {SEEDS_MAX} seeds"));
    let seeds = last - 999;
    tell(&format!("{bug:?} is found after {seeds} seeds"));
    assert!(expected.iter().any(|text| blamed.contains(text)), "{bug:?} was found as: {blamed}");
    for seed in 1_000..=last {
        assert_clean(&run(seed));
    }
}

#[test]
fn a_row_before_its_chunk_is_found() {
    is_found(PlantedBug::RowBeforeChunk, &["Damaged", "Durable"]);
}

#[test]
fn a_missing_sync_is_found() {
    is_found(PlantedBug::MissingSync, &["acknowledged was"]);
}

#[test]
fn a_reader_that_ignores_the_packers_move_is_found() {
    is_found(PlantedBug::ReaderIgnoresMove, &["Damaged"]);
}
