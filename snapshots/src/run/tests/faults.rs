//! Power that is cut, rows that are damaged, holds and requests at the wrong moment.

use super::*;
use crate::run::keys::SNAPSHOT_RUN_NEEDS;

const NONE: Retention =
    Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 0 };

#[tokio::test]
async fn a_run_that_is_killed_at_any_commit_enters_every_account_once() {
    let mut ended = false;
    for commits in 0.. {
        let world = World::new(7).await;
        world.run().await;
        for account in 1..=7 {
            world.append(account, 1).await;
        }
        world.clock.advance(HOUR);
        ended = world.try_run(commits).await.is_ok();
        let world = world.crash().await;
        if world.runs.run(2).await.expect("read").is_none() {
            world.run().await;
        }
        let run = world.runs.run(2).await.expect("read").expect("the run");
        world.assert_complete(&run, 7).await;
        assert_eq!(world.count(SNAPSHOT_RUN_DUE).await, 0, "{commits} commits");
        for account in 1..=7 {
            let all = world.snapshots.list(AccountId(account)).await.expect("list");
            assert_eq!(all.len(), 2, "account {account}, {commits} commits");
        }
        if ended {
            assert!(commits > 10, "{commits}");
            break;
        }
    }
    assert!(ended);
}

#[tokio::test]
async fn a_snapshot_that_no_run_entered_is_noted_by_the_one_that_enters_the_next() {
    let world = World::new(2).await;
    world.run().await;
    world.append(1, 1).await;
    world.clock.advance(HOUR);
    // The run begins and takes a snapshot; then the power is cut.
    world.try_run(2).await.expect_err("the power is cut");
    let world = world.crash().await;
    let between = world.latest(1).await;
    assert_eq!(between.number, 2);
    world.append(1, 2).await;
    world.clock.advance(HOUR);
    world.run().await;
    let latest = world.latest(1).await;
    assert_eq!(latest.number, 3);
    world.append(1, 3).await;
    world.clock.advance(HOUR);
    world.run().await;
    world.snapshots.forget(AccountId(1), latest.number).await.expect("forgotten");
    world.runs.thin(&NONE, world.clock.now().plus_millis(90 * 24 * HOUR)).await.expect("thinned");
    world.prove(&between).await.expect("a proof");
}

#[tokio::test]
async fn one_asked_for_once_more_since_a_run_entered_it_stays_provable() {
    let asked_for = Retention { on_demand_days: 35, ..NONE };
    // Replaced before the next run, and behind it.
    for runs in [0, 1] {
        let world = World::new(2).await;
        // Else the first run covers the beginning of a month.
        world.clock.advance(5 * HOUR);
        world.run().await;
        world.clock.advance(HOUR / 3);
        let taken = world.snapshots.take(AccountId(1), SnapshotKind::OnDemand, world.clock.now());
        let Ok(Taken::Unchanged(Some(asked))) = taken.await else { panic!("it has not changed") };
        for number in 0..runs {
            world.clock.advance(HOUR);
            world.append(2, number + 1).await;
            world.run().await;
        }
        for number in 0..3 {
            world.clock.advance(HOUR);
            world.append(1, number + 1).await;
            world.run().await;
        }
        let later = world.clock.now().plus_millis(20 * 24 * HOUR);
        for account in [1, 2] {
            world.snapshots.thin(AccountId(account), &asked_for, later).await.expect("thinned");
        }
        world.runs.thin(&asked_for, later).await.expect("thinned");
        let left: Vec<u64> =
            world.runs.list().await.expect("runs").iter().map(ClosedRun::number).collect();
        assert!(left.len() < 3, "the others are gone: {left:?}");
        world.prove(&asked).await.expect("a proof");
        assert_eq!(world.faults().await, []);
    }
}

#[tokio::test]
async fn one_account_without_its_secret_stops_no_other() {
    let world = World::new(3).await;
    world.run().await;
    world.append(2, 1).await;
    world.on_demand(2).await;
    // Without its secret nothing of an account can be hashed; a row of a snapshot would be passed over.
    let key = keep::keys::account(AccountId(2));
    let family = keep::keys::SNAPSHOT_ACCOUNTS;
    let row = world.replace(family, key.clone(), Bytes::from_static(b"\x09\xff")).await;
    world.append(3, 1).await;
    world.clock.advance(HOUR);
    world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
    let (mut failed, mut progress) = (Vec::new(), RunProgress::default());
    while progress.number == 0
        || !world.runs.close(world.clock.now()).await.is_ok_and(|run| run.is_some())
    {
        let step = world.step().await;
        failed.extend(step.failures.into_iter().map(|(account, _)| account.0));
        progress = step.progress;
    }
    assert_eq!((failed, progress.failed), (vec![2, 2], 1));
    let run = world.runs.latest().await.expect("read").expect("a run");
    let rows = world.entered(&run).await;
    assert_eq!(rows[&3].record, world.latest(3).await.record.hash());
    assert_ne!(rows[&2].record, world.latest(2).await.record.hash());
    world.replace(family, key, row).await;
    world.clock.advance(HOUR);
    let run = world.run().await;
    world.assert_complete(&run, 3).await;
}

