//! Time, chance and turns of one run, all from one seed.
//!
//! Every step of the simulated engine and object store [pauses](World::pause): it waits for an
//! instant that the seed draws. [`World::step`] lets the task go on whose instant is next, and moves
//! the clock there. So the order of all steps, the clock and the faults are a function of the seed,
//! as long as tasks wait for nothing else and run on one thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::oneshot;
use trust::{
    clock::{Clock as _, ManualClock},
    random::{RandomSource as _, SeededRandom},
};

use super::MORNING;

/// How long the steps of a run take: runs differ, so that both busy and sleepy ones are met.
#[derive(Clone, Copy, Debug)]
struct Temper {
    /// Of a thousand steps, those that take long.
    slow_per_thousand: u64,
    /// Milliseconds of the longest step.
    slow_ms_max: u64,
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) clock: Arc<ManualClock>,
    random: SeededRandom,
    temper: Temper,
    turns: Mutex<Turns>,
    blamed: Mutex<Vec<String>>,
    broken: AtomicBool,
}

#[derive(Default)]
struct Turns {
    waiting: BTreeMap<(i64, u64), (&'static str, oneshot::Sender<()>)>,
    next: u64,
    steps: u64,
    /// Digest of the order of all steps so far.
    trace: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let random = SeededRandom::new(seed);
        let temper = Temper {
            slow_per_thousand: random.next_u64() % 120,
            slow_ms_max: 2 + random.next_u64() % 1_500,
        };
        Arc::new(Self {
            seed,
            clock: Arc::new(ManualClock::new(MORNING)),
            random,
            temper,
            turns: Mutex::default(),
            blamed: Mutex::default(),
            broken: AtomicBool::new(false),
        })
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end.max(1)
    }

    pub(super) fn index(&self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("small")
    }

    pub(super) fn chance(&self, per_thousand: u64) -> bool {
        self.below(1_000) < per_thousand
    }

    /// Waits until it is this task's turn. `what` stands in the trace.
    pub(super) async fn pause(&self, what: &'static str) {
        let slow = self.chance(self.temper.slow_per_thousand);
        let delay = self.below(if slow { self.temper.slow_ms_max } else { 3 });
        self.sleep(what, delay).await;
    }

    /// Waits for an instant `milliseconds` from now.
    pub(super) async fn sleep(&self, what: &'static str, milliseconds: u64) {
        let due = self.now() + i64::try_from(milliseconds).expect("small");
        let (go_on, turn) = oneshot::channel();
        {
            let mut turns = self.turns.lock().expect("no panic");
            turns.next += 1;
            let key = (due, turns.next);
            turns.waiting.insert(key, (what, go_on));
        }
        // The other end goes away when the power is cut: then nobody is left to care.
        let _ = turn.await;
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Lets the next task go on until it pauses again. `false`: nobody waits.
    pub(super) async fn step(&self) -> bool {
        // A task that yields is behind everything that can run: twice, because what ran may have
        // woken others.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let (due, go_on) = {
            let mut turns = self.turns.lock().expect("no panic");
            let Some(((due, number), (what, go_on))) = turns.waiting.pop_first() else {
                return false;
            };
            turns.steps += 1;
            let mut trace = turns.trace;
            for octet in what.bytes().chain(number.to_be_bytes()).chain(due.to_be_bytes()) {
                trace = (trace ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
            }
            turns.trace = trace;
            (due, go_on)
        };
        self.clock.advance((due - self.now()).max(0));
        // A task that was dropped meanwhile needs no turn.
        let _ = go_on.send(());
        true
    }

    /// Drops everybody who waits: the power is cut.
    pub(super) fn forget_turns(&self) {
        let waiting = std::mem::take(&mut self.turns.lock().expect("no panic").waiting);
        drop(waiting);
    }

    pub(super) fn steps(&self) -> u64 {
        self.turns.lock().expect("no panic").steps
    }

    /// What two runs of one seed have in common, and runs of two seeds have not.
    pub(super) fn trace(&self) -> u64 {
        self.turns.lock().expect("no panic").trace
    }

    /// Notes a promise that was not kept.
    pub(super) fn blame(&self, text: impl std::fmt::Display) {
        self.blamed.lock().expect("no panic").push(format!("at {}: {text}", self.now()));
    }

    pub(super) fn is_blamed(&self) -> bool {
        !self.blamed.lock().expect("no panic").is_empty()
    }

    pub(super) fn blamed(&self) -> Vec<String> {
        self.blamed.lock().expect("no panic").clone()
    }

    /// Notes that the engine takes no more commits, so that the process has to be restarted.
    pub(super) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether the process has to be restarted; asking clears it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.swap(false, Ordering::Relaxed)
    }
}
