//! Runs by a clock that was ahead, or behind, and was set right.

use super::*;

#[tokio::test]
async fn after_a_clock_that_was_wrong_what_the_covering_rule_keeps_stays_provable() {
    let days = 60 * 24 * HOUR;
    for ahead in [days, -days] {
        let world = World::new(4).await;
        let mut number = 0;
        let mut mail = async |accounts: std::ops::RangeInclusive<u64>| {
            for account in accounts {
                number += 1;
                world.append(account, number).await;
            }
        };
        mail(4..=4).await;
        for _ in 0..30 {
            mail(1..=3).await;
            world.run().await;
            world.clock.advance(HOUR);
        }
        world.clock.advance(ahead);
        mail(1..=2).await;
        let wrong = world.run().await;
        world.clock.advance(-ahead);
        let retention =
            Retention { hourly_hours: 6, daily_days: 2, monthly_months: 0, on_demand_days: 2 };
        let mut removed = 0;
        for hour in 0..40 {
            world.clock.advance(HOUR);
            mail(1..=3).await;
            let run = world.run().await;
            assert!(run.record.begun >= wrong.record.closed, "records ascend");
            let step = world.runs.progress().await.expect("read");
            assert_eq!(step, None);
            let now = world.clock.now();
            for account in 1..=4 {
                let thinned = world.snapshots.thin(AccountId(account), &retention, now).await;
                thinned.expect("thinned");
            }
            removed += world.runs.thin(&retention, now).await.expect("thinned").removed;
            for account in 1..=4 {
                let all = world.snapshots.list(AccountId(account)).await.expect("a list");
                let hours = if account < 4 { (hour + 1).min(6) } else { 1 };
                assert!(all.len() >= hours, "hour {hour}, account {account}: {}", all.len());
                let midnight = START.plus_millis(24 * HOUR);
                let is_covered = all.iter().any(|one| one.taken() <= midnight);
                assert!(is_covered, "hour {hour}, account {account}");
                for snapshot in &all {
                    world.prove(snapshot).await.unwrap_or_else(|error| {
                        panic!("hour {hour}, account {account}, {}: {error}", snapshot.name())
                    });
                }
            }
        }
        assert!(removed > 3, "{removed}");
        assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
    }
}

#[tokio::test]
async fn what_was_asked_for_by_a_clock_that_was_ahead_counts_in_no_other_day() {
    let world = World::new(1).await;
    let days = 60 * 24 * HOUR;
    world.append(1, 1).await;
    world.clock.advance(days);
    let asked = world.runs.take_asked(AccountId(1), 1, world.clock.now()).await.expect("asked");
    assert!(matches!(asked, Some(Taken::New(_))), "{asked:?}");
    world.clock.advance(-days);
    for at in 2..4 {
        world.append(1, at).await;
        world.clock.advance(24 * HOUR);
        let asked = world.runs.take_asked(AccountId(1), 1, world.clock.now()).await.expect("asked");
        assert!(matches!(asked, Some(Taken::New(_))), "{asked:?}");
        world.append(1, 10 + at).await;
        let more = world.runs.take_asked(AccountId(1), 1, world.clock.now()).await.expect("asked");
        assert_eq!(more, None, "one a day");
    }
}