#[tokio::test]
async fn rows_of_nobody_among_those_that_wait_stop_no_run() {
    let world = World::new(3).await;
    world.run().await;
    world.append(3, 1).await;
    let waiting = world.on_demand(3).await;
    // More of them than a step has accounts, before and behind the one that waits.
    let nobodys: Vec<Bytes> = (0..9_u8).map(|at| Bytes::copy_from_slice(&[at])).collect();
    let behind = Bytes::from([&keys::due(AccountId(3))[..], &[0]].concat());
    for key in nobodys.iter().chain([&behind]) {
        world.put(SNAPSHOT_RUN_DUE, key.clone(), Some(Bytes::from_static(&[0; 8]))).await;
    }
    assert_eq!(world.faults().await.len(), 10, "each is told of by the check");
    world.clock.advance(HOUR);
    let run = world.run().await;
    assert_eq!(world.entered(&run).await[&3].record, waiting.record.hash());
    assert_eq!(world.count(SNAPSHOT_RUN_DUE).await, 10, "what cannot be read stays");
}

#[tokio::test]
async fn an_account_that_fails_in_every_phase_is_counted_once() {
    let world = World::new(3).await;
    world.run().await;
    world.append(2, 1).await;
    world.on_demand(2).await;
    world.append(2, 2).await;
    let key = keep::keys::account(AccountId(2));
    world.replace(keep::keys::SNAPSHOT_ACCOUNTS, key, Bytes::from_static(b"\x09\xff")).await;
    world.clock.advance(HOUR);
    world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
    let mut step = world.step().await;
    while !step.done {
        step = world.step().await;
    }
    assert_eq!(step.progress.failed, 1);
}

#[tokio::test]
async fn a_hold_during_a_run_keeps_the_run_that_has_the_snapshot_already() {
    for entered_again in [false, true] {
        let world = World::new(8).await;
        world.append(1, 1).await;
        world.runs.begin(world.clock.now(), world.clock.now()).await.expect("begun");
        world.step().await;
        let held = world.latest(1).await;
        hold(&world, &held).await;
        world.append(1, 2).await;
        if entered_again {
            // By the same run, because its holder asks for it.
            world.on_demand(1).await;
        }
        while !world.step().await.done {}
        world.close().await;
        world.prove(&held).await.expect("a proof");
        for at in 0..5 {
            world.append(1, 3 + at).await;
            world.clock.advance(24 * HOUR);
            world.run().await;
        }
        for number in 2..=4 {
            world.snapshots.forget(AccountId(1), number).await.expect("forgotten");
        }
        let later = world.clock.now().plus_millis(90 * 24 * HOUR);
        let thinned = world.runs.thin(&NONE, later).await.expect("thinned");
        assert!(thinned.removed > 2, "{thinned:?}");
        world.prove(&held).await.expect("a proof");
    }
}

#[tokio::test]
async fn a_run_stays_when_nobody_can_tell_whether_it_is_needed() {
    let world = World::new(2).await;
    world.append(1, 1).await;
    world.run().await;
    let held = world.latest(1).await;
    hold(&world, &held).await;
    assert_eq!(world.count(SNAPSHOT_RUN_NEEDS).await, 1, "in the batch of the hold");
    for at in 0..4 {
        world.append(2, at).await;
        world.clock.advance(24 * HOUR);
        world.run().await;
    }
    let key = keep::keys::snapshot(AccountId(1), held.number);
    let family = keep::keys::SNAPSHOTS;
    // A row that a newer program wrote; one that is damaged is passed over.
    let row = world.replace(family, key.clone(), Bytes::from_static(b"\x09\xff")).await;
    let later = world.clock.now().plus_millis(60 * 24 * HOUR);
    let thinned = world.runs.thin(&NONE, later).await.expect("thinned");
    assert_eq!((thinned.kept, thinned.failures.len()), (2, 1), "{thinned:?}");
    world.replace(family, key, row).await;
    world.prove(&held).await.expect("a proof");
}

