//! Seeded simulation of accounts whose snapshots are taken, kept and let go while everything else
//! happens to them: one seed replays it all.
//!
//! A run is several lives of one process, on the world, the paced engine and the object store of the
//! simulation of the floor below. In each, hands ([`mail`]) append, flag, expunge, copy, move, archive
//! and rename; keepers ([`keeper`]) take, hold, thin and forget snapshots, erase messages and look into
//! snapshots; restorers ([`restorer`]) bring messages back; runs go over all accounts; the packer and
//! the collector work. A power cut ends the life. Then, and at the end ([`inspection`]):
//!
//! * every kept snapshot reads like the account did in the catalog that the batch of the snapshot left
//!   ([`moments`]), octets included;
//! * every message has the rows that its ledger ([`ledger`]) says, live and archived ones together, so
//!   that none is in neither place or in both; that is also so in catalogs as single commits left them;
//! * usage is the sum over rows in both tiers, and both floors' checks find nothing.
//!
//! At the very end, when every snapshot is forgotten and every row gone, nothing is left of them.
//!
//! To replay one seed: `CERALACCA_SIMULATION_SEED=n cargo test -p ceralacca-snapshots simulation`.

mod inspection;
mod keeper;
mod ledger;
mod mail;
mod moments;
mod post;
mod restorer;
mod run;

#[path = "../../../storage/src/tests/simulation/engine.rs"]
mod engine;
#[path = "../../../storage/src/tests/simulation/objects.rs"]
mod objects;
#[path = "../../../storage/src/tests/simulation/world.rs"]
mod world;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use self::run::{Outcome, run};
use crate::keep::tests::house::MORNING;

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
fn whatever_comes_together_snapshots_stay_what_they_were_and_every_message_is_in_one_place() {
    if let Some(seed) = number_in(SEED) {
        let outcome = run(seed);
        tell(&format!("{outcome:?}"));
        return assert_clean(&outcome);
    }
    let budget = Duration::from_secs(number_in(SECONDS).unwrap_or(15));
    let begun = Instant::now();
    let (mut seeds, mut all) = (0, Outcome::default());
    while begun.elapsed() < budget {
        let outcome = run(seeds);
        assert_clean(&outcome);
        seeds += 1;
        all.add(&outcome);
    }
    tell(&format!("{seeds} seeds in {} s: {all:?}", budget.as_secs()));
    assert!(all.acknowledged > 20 * seeds, "the runs are too short to mean anything");
    assert!(all.compared > 2 * seeds, "hardly any snapshot was looked into");
}

#[test]
fn one_seed_replays_everything() {
    let (first, second) = (run(3), run(3));
    assert_eq!((first.trace, first.steps), (second.trace, second.steps));
    assert_ne!(first.trace, run(103).trace);
}
