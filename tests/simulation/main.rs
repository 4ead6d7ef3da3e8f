//! Simulation: three providers exchange certified mail over a network that loses, doubles and
//! reorders what it carries, on machines that die. In the end every transmission has one legal
//! final state for each recipient; no receipt is missing, none is doubled, and the journals are
//! complete (RFC 6109 §2.1, §2.3, §3).
//!
//! Everything that is drawn comes from a seed, which stands in the message of a failed test; which
//! task runs first does not, so a seed brings a failure back often, not always.

mod catalog;
#[path = "../engine/letter.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod letter;
#[path = "../engine/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod network;
mod node;
mod verdict;
mod wire;
mod world;

use tokio::task::{JoinError, JoinSet};

use self::{
    verdict::outcome,
    wire::below,
    world::{Cuts, World},
};

const MINUTE_MILLIS: i64 = 60_000;

/// Whom messages go to: at the same provider, elsewhere, and somebody who is not there.
const ADDRESSES: [&str; 7] = [
    "anna@pec.alfa.example",
    "aldo@pec.alfa.example",
    "bruno@pec.beta.example",
    "bice@pec.beta.example",
    "giulia@pec.gamma.example",
    "guido@pec.gamma.example",
    "nessuno@pec.gamma.example",
];

/// Anna writes to everybody; what is left when all is done is right.
async fn one_message(cuts: Cuts) -> World {
    let mut world = World::start(1, false, cuts).await;
    world.send(0, 0, &ADDRESSES[1..]).await;
    world.settle(1_000).await;
    outcome(&world).await.judge(&world);
    world
}

/// Lets `worlds` run beside one another; the one that fails is named by its number.
async fn all<W>(worlds: impl IntoIterator<Item = (u64, W)>) -> Vec<World>
where
    W: Future<Output = World> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut ended = Vec::new();
    let mut end = |(number, world): (u64, Result<World, JoinError>)| {
        ended.push(world.unwrap_or_else(|error| panic!("number {number}: {error}")));
    };
    for (number, world) in worlds {
        if running.len() >= WORLDS_MAX {
            end(running.join_next().await.expect("one runs").expect("it is waited for"));
        }
        running.spawn(async move { (number, tokio::spawn(world).await) });
    }
    while let Some(world) = running.join_next().await {
        end(world.expect("it is waited for"));
    }
    ended
}

/// Worlds at the same time.
const WORLDS_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_to_its_end_wherever_the_power_is_cut() {
    let whole = one_message(Cuts::None).await;
    assert_eq!((whole.answered.len(), whole.cuts), (1, 0));
    for node in 0..whole.nodes.len() {
        // Two steps a commit. With other turns of the tasks there may be a commit less.
        let steps = 2 * whole.commits_of(node);
        let world = |step| {
            let cuts = Cuts::Once { node, step: i64::try_from(step).expect("few") };
            (step, one_message(cuts))
        };
        let cuts: usize = all((0..steps).map(world)).await.iter().map(|world| world.cuts).sum();
        assert!(cuts as u64 * 10 >= steps * 8, "node {node}: {cuts} cuts at {steps} steps");
    }
}

/// A dozen messages between everybody while connections are lost and machines die.
async fn storm(seed: u64) -> World {
    let mut world = World::start(seed, true, Cuts::Often { steps_below: 600 }).await;
    for _ in 0..12 {
        let node = index(&world, 3);
        let sender = index(&world, 2);
        let from = index(&world, ADDRESSES.len() - 1);
        let many = 1 + index(&world, ADDRESSES.len() - from);
        world.send(node, sender, &ADDRESSES[from..from + many]).await;
        for _ in 0..below(&world.random, 20) {
            world.tick(500).await;
        }
    }
    world.calm().await;
    world.settle(1_000).await;
    outcome(&world).await.judge(&world);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transmission_survives_a_storm() {
    let seeds = std::env::var(SEEDS).map_or(8, |seeds| seeds.parse().expect("a number"));
    let worlds = all((0..seeds).map(|seed| (seed, storm(seed)))).await;
    let answered: usize = worlds.iter().map(|world| world.answered.len()).sum();
    let cuts: usize = worlds.iter().map(|world| world.cuts).sum();
    let sent: usize = worlds.iter().map(|world| world.sent).sum();
    assert!(answered * 2 >= sent && cuts > 0, "{answered} of {sent} answered, {cuts} cuts");
}

/// How many storms there are; more than the usual eight for a long look.
const SEEDS: &str = "CERALACCA_TEST_STORMS";

fn index(world: &World, bound: usize) -> usize {
    usize::try_from(below(&world.random, bound as u64)).expect("small")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stays_away_ends_with_a_notice_and_one_that_comes_back_with_a_receipt() {
    for (hours, expired) in [(13, false), (25, true)] {
        let mut world = World::start(3, false, Cuts::None).await;
        world.nodes[2].kill();
        world.nodes[2].away = true;
        world.send(0, 0, &["bruno@pec.beta.example", "giulia@pec.gamma.example"]).await;
        for _ in 0..hours * 60 / 5 {
            world.tick(5 * MINUTE_MILLIS).await;
        }
        // His notices are in the sender's mailbox before anybody is back.
        world.until_expired(usize::from(expired)).await;
        world.return_node(2).await;
        world.settle(1_000).await;
        let outcome = outcome(&world).await;
        outcome.judge(&world);
        assert_eq!(outcome.expired(), usize::from(expired), "after {hours} h");
    }
}
