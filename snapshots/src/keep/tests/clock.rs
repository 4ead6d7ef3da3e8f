//! Clocks that were ahead, or behind, and were set right.

use std::collections::BTreeSet;

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
const DAY: i64 = 24 * HOUR;
const YEARS: i64 = 10 * 365 * DAY;

/// One snapshot by the right clock, one by a clock that is ahead by `ahead`; then the clock is right again.
async fn ahead(ahead: i64) -> (House, [Snapshot; 2]) {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let first = house.take().await;
    house.append(INBOX, 1).await;
    house.clock.advance(ahead);
    let wrong = house.take().await;
    house.clock.advance(-ahead);
    (house, [first, wrong])
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_snapshots_go_on_and_instants_ascend() {
    let (house, [first, wrong]) = ahead(YEARS).await;
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
async fn what_is_taken_after_a_clock_that_was_wrong_stays_as_long_as_ever() {
    let retention =
        Retention { hourly_hours: 6, daily_days: 0, monthly_months: 0, on_demand_days: 2 };
    for (house, [first, wrong]) in [ahead(YEARS).await, ahead(-YEARS).await] {
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
}

/// What stays of thirty days and thirty hours, of which each has a snapshot, when the clock is behind as
/// the last but one is taken.
async fn stay(behind: i64) -> BTreeSet<u64> {
    let (house, _anna) = House::new(small()).await;
    for number in 0..60 {
        house.append(INBOX, number).await;
        house.clock.advance(if number < 30 { DAY } else { HOUR });
        house.take().await;
    }
    for (number, advance) in [(60, HOUR - behind), (61, HOUR + behind)] {
        house.append(INBOX, number).await;
        house.clock.advance(advance);
        house.take().await;
    }
    let thinned = house.snapshots.thin(ANNA, &Retention::default(), house.clock.now()).await;
    assert_eq!(thinned.expect("thinned").forgotten, 0);
    house.is_sound().await;
    let kept = house.snapshots.list(ANNA).await.expect("a list");
    kept.into_iter().map(|one| one.number).collect()
}

#[tokio::test]
async fn one_snapshot_by_a_clock_that_was_behind_takes_nothing_of_what_was_before_it() {
    let right = stay(0).await;
    assert_eq!(right.len(), 62);
    for days in [1, 3, 20, 56 * 365] {
        assert_eq!(stay(days * DAY).await, right, "{days}");
    }
}

#[tokio::test]
async fn until_when_one_stood_is_not_known_from_a_clock_that_was_behind() {
    let (house, [first, wrong]) = ahead(-YEARS).await;
    house.append(INBOX, 2).await;
    house.take().await;
    house.snapshots.forget(ANNA, wrong.number).await.expect("forget");
    let first = house.snapshots.get(ANNA, first.number).await.expect("read").expect("a snapshot");
    assert_eq!(first.stood_until, None);
    house.is_sound().await;
}

#[tokio::test]
async fn one_that_was_asked_for_by_a_clock_that_was_behind_stays_for_its_days() {
    let retention =
        Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 2 };
    // A new one, or the one that stood already.
    for is_new in [true, false] {
        let (house, _anna) = House::new(small()).await;
        house.append(INBOX, 0).await;
        house.take().await;
        if is_new {
            house.append(INBOX, 1).await;
        }
        house.clock.advance(-YEARS);
        let asked = house.snapshots.take(ANNA, SnapshotKind::OnDemand, house.clock.now()).await;
        let asked = match asked.expect("taken") {
            Taken::New(snapshot) if is_new => snapshot,
            Taken::Unchanged(Some(snapshot)) if !is_new => snapshot,
            other => panic!("{other:?}"),
        };
        house.clock.advance(YEARS + HOUR);
        house.append(INBOX, 2).await;
        let last = house.take().await;
        for (days, is_kept) in [(1, true), (1, false)] {
            house.clock.advance(days * DAY);
            house.snapshots.thin(ANNA, &retention, house.clock.now()).await.expect("thinned");
            let kept = house.snapshots.list(ANNA).await.expect("a list");
            let kept: Vec<u64> = kept.iter().map(|one| one.number).collect();
            let wanted = [asked.number, last.number];
            assert_eq!(kept, wanted[usize::from(!is_kept)..], "{is_new} {is_kept}");
        }
    }
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
