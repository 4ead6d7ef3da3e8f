//! What the check finds of runs.

use super::*;
use crate::{
    check::SnapshotFault,
    restore::job::SNAPSHOT_RESTORES,
    run::keys::{DEPARTED_RUN_PAGES, SNAPSHOT_RUN_NEEDS},
};

/// Four runs, each with pages of its own, and one held snapshot.
async fn world() -> World {
    let world = World::new(70).await;
    for at in 0..4 {
        world.append(1 + 20 * at, at).await;
        world.run().await;
        world.clock.advance(HOUR);
    }
    let held = world.latest(1).await;
    let order = Hold { reason: "causa 12/2026".to_owned(), since: world.clock.now() };
    world
        .runs
        .hold(AccountId(1), Some(held.number), Some(order), Batch::default())
        .await
        .expect("held");
    world
}

#[tokio::test]
async fn runs_are_sound_between_amid_and_after_thinning() {
    let world = world().await;
    assert_eq!(world.faults().await, []);
    for account in 1..=70 {
        world.append(account, 100).await;
    }
    world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
    loop {
        let step = world.step().await;
        assert_eq!(world.faults().await, []);
        if step.done {
            break;
        }
    }
    world.close().await;
    assert_eq!(world.faults().await, []);
    let short = Retention { hourly_hours: 1, daily_days: 0, monthly_months: 0, on_demand_days: 0 };
    let later = world.clock.now().plus_millis(40 * HOUR);
    let thinned = world.runs.thin(&short, later).await.expect("thinned");
    assert!(thinned.removed > 0, "{thinned:?}");
    assert_eq!(world.faults().await, []);
    let report = crate::check::run(&world.store, &|_| {}).await.expect("check");
    assert_eq!(report.seen.runs, thinned.kept);
}

#[tokio::test]
async fn every_page_that_is_missing_or_damaged_is_found() {
    let world = world().await;
    for (key, value) in world.rows(SNAPSHOT_RUN_PAGES).await {
        let mut octets = value.to_vec();
        octets[value.len() / 2] ^= 1;
        for damage in [None, Some(Bytes::from(octets))] {
            world.put(SNAPSHOT_RUN_PAGES, key.clone(), damage).await;
            let faults = world.faults().await;
            let lost = |fault: &SnapshotFault| matches!(fault, SnapshotFault::PageLost { .. });
            assert!(faults.iter().any(lost), "{faults:?}");
        }
        world.put(SNAPSHOT_RUN_PAGES, key, Some(value)).await;
    }
    assert_eq!(world.faults().await, []);
}

#[tokio::test]
async fn lists_that_are_wrong_and_pages_of_nobody_are_found() {
    let world = world().await;
    let (listed, _) = world.rows(DEPARTED_RUN_PAGES).await.swap_remove(0);
    world.put(DEPARTED_RUN_PAGES, listed.clone(), None).await;
    assert_eq!(world.faults().await, [SnapshotFault::NotListed]);
    world.put(DEPARTED_RUN_PAGES, listed.clone(), Some(Bytes::new())).await;
    let never = [&listed[8..24], &[9; 8]].concat();
    let wrong = keys::departed(1, &never);
    for (family, key, fault) in [
        (DEPARTED_RUN_PAGES, wrong, SnapshotFault::ListedWrongly),
        (DEPARTED_RUN_PAGES, keys::departed(99, &never), SnapshotFault::ListedUnderNoRun),
        (SNAPSHOT_RUN_PAGES, never.clone().into(), SnapshotFault::LeftoverOfRuns),
        (SNAPSHOT_RUN_NEEDS, keys::need(99, AccountId(1), 1), SnapshotFault::ListedUnderNoRun),
        (SNAPSHOT_RUN_NEEDS, keys::need(1, AccountId(99), 1), SnapshotFault::NoAccount),
    ] {
        world.put(family, key.clone(), Some(Bytes::new())).await;
        assert_eq!(world.faults().await, [fault], "{}", family.0);
        world.put(family, key, None).await;
    }
    assert_eq!(world.faults().await, []);
}

#[tokio::test]
async fn rows_that_cannot_be_read_or_are_of_no_account_are_found() {
    let world = world().await;
    let garbage = [Bytes::from_static(b"\x01??"), Bytes::from_static(b"\x09??")];
    let restore = [9_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat();
    for (family, key) in [
        (SNAPSHOT_RUN_NEEDS, keys::need(1, AccountId(1), 1)),
        (SNAPSHOT_RUN_NEEDS, Bytes::from_static(b"?")),
        (SNAPSHOT_RUN_DUE, keys::due(AccountId(1))),
        (SNAPSHOT_RUN_DUE, Bytes::from_static(b"?")),
        (SNAPSHOT_RESTORES, restore.into()),
        (SNAPSHOT_RUNS, keys::run(2)),
        (SNAPSHOT_RUN_PROGRESS, keys::head()),
    ] {
        let before = world.engine.get(family, &key).await.expect("read");
        for garbage in &garbage {
            world.put(family, key.clone(), Some(garbage.clone())).await;
            let faults = world.faults().await;
            let damaged = |fault: &SnapshotFault| matches!(fault, SnapshotFault::Damaged { .. });
            assert!(faults.iter().any(damaged), "{}: {faults:?}", family.0);
        }
        world.put(family, key, before).await;
        assert_eq!(world.faults().await, []);
    }
    let due = Bytes::copy_from_slice(&1_u64.to_be_bytes());
    world.put(SNAPSHOT_RUN_DUE, keys::due(AccountId(99)), Some(due)).await;
    assert_eq!(world.faults().await, [SnapshotFault::NoAccount]);
}

#[tokio::test]
async fn a_chain_of_runs_that_does_not_follow_is_found() {
    let world = world().await;
    let second = world.runs.run(2).await.expect("read").expect("the run");
    let put = async |change: fn(&mut RunRecord)| {
        let mut run = second.clone();
        change(&mut run.record);
        let row = rows::encode(&RunRow::of(&run));
        world.replace(SNAPSHOT_RUNS, keys::run(2), row.into()).await;
        world.faults().await
    };
    let broken = put(|record| record.previous = None).await;
    assert!(broken.contains(&SnapshotFault::RunChainBroken), "{broken:?}");
    let early = put(|record| record.begun = START).await;
    assert!(early.contains(&SnapshotFault::NotLater), "{early:?}");
    let more = put(|record| record.accounts += 1).await;
    let miscounted = |fault: &SnapshotFault| matches!(fault, SnapshotFault::RowsMiscounted { .. });
    assert!(more.iter().any(miscounted), "{more:?}");
    put(|_| {}).await;
    assert_eq!(world.faults().await, []);
    let last = keys::run(4);
    let row = world.engine.get(SNAPSHOT_RUNS, &last).await.expect("read");
    world.put(SNAPSHOT_RUNS, last.clone(), None).await;
    assert!(world.faults().await.contains(&SnapshotFault::RunsMiscounted));
    world.put(SNAPSHOT_RUNS, last, row).await;
    assert_eq!(world.faults().await, []);
}
