//! Pages and rows of runs that are lost or damaged: runs go on.

use super::*;
use crate::run::keys::{DEPARTED_RUN_PAGES, SNAPSHOT_RUN_NEEDS};

const NONE: Retention =
    Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 0 };

/// A world after one run, in which every account has new mail.
async fn changed(accounts: u64) -> World {
    let world = World::new(accounts).await;
    world.run().await;
    world.clock.advance(HOUR);
    for account in 1..=accounts {
        world.append(account, 1).await;
    }
    world
}

/// A whole run with the power cut behind each step; says how often the tree was given up.
async fn run_with_cuts(mut world: World) -> (World, usize) {
    let mut given_up = 0;
    world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
    loop {
        let step = world.step().await;
        given_up += usize::from(step.given_up.is_some());
        world = world.crash().await;
        if step.done {
            break;
        }
    }
    world.close().await;
    (world, given_up)
}

/// When the snapshots and runs before are gone, nothing is stored but what the last ones refer to.
async fn assert_tidy(world: &World) {
    let later = world.clock.now().plus_millis(90 * 24 * HOUR);
    for account in world.store.account_ids(None, 999).await.expect("accounts") {
        world.snapshots.thin(account, &NONE, later).await.expect("thinned");
    }
    world.runs.thin(&NONE, later).await.expect("thinned");
    assert_eq!(world.runs.list().await.expect("runs").len(), 1);
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
    assert_eq!(world.count(DEPARTED_RUN_PAGES).await, 0);
    assert_eq!(world.faults().await, []);
}

#[tokio::test]
async fn a_page_of_the_tree_that_is_lost_or_damaged_stops_no_run() {
    let pages = changed(70).await.count(SNAPSHOT_RUN_PAGES).await;
    assert!(pages > 2, "{pages}");
    for (at, is_lost) in (0..pages).flat_map(|at| [(at, true), (at, false)]) {
        let world = changed(70).await;
        let (key, value) = world.rows(SNAPSHOT_RUN_PAGES).await.swap_remove(at);
        let mut octets = value.to_vec();
        octets[value.len() / 2] ^= 1;
        world.put(SNAPSHOT_RUN_PAGES, key, (!is_lost).then(|| octets.into())).await;
        assert!(!world.faults().await.is_empty(), "page {at} is missed");
        let (world, given_up) = run_with_cuts(world).await;
        assert_eq!(given_up, 1, "page {at}, lost: {is_lost}");
        let run = world.runs.latest().await.expect("read").expect("a run");
        world.assert_complete(&run, 70).await;
        // And so do the next ones, with the tree that was built.
        world.clock.advance(HOUR);
        world.append(7, 2).await;
        let run = world.run().await;
        world.assert_complete(&run, 70).await;
        assert_tidy(&world).await;
    }
}

#[tokio::test]
async fn a_tree_that_is_built_anew_has_accounts_that_have_not_changed_and_takes_nothing_of_them() {
    let world = World::new(70).await;
    let first = world.run().await;
    world.clock.advance(HOUR);
    world.append(3, 1).await;
    for (key, _) in world.rows(SNAPSHOT_RUN_PAGES).await {
        world.put(SNAPSHOT_RUN_PAGES, key, None).await;
    }
    let second = world.run().await;
    world.assert_complete(&second, 70).await;
    assert_eq!(second.record.previous, Some(first.record.hash()));
    for account in 1..=70 {
        let all = world.snapshots.list(AccountId(account)).await.expect("a list").len();
        assert_eq!(all, if account == 3 { 2 } else { 1 }, "account {account}");
    }
    assert_tidy(&world).await;
}

#[tokio::test]
async fn what_an_older_tree_still_has_goes_on_proving_it() {
    let world = World::new(2).await;
    world.append(1, 1).await;
    world.run().await;
    let early = world.latest(1).await;
    for at in 2..4 {
        world.clock.advance(HOUR);
        world.append(1, at).await;
        world.run().await;
    }
    let last = world.runs.latest().await.expect("read").expect("a run");
    let pages = world.rows(SNAPSHOT_RUN_PAGES).await;
    for (key, _) in pages.into_iter().filter(|(key, _)| key[..8] == 3_u64.to_be_bytes()) {
        world.put(SNAPSHOT_RUN_PAGES, key, None).await;
    }
    assert_eq!(last.number(), 3);
    world.prove(&early).await.expect("by the first run");
    assert!(world.prove(&world.latest(1).await).await.is_err());
    world.clock.advance(HOUR);
    world.append(1, 9).await;
    let third = world.latest(1).await;
    world.run().await;
    world.prove(&third).await.expect("by the next run, which leads back to it");
    world.prove(&early).await.expect("by the first run");
}

