//! Seeded simulation: everything at once, on an engine and an object store that lose what was not
//! synced, fail and are slow; one seed replays it all.
//!
//! A run is several lives of one process. In each, writers ([`writer`]) append, copy, move, flag,
//! expunge, make and delete mailboxes, hold and release messages, and let simulated snapshots keep
//! messages; keepers ([`keeper`]) take snapshots of accounts and forget them; readers ([`reader`]) look at what was acknowledged; the packer packs; back-ups are taken.
//! A power cut ends the life. What is then found is compared with the model ([`model`],
//! [`inspection`]), and at the end every retained back-up is restored and inspected too.
//!
//! To replay one seed: `CERALACCA_SIMULATION_SEED=n cargo test -p ceralacca-storage simulation`.

mod bodies;
mod engine;
mod inspection;
mod keeper;
mod model;
mod objects;
mod planted;
mod reader;
mod run;
mod world;
mod writer;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use self::run::{Outcome, run};
use super::house::MORNING;
use crate::catalog::engine::Family;

/// Records of the simulated floor above: what its snapshots keep.
const SNAPSHOTS: Family = Family("simulated_snapshots");

/// Names the one seed to run.
const SEED: &str = "CERALACCA_SIMULATION_SEED";
/// Names the seconds to run for.
const SECONDS: &str = "CERALACCA_SIMULATION_SECONDS";

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Prints also when the test passes: how much a time budget bought is worth knowing.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "simulation: {text}").expect("standard output");
}

fn assert_clean(outcome: &Outcome) {
    assert!(
        outcome.blamed.is_empty(),
        "seed {} (replay with {SEED}={}): {}",
        outcome.seed,
        outcome.seed,
        outcome.blamed.join("\n")
    );
}

#[test]
fn whatever_comes_together_nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    if let Some(seed) = number_in(SEED) {
        let outcome = run(seed);
        tell(&format!("{outcome:?}"));
        return assert_clean(&outcome);
    }
    let budget = Duration::from_secs(number_in(SECONDS).unwrap_or(15));
    let begun = Instant::now();
    let (mut seeds, mut steps, mut acknowledged, mut lives, mut restored) = (0, 0, 0, 0, 0);
    while begun.elapsed() < budget {
        let outcome = run(seeds);
        assert_clean(&outcome);
        seeds += 1;
        steps += outcome.steps;
        acknowledged += outcome.acknowledged;
        lives += outcome.lives;
        restored += outcome.restored;
    }
    tell(&format!(
        "{seeds} seeds in {} s: {steps} steps, {acknowledged} operations acknowledged, {lives} power \
         cuts, {restored} back-ups restored",
        budget.as_secs()
    ));
    assert!(acknowledged > 100 * seeds / 10, "the runs are too short to mean anything");
}

#[test]
fn one_seed_replays_everything() {
    for seed in [3, 4] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.steps, second.steps);
        assert_ne!(first.trace, run(seed + 100).trace);
    }
}
