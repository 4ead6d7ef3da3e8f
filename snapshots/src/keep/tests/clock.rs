//! Clocks that were ahead and were set right.

use trust::clock::Clock as _;

use super::house::{ANNA, House, INBOX, MORNING, small};
use crate::{
    error::SnapshotError,
    keep::{
        settings::Retention,
        snapshot::{Snapshot, SnapshotKind},
        take::Taken,
    },
};

const HOUR: i64 = 3_600_000;
const YEARS: i64 = 10 * 365 * 24 * HOUR;

/// One snapshot by the right clock, one by a clock that is years ahead; then the clock is right again.
async fn ahead() -> (House, [Snapshot; 2]) {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let first = house.take().await;
    house.append(INBOX, 1).await;
    house.clock.advance(YEARS);
    let wrong = house.take().await;
    house.clock.advance(-YEARS);
    (house, [first, wrong])
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_snapshots_go_on_and_instants_ascend() {
    let (house, [first, wrong]) = ahead().await;
    assert_eq!((first.clock, wrong.clock), (None, None));
    let mut before = wrong.clone();
    for number in 2..5 {
        house.append(INBOX, number).await;
        house.clock.advance(HOUR);
        let next = house.take().await;
        assert_eq!(next.record.instant.seconds(), before.record.instant.seconds() + 1);
        assert_eq!(next.record.previous, Some(before.record.hash()));
        assert_eq!((next.clock, next.taken()), (Some(house.clock.now()), house.clock.now()));
        assert!(next.name() > before.name());
        before = next;
    }
    let listed = house.snapshots.list(ANNA).await.expect("a list");
    assert_eq!(listed.last(), Some(&before), "the note is kept");
    house.is_sound().await;
    // When the time has come the clock's word is the instant again.
    house.clock.advance(YEARS);
    house.append(INBOX, 9).await;
    let late = house.take().await;
    assert_eq!((late.record.instant, late.clock), (house.clock.now(), None));
    house.is_sound().await;
}

#[tokio::test]
async fn what_was_taken_by_a_clock_that_was_ahead_stays_when_nothing_follows() {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let mut numbers = vec![house.take().await.number];
    house.clock.advance(24 * HOUR);
    for number in 1..4 {
        house.append(INBOX, number).await;
        house.clock.advance(HOUR);
        numbers.push(house.take().await.number);
    }
    house.clock.advance(-24 * HOUR);
    let retention =
        Retention { hourly_hours: 6, daily_days: 0, monthly_months: 0, on_demand_days: 2 };
    house.snapshots.thin(ANNA, &retention, house.clock.now()).await.expect("thinned");
    let kept = house.snapshots.list(ANNA).await.expect("a list");
    assert_eq!(kept.iter().map(|one| one.number).collect::<Vec<_>>(), numbers);
}

#[tokio::test]
async fn a_clock_that_is_moved_by_seconds_is_waited_for() {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let first = house.take().await;
    house.append(INBOX, 1).await;
    for back in [0, 10_000] {
        house.clock.advance(-back);
        assert!(matches!(house.try_take().await, Err(SnapshotError::TooSoon(ANNA))), "{back}");
    }
    house.clock.advance(11_000);
    let Ok(Taken::New(second)) = house.try_take().await else { panic!("its time has come") };
    assert_eq!((second.clock, second.record.previous), (None, Some(first.record.hash())));
}

#[tokio::test]
async fn what_is_taken_after_a_clock_that_was_ahead_stays_as_long_as_ever() {
    let (house, [first, wrong]) = ahead().await;
    let retention =
        Retention { hourly_hours: 6, daily_days: 0, monthly_months: 0, on_demand_days: 2 };
    let mut numbers = Vec::new();
    for hour in 0_usize..12 {
        house.clock.advance(HOUR);
        house.append(INBOX, 2 + hour).await;
        numbers.push(house.take().await.number);
        house.snapshots.thin(ANNA, &retention, house.clock.now()).await.expect("thinned");
        let kept = house.snapshots.list(ANNA).await.expect("a list");
        let kept: Vec<u64> = kept.iter().map(|one| one.number).collect();
        let hours = &numbers[numbers.len().saturating_sub(6)..];
        assert!(hours.iter().all(|number| kept.contains(number)), "hour {hour}: {kept:?}");
        // Nobody knows which hour it covers: it stays as long as each hour has its snapshot.
        assert_eq!(kept.contains(&wrong.number), hour < 6, "hour {hour}: {kept:?}");
        assert_eq!(kept.contains(&first.number), hour < 6, "hour {hour}: {kept:?}");
    }
    house.is_sound().await;
}

#[tokio::test]
async fn one_on_demand_by_a_clock_that_was_ahead_goes_when_its_days_are_over() {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    house.clock.advance(YEARS);
    let asked = house.snapshots.take(ANNA, SnapshotKind::OnDemand, house.clock.now()).await;
    assert!(matches!(asked, Ok(Taken::New(_))), "{asked:?}");
    house.clock.advance(-YEARS);
    assert_eq!(house.clock.now(), MORNING);
    house.append(INBOX, 1).await;
    house.take().await;
    let retention =
        Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 2 };
    for (days, stay) in [(1, 2), (1, 1)] {
        house.clock.advance(days * 24 * HOUR);
        house.snapshots.thin(ANNA, &retention, house.clock.now()).await.expect("thinned");
        assert_eq!(house.snapshots.list(ANNA).await.expect("a list").len(), stay, "{days}");
    }
}