#[tokio::test]
async fn runs_go_on_when_it_is_lost_how_far_they_are() {
    for (value, amid) in [(None, false), (Some("\u{1}??"), false), (None, true)] {
        let world = changed(20).await;
        let first = world.runs.latest().await.expect("read").expect("a run");
        if amid {
            world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
            world.step().await;
            world.step().await;
        }
        world.put(SNAPSHOT_RUN_PROGRESS, keys::head(), value.map(Bytes::from)).await;
        assert!(!world.faults().await.is_empty());
        let run = world.run().await;
        assert_eq!((run.number(), run.record.previous), (2, Some(first.record.hash())));
        world.assert_complete(&run, 20).await;
        assert_tidy(&world).await;
    }
}

#[tokio::test]
async fn a_damaged_run_hides_no_other_and_goes_when_it_is_the_oldest() {
    for damaged in 1..=4_u64 {
        let world = World::new(20).await;
        for at in 0..4 {
            world.append(1 + at, at).await;
            world.run().await;
            world.clock.advance(HOUR);
        }
        let fourth = world.runs.latest().await.expect("read").expect("a run");
        world.replace(SNAPSHOT_RUNS, keys::run(damaged), Bytes::from_static(b"\x01?")).await;
        let numbers: Vec<u64> =
            world.runs.list().await.expect("runs").iter().map(ClosedRun::number).collect();
        assert_eq!(numbers, (1..=4).filter(|number| *number != damaged).collect::<Vec<_>>());
        let latest = world.runs.latest().await.expect("read").map(|run| run.number());
        assert_eq!(latest, numbers.last().copied());
        assert!(!world.faults().await.is_empty());
        world.append(9, 9).await;
        let fifth = world.run().await;
        assert_eq!(fifth.record.previous, Some(fourth.record.hash()));
        world.assert_complete(&fifth, 20).await;
        assert_tidy(&world).await;
        assert_eq!(world.count(SNAPSHOT_RUNS).await, 1);
    }
}

#[tokio::test]
async fn a_sweep_passes_accounts_whose_settings_cannot_be_read() {
    let world = World::new(3).await;
    let key = storage::catalog::keys::account(AccountId(2));
    world.replace(storage::catalog::keys::ACCOUNTS, key, Bytes::from_static(b"\x01\xff")).await;
    let swept = world.runs.sweep(2).await.expect("accounts");
    assert_eq!(swept, [AccountId(1), AccountId(2)]);
    assert_eq!(world.runs.sweep(2).await.expect("accounts"), [AccountId(3)]);
    assert!(world.runs.sweep(2).await.expect("accounts").is_empty());
}

#[tokio::test]
async fn what_stands_under_a_run_whose_row_is_lost_goes_with_the_next_thinning() {
    let world = World::new(20).await;
    for at in 0..4 {
        world.append(1 + at, at).await;
        world.run().await;
        world.clock.advance(HOUR);
    }
    let held = world.latest(3).await;
    let order = Hold { reason: "causa 12/2026".to_owned(), since: world.clock.now() };
    world.runs.hold(AccountId(3), Some(held.number), Some(order)).await.expect("held");
    world.put(SNAPSHOT_RUNS, keys::run(3), None).await;
    world.put(SNAPSHOT_RUN_NEEDS, keys::need(3, AccountId(1), 1), Some(Bytes::new())).await;
    assert!(world.faults().await.contains(&crate::check::SnapshotFault::ListedUnderNoRun));
    let long = Retention { hourly_hours: 99, ..Retention::default() };
    let thinned = world.runs.thin(&long, world.clock.now()).await.expect("thinned");
    assert_eq!((thinned.kept, thinned.removed), (3, 0));
    assert_eq!(world.faults().await, []);
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
}