#[tokio::test]
async fn damaged_settings_of_one_account_leave_those_of_the_others() {
    let world = World::new(3).await;
    let overrides = keep::settings::Overrides {
        monthly_months: Some(60),
        ..keep::settings::Overrides::default()
    };
    for account in 1..=2 {
        let changed =
            world.snapshots.change_settings(AccountId(account), overrides, Batch::default());
        changed.await.expect("changed");
    }
    let key = keep::keys::account(AccountId(1));
    world.replace(keep::keys::SNAPSHOT_ACCOUNTS, key, Bytes::from_static(b"\x01\xff")).await;
    let mut damaged = Vec::new();
    let note = |account: AccountId, _| damaged.push(account.0);
    let longest = world.snapshots.longest(&Retention::default(), note).await.expect("read");
    assert_eq!((longest.monthly_months, damaged), (60, vec![1]));
}

#[tokio::test]
async fn of_an_account_whose_row_is_damaged_the_runs_of_its_snapshots_stay_and_no_others() {
    let world = World::new(2).await;
    let run = async |account: u64, at: u64| {
        world.append(account, at).await;
        let run = world.run().await;
        world.clock.advance(24 * HOUR);
        run.number()
    };
    for at in 0..6 {
        run(1, at).await;
    }
    // No record leads over a gap.
    for number in [2, 4] {
        world.snapshots.forget(AccountId(1), number).await.expect("forgotten");
    }
    let key = keep::keys::account(AccountId(1));
    let damaged = Bytes::from_static(b"\x01\xff");
    let row = world.replace(keep::keys::SNAPSHOT_ACCOUNTS, key.clone(), damaged).await;
    let mut latest = 0;
    for at in 10..50 {
        latest = run(2, at).await;
    }
    let thinned = world.runs.thin(&NONE, world.clock.now()).await.expect("thinned");
    let unknown: Vec<u64> = thinned.unknown.iter().map(|(account, _)| account.0).collect();
    assert_eq!((unknown, thinned.removed > 30), (vec![1], true), "{thinned:?}");
    let kept: Vec<u64> =
        world.runs.list().await.expect("runs").iter().map(ClosedRun::number).collect();
    assert_eq!((&kept[..4], kept.last()), (&[1, 3, 5, 6][..], Some(&latest)), "{kept:?}");
    world.replace(keep::keys::SNAPSHOT_ACCOUNTS, key, row).await;
    for snapshot in world.snapshots.list(AccountId(1)).await.expect("a list") {
        world.prove(&snapshot).await.expect("a proof");
    }
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
}

#[tokio::test]
async fn what_an_account_may_ask_for_in_a_day_is_counted_one_by_one() {
    let world = World::new(1).await;
    world.run().await;
    let ask = async |at: u64| {
        world.append(1, at).await;
        let now = world.clock.now().plus_millis(1_000 * i64::try_from(at).expect("small"));
        world.runs.take_asked(AccountId(1), 2, now).await
    };
    futures::future::join_all((1..=8).map(&ask)).await;
    let all = world.snapshots.list(AccountId(1)).await.expect("list");
    let asked = all.iter().filter(|one| one.kind == SnapshotKind::OnDemand).count();
    assert!((1..=2).contains(&asked), "{asked}");
    // Then one after the other.
    for at in 20..22 {
        let _ = ask(at).await;
    }
    let over = ask(30).await.expect("counted");
    assert_eq!(over, None, "the account has changed");
    world.clock.advance(24 * HOUR);
    let first = world.runs.take_asked(AccountId(1), 1, world.clock.now()).await.expect("asked");
    assert!(matches!(first, Some(Taken::New(_))), "another day: {first:?}");
    let again = world.runs.take_asked(AccountId(1), 1, world.clock.now()).await.expect("asked");
    assert!(matches!(again, Some(Taken::Unchanged(Some(_)))), "unchanged: {again:?}");
}

#[tokio::test]
async fn a_request_that_took_nothing_uses_none_up_and_an_operators_hands_none_back() {
    let world = World::new(1).await;
    world.run().await;
    let account = AccountId(1);
    let ask = async || {
        world.clock.advance(1_000);
        world.runs.take_asked(account, 1, world.clock.now()).await.expect("asked")
    };
    // The account is as the run has found it.
    let nothing = ask().await;
    assert!(matches!(nothing, Some(Taken::Unchanged(Some(_)))), "{nothing:?}");
    world.append(1, 40).await;
    assert!(matches!(ask().await, Some(Taken::New(_))), "the first of the day");
    // An operator asks for what the holder has just had.
    world.clock.advance(1_000);
    let operators = world.snapshots.take(account, SnapshotKind::Operator, world.clock.now()).await;
    assert!(matches!(operators, Ok(Taken::Unchanged(Some(_)))), "{operators:?}");
    world.append(1, 41).await;
    assert_eq!(ask().await, None, "the day has one");
}
