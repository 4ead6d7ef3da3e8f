//! Before every single step of a run, each of the things that writers and packers do happens once:
//! nothing may be lost, now or in the next run. With a planted bug something is.

use std::sync::Arc;

use super::yard::{Yard, at_once, letter, stage, tell};
use crate::{
    error::StoreError,
    ids::Uid,
    octets::StagedMessage,
    sabotage::{PlantedBug, plant},
};

/// What happens between two steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    /// A message staged while its chunks were used by one that is gone now.
    Shared,
    /// A message staged as new before the same octets were stored by another.
    New,
    /// A large message whose pack no batch has named yet.
    Large,
    /// A large message that was appended before, and whose rows are gone.
    LargeAgain,
    /// A message is taken in that has the octets of one that is gone.
    Afresh,
    /// The packer.
    Pack,
    /// Another message is expunged.
    Expunge,
    /// Another collector, from beginning to end.
    Collect,
}

const EVENTS: [Event; 8] = [
    Event::Shared,
    Event::New,
    Event::Large,
    Event::LargeAgain,
    Event::Afresh,
    Event::Pack,
    Event::Expunge,
    Event::Collect,
];

/// Messages that were staged before the run.
struct Prepared {
    shared: StagedMessage,
    new: StagedMessage,
    large: StagedMessage,
    large_again: StagedMessage,
    remaining: Uid,
}

const SHARED: u64 = 1;
const NEW: u64 = 2;
const LARGE: u64 = 103;
const LARGE_AGAIN: u64 = 104;
const AFRESH: u64 = 105;

fn octets(seed: u64) -> Vec<u8> {
    letter(seed, if seed > 100 { 5_000 } else { 600 })
}

async fn prepare() -> (Yard, Prepared) {
    let yard = Yard::new().await;
    let new = yard.stage(&octets(NEW)).await;
    let mut gone = Vec::new();
    for seed in [SHARED, NEW, 3, AFRESH] {
        gone.push(yard.add(&octets(seed)).await);
    }
    yard.add(&octets(10)).await;
    let remaining = yard.add(&octets(11)).await;
    yard.pack().await;
    let large_again = yard.stage(&octets(LARGE_AGAIN)).await;
    gone.push(yard.append(&large_again, &octets(LARGE_AGAIN)).await.expect("append"));
    let shared = yard.stage(&octets(SHARED)).await;
    let large = yard.stage(&octets(LARGE)).await;
    yard.add(&octets(12)).await;
    gone.push(yard.add(&octets(4)).await);
    yard.expunge(&gone).await;
    (yard, Prepared { shared, new, large, large_again, remaining })
}

/// Appends, and when the batch comes too late takes the message in anew, as a client does.
async fn append(yard: &Yard, staged: &StagedMessage, seed: u64) {
    match yard.append(staged, &octets(seed)).await {
        Ok(_) => {}
        Err(StoreError::Conflict) => {
            let staged = stage(&yard.store, &octets(seed)).await.expect("stage");
            yard.append(&staged, &octets(seed)).await.expect("append");
        }
        Err(error) => panic!("{error}"),
    }
}

async fn happen(event: Event, yard: Arc<Yard>, prepared: Prepared) {
    match event {
        Event::Shared => append(&yard, &prepared.shared, SHARED).await,
        Event::New => append(&yard, &prepared.new, NEW).await,
        Event::Large => append(&yard, &prepared.large, LARGE).await,
        Event::LargeAgain => append(&yard, &prepared.large_again, LARGE_AGAIN).await,
        Event::Afresh => {
            let staged = stage(&yard.store, &octets(AFRESH)).await.expect("stage");
            append(&yard, &staged, AFRESH).await;
        }
        Event::Pack => yard.pack().await,
        Event::Expunge => yard.expunge(&[prepared.remaining]).await,
        Event::Collect => {
            yard.collect(&at_once()).await;
        }
    }
}

/// Lets `event` happen before step `step` of a run; says what was lost, and how many steps the run
/// had.
async fn play(event: Event, step: u64) -> (Option<String>, u64) {
    let (yard, prepared) = prepare().await;
    let yard = Arc::new(yard);
    let (stage, store) = yard.staged().await;
    let began = stage.steps();
    let happening = happen(event, Arc::clone(&yard), prepared);
    stage.before(step, Box::pin(happening));
    store.collect(&at_once(), &|_| {}).await.expect("collect");
    let steps = stage.steps() - began;
    let mut fault = yard.fault().await;
    if fault.is_none() {
        yard.collect(&at_once()).await;
        fault = yard.fault().await;
    }
    (fault, steps)
}

#[tokio::test]
async fn whatever_happens_before_any_step_of_a_run_loses_nothing() {
    let mut plays = 0;
    for event in EVENTS {
        let mut step = 0;
        loop {
            let (fault, steps) = play(event, step).await;
            assert_eq!(fault, None, "{event:?} before step {step} of {steps}");
            plays += 1;
            step += 1;
            if step >= steps {
                break;
            }
        }
    }
    tell(format_args!("{plays} plays"));
    assert!(plays > 200, "{plays}");
}

/// Plays until something is lost.
async fn is_caught(bug: PlantedBug, events: &[Event]) -> bool {
    let _planted = plant(bug);
    for event in events {
        let mut step = 0;
        loop {
            let (fault, steps) = play(*event, step).await;
            if let Some(fault) = fault {
                tell(format_args!("{bug:?}: {event:?} before step {step}: {fault}"));
                return true;
            }
            step += 1;
            if step >= steps {
                break;
            }
        }
    }
    false
}

/// A chunk stored as new is protected twice, by its condemnation and by its new index row: one of
/// the two alone is enough here, and `octets::tests::races` has that bug.
#[tokio::test]
async fn every_planted_bug_loses_something() {
    for (bug, events) in [
        (PlantedBug::SweepWithoutRecheck, [Event::Shared].as_slice()),
        (PlantedBug::DedupHitKeepsCondemnation, &[Event::Shared]),
        (PlantedBug::ScanIgnoresMove, &[Event::Pack]),
        (PlantedBug::RetiredGenerationAccepted, &[Event::Large]),
    ] {
        assert!(is_caught(bug, events).await, "{bug:?} was not noticed");
    }
}
