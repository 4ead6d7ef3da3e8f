//! Which snapshots go, and what goes with them.

use std::collections::BTreeSet;

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine as _, Family, Reader as _, Scan},
        keys::{DEPARTED_MESSAGES, departed_message},
    },
    error::StoreError,
    ids::EmailNumber,
    mailbox::{flags::Flags, view::MailboxView as _},
};
use trust::clock::Clock as _;

use super::house::{ANNA, House, INBOX, small, uid};
use crate::{
    check::{self, SnapshotFault},
    error::SnapshotError,
    keep::{
        keys::{self, DEPARTED_PAGES, DepartedKey, PageKey, SNAPSHOT_PAGES, SNAPSHOTS},
        records,
        settings::{Hold, Retention},
        snapshot::SnapshotKind,
    },
    restore::job::{self, RestoreJob, RestoreState, SNAPSHOT_RESTORES, Scope},
};

const NONE: Retention =
    Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 0 };

async fn numbers(house: &House) -> Vec<u64> {
    let all = house.snapshots.list(ANNA).await.expect("a list");
    all.into_iter().map(|snapshot| snapshot.number).collect()
}

#[tokio::test]
async fn what_covered_an_hour_a_midnight_or_a_month_stays() {
    let (house, _anna) = House::new(small()).await;
    // Every 20 minutes for three days.
    let mut instants = Vec::new();
    for number in 0..216 {
        house.append(INBOX, number).await;
        house.clock.advance(20 * 60_000 - 1_000);
        instants.push(house.take().await.record.instant.0);
    }
    let now = house.clock.now();
    let retention = Retention { hourly_hours: 5, daily_days: 2, ..NONE };
    let thinned = house.snapshots.thin(ANNA, &retention, now).await.expect("thin");
    let hour = 3_600_000;
    let mut wanted: BTreeSet<i64> = (0..5).map(|ago| (now.0 / hour - ago) * hour).collect();
    wanted.extend((0..2).map(|ago| (now.0 / (24 * hour) - ago) * 24 * hour));
    wanted.insert(now.0);
    let wanted: BTreeSet<u64> = wanted
        .into_iter()
        .map(|instant| instants.iter().filter(|taken| **taken <= instant).count() as u64)
        .collect();
    assert_eq!(numbers(&house).await, wanted.iter().copied().collect::<Vec<_>>());
    assert_eq!(thinned.kept, wanted.len() as u64);
    assert_eq!(thinned.forgotten, 216 - thinned.kept);
    house.is_sound().await;
}

#[tokio::test]
async fn one_that_stays_knows_until_when_it_stood() {
    let hour = 3_600_000;
    let until = async |house: &House, number: u64| {
        let one = house.snapshots.get(ANNA, number).await.expect("read").expect("a snapshot");
        one.stood_until
    };
    for order in [[2, 3, 4], [4, 3, 2], [3, 2, 4], [3, 4, 2]] {
        let (house, _anna) = House::new(small()).await;
        let mut taken = vec![];
        for number in 0..5 {
            house.append(INBOX, number).await;
            house.clock.advance(hour);
            taken.push(house.take().await.taken());
        }
        assert_eq!(until(&house, 1).await, None, "the next one is kept");
        for number in order {
            house.snapshots.forget(ANNA, number).await.expect("forget");
        }
        assert_eq!(until(&house, 1).await, Some(taken[1]), "{order:?}");
        assert_eq!(until(&house, 5).await, None);
        // Numbers are never used twice: behind a gap nobody knows what came directly after.
        house.snapshots.forget(ANNA, 5).await.expect("forget");
        assert_eq!(until(&house, 1).await, Some(taken[1]), "{order:?}");
        house.is_sound().await;
    }
}

#[tokio::test]
async fn until_when_one_stood_is_not_known_from_a_clock_that_was_ahead_nor_across_a_gap() {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    house.take().await;
    house.append(INBOX, 1).await;
    let now = house.clock.now();
    let ahead = now.plus_millis(400 * 24 * 3_600_000);
    let kind = SnapshotKind::Scheduled;
    for (number, at) in [(2, ahead), (3, now.plus_millis(60_000)), (4, now.plus_millis(90_000))] {
        house.snapshots.take(ANNA, kind, at).await.expect("taken");
        house.append(INBOX, number).await;
    }
    house.snapshots.forget(ANNA, 2).await.expect("forget");
    house.snapshots.forget(ANNA, 3).await.expect("forget");
    let first = house.snapshots.get(ANNA, 1).await.expect("read").expect("a snapshot");
    assert_eq!(first.stood_until, None);
    house.is_sound().await;
}

#[tokio::test]
async fn everything_of_a_snapshot_goes_with_it_whichever_it_is() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2]] {
        let (house, anna) = House::new(small()).await;
        house.fill(INBOX, 0..200).await;
        house.take().await;
        house.flag(INBOX, &[uid(10)], Flags { seen: true, ..Flags::default() }).await;
        house.expunge(INBOX, &[uid(100)]).await;
        house.take().await;
        house.flag(INBOX, &[uid(10)], Flags::default()).await;
        anna.rename_mailbox("INBOX", "Vecchia").await.expect("rename");
        house.take().await;
        for number in order {
            house.snapshots.forget(ANNA, number).await.expect("forget");
            house.is_sound().await;
        }
        assert_eq!(house.count(SNAPSHOTS).await, 0, "{order:?}");
        assert_eq!(house.count(SNAPSHOT_PAGES).await, 0, "{order:?}");
        assert_eq!(house.count(DEPARTED_PAGES).await, 0, "{order:?}");
        house.append(INBOX, 500).await;
        let next = house.take().await;
        assert_eq!((next.number, next.record.previous), (4, None));
        house.is_sound().await;
    }
}

#[tokio::test]
async fn after_the_latest_was_forgotten_the_next_one_is_right() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 0..150).await;
    house.take().await;
    house.flag(INBOX, &[uid(10), uid(90)], Flags { seen: true, ..Flags::default() }).await;
    house.expunge(INBOX, &[uid(100)]).await;
    house.take().await;
    let mailbox = anna.mailbox(INBOX).await.expect("INBOX");
    anna.trim_expunge_log(INBOX, house.clock.now().plus_millis(1_000)).await.expect("trim");
    house.snapshots.forget(ANNA, 2).await.expect("forget");
    let third = house.take().await;
    house.is_sound().await;
    house.snapshots.forget(ANNA, 1).await.expect("forget");
    house.is_sound().await;
    let live = mailbox.rows().await.expect("rows").1;
    let rows = house.rows(&third, "INBOX").await;
    let same = super::house::without_mod_seq;
    assert_eq!(same(rows), same(live));
}

#[tokio::test]
async fn what_is_held_stays() {
    let (house, _anna) = House::new(small()).await;
    for number in 0..4 {
        house.append(INBOX, number).await;
        house.take().await;
    }
    let hold = |reason: &str| Some(Hold { reason: reason.to_owned(), since: house.clock.now() });
    let (none, now) = (Batch::default, house.clock.now());
    house.snapshots.hold(ANNA, None, hold("fascicolo 7"), none()).await.expect("hold all");
    house.snapshots.thin(ANNA, &NONE, now).await.expect("thin");
    assert!(matches!(house.snapshots.forget(ANNA, 1).await, Err(SnapshotError::Held { .. })));
    assert_eq!(numbers(&house).await, [1, 2, 3, 4]);
    house.snapshots.hold(ANNA, Some(2), hold("fascicolo 8"), none()).await.expect("hold one");
    house.snapshots.hold(ANNA, None, None, none()).await.expect("end the hold");
    house.snapshots.thin(ANNA, &NONE, now).await.expect("thin");
    assert_eq!(numbers(&house).await, [2, 4], "the one that is held and the latest");
    for (after, limit, wanted) in [(0, 1, &[2][..]), (2, 9, &[4]), (0, 9, &[2, 4]), (4, 9, &[])] {
        let some = house.snapshots.list_after(ANNA, after, limit).await.expect("a list");
        assert_eq!(some.iter().map(|snapshot| snapshot.number).collect::<Vec<_>>(), wanted);
    }
    assert!(matches!(house.snapshots.forget(ANNA, 2).await, Err(SnapshotError::Held { .. })));
    house.is_sound().await;
}

#[tokio::test]
async fn what_a_restore_reads_stays_while_it_can_go_on() {
    let cases = [
        (RestoreState::Running, 34, true),
        (RestoreState::Stopped, 34, true),
        (RestoreState::Stopped, 35, false),
        (RestoreState::Done, 0, false),
        (RestoreState::Cancelled, 0, false),
    ];
    for (state, days, stays) in cases {
        let (house, _anna) = House::new(small()).await;
        for number in 0..3 {
            house.append(INBOX, number).await;
            house.take().await;
        }
        let job = RestoreJob {
            account: ANNA,
            number: 1,
            snapshot: 2,
            scope: Scope::default(),
            root: None,
            begun: house.clock.now(),
            state,
            trouble: None,
            position: None,
            done: 0,
            total: 1,
            restored: 0,
            present: 0,
            unreadable: 0,
            erased: 0,
        };
        let mut batch = Batch::default();
        batch.put(SNAPSHOT_RESTORES, job::key(ANNA, 1), job.encode());
        house.engine.commit(batch).await.expect("commit");
        house.clock.advance(days * 24 * 3_600_000);
        house.snapshots.thin(ANNA, &NONE, house.clock.now()).await.expect("thin");
        let wanted = if stays { &[2, 3][..] } else { &[3] };
        assert_eq!(numbers(&house).await, wanted, "{state:?} for {days} days");
        house.is_sound().await;
    }
}

#[tokio::test]
async fn a_restore_that_cannot_be_read_keeps_no_snapshot() {
    for row in ["nonsense", "~"] {
        let (house, _anna) = House::new(small()).await;
        for number in 0..3 {
            house.append(INBOX, number).await;
            house.take().await;
        }
        let mut batch = Batch::default();
        batch.put(SNAPSHOT_RESTORES, job::key(ANNA, 1), row);
        house.engine.commit(batch).await.expect("commit");
        house.snapshots.thin(ANNA, &NONE, house.clock.now()).await.expect("thin");
        assert_eq!(numbers(&house).await, [3], "{row}");
    }
}

#[tokio::test]
async fn what_is_read_at_length_stays_until_it_is_read_and_a_day_at_most() {
    let (house, _anna) = House::new(small()).await;
    for number in 0..4 {
        house.append(INBOX, number).await;
        house.take().await;
    }
    let reading = |number| house.snapshots.begin_reading(ANNA, number, house.clock.now());
    let (one, two) = (reading(1).await.expect("a reading"), reading(2).await.expect("a reading"));
    let again = reading(1).await.expect("a reading");
    let left = async || {
        house.snapshots.thin(ANNA, &NONE, house.clock.now()).await.expect("thin");
        numbers(&house).await
    };
    assert_eq!(left().await, [1, 2, 4]);
    drop(two);
    assert_eq!(left().await, [1, 4]);
    drop(again);
    assert_eq!(left().await, [1, 4]);
    house.clock.advance(24 * 3_600_000);
    assert_eq!(left().await, [4]);
    drop(one);
    let gone = reading(1).await;
    assert!(matches!(gone, Err(SnapshotError::NoSuchSnapshot { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_snapshot_that_goes_while_it_is_read_says_so() {
    let (house, _anna) = House::new(small()).await;
    house.fill(INBOX, 0..50).await;
    house.take().await;
    house.expunge(INBOX, &[uid(5)]).await;
    house.take().await;
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let inbox = open.mailbox_by_name("INBOX").expect("INBOX");
    let gone = inbox.rows().await.expect("rows").1.swap_remove(4);
    house.snapshots.forget(ANNA, 1).await.expect("forget");
    let rows = inbox.rows().await;
    assert!(matches!(rows, Err(StoreError::SnapshotExpired { number: 1, .. })), "{rows:?}");
    let read = inbox.read(gone.email_number, 0..10).await;
    assert!(matches!(read, Err(StoreError::SnapshotExpired { .. })), "{read:?}");
    let open = house.snapshots.open(ANNA, 1).await;
    assert!(matches!(open, Err(SnapshotError::NoSuchSnapshot { number: 1, .. })));
}

/// Two snapshots of one mailbox, sound.
async fn two_snapshots() -> House {
    let (house, _anna) = House::new(small()).await;
    house.fill(INBOX, 0..200).await;
    house.take().await;
    house.flag(INBOX, &[uid(10)], Flags { seen: true, ..Flags::default() }).await;
    house.take().await;
    house.is_sound().await;
    house
}

async fn faults(house: &House) -> Vec<SnapshotFault> {
    let report = check::run(&house.store, &|_| {}).await.expect("check");
    report.violations.into_iter().map(|violation| violation.fault).collect()
}

async fn put(house: &House, family: Family, key: Bytes, value: impl Into<Bytes>) {
    let mut batch = Batch::default();
    batch.put(family, key, value.into());
    house.engine.commit(batch).await.expect("commit");
}

async fn delete(house: &House, family: Family, key: Bytes) {
    let mut batch = Batch::default();
    batch.delete(family, key);
    house.engine.commit(batch).await.expect("commit");
}

#[tokio::test]
async fn the_check_finds_every_page_that_is_missing_or_damaged() {
    let house = two_snapshots().await;
    let pages = house.engine.scan(&Scan::prefix(SNAPSHOT_PAGES, &[], 999)).await.expect("scan");
    assert!(pages.len() > 8);
    for (key, value) in pages {
        delete(&house, SNAPSHOT_PAGES, key.clone()).await;
        assert!(!faults(&house).await.is_empty(), "a page is missing");
        let mut octets = value.to_vec();
        octets[value.len() / 2] ^= 1;
        put(&house, SNAPSHOT_PAGES, key.clone(), octets).await;
        assert!(!faults(&house).await.is_empty(), "a page is damaged");
        put(&house, SNAPSHOT_PAGES, key, value).await;
    }
    assert_eq!(faults(&house).await, []);
}

#[tokio::test]
async fn the_check_finds_a_record_that_counts_something_else_than_its_state() {
    let house = two_snapshots().await;
    let key = keys::snapshot(ANNA, 2);
    let octets = house.engine.get(SNAPSHOTS, &key).await.expect("read").expect("a record");
    let (mut snapshot, _) = records::decode_snapshot(&key, &octets).expect("decode");
    snapshot.record.messages += 1;
    put(&house, SNAPSHOTS, key, records::encode_snapshot(&snapshot, false)).await;
    assert_eq!(faults(&house).await, [SnapshotFault::Miscounted]);
}

#[tokio::test]
async fn the_check_finds_pages_and_messages_that_are_listed_wrongly_or_left_over() {
    let house = two_snapshots().await;
    let departed = house.engine.scan(&Scan::prefix(DEPARTED_PAGES, &[], 999)).await.expect("scan");
    let (key, list) = departed.into_iter().next().expect("pages that departed");
    delete(&house, DEPARTED_PAGES, key.clone()).await;
    assert_eq!(faults(&house).await, [SnapshotFault::NotListed]);
    let row = DepartedKey::parse(&key).expect("a key");
    let pages = keys::departed_pages(&key, &list).expect("a list");
    // One is left out, one is listed twice, one never was a page.
    let mut other = pages.clone();
    let first = other.pop_first().expect("a page");
    put(&house, DEPARTED_PAGES, key.clone(), keys::departed_value(&other)).await;
    assert_eq!(faults(&house).await, [SnapshotFault::NotListed]);
    put(&house, DEPARTED_PAGES, key.clone(), list).await;
    assert_eq!(faults(&house).await, []);
    let beside = DepartedKey { part: 999, ..row }.key(ANNA);
    put(&house, DEPARTED_PAGES, beside.clone(), keys::departed_value(&[first].into())).await;
    assert_eq!(faults(&house).await, [SnapshotFault::ListedWrongly]);
    let never = PageKey { name: [9; 16], ..first };
    put(&house, DEPARTED_PAGES, beside.clone(), keys::departed_value(&[never].into())).await;
    assert_eq!(faults(&house).await, [SnapshotFault::ListedWrongly]);
    delete(&house, DEPARTED_PAGES, beside).await;
    for (family, key) in [
        (DEPARTED_PAGES, DepartedKey { last: 9, ..row }.key(ANNA)),
        (DEPARTED_MESSAGES, departed_message(ANNA, 9, EmailNumber(1))),
    ] {
        put(&house, family, key.clone(), keys::departed_value(&pages)).await;
        assert_eq!(faults(&house).await, [SnapshotFault::ListedUnderNone]);
        delete(&house, family, key).await;
    }
    put(&house, SNAPSHOT_PAGES, never.stored(ANNA), "").await;
    assert_eq!(faults(&house).await, [SnapshotFault::Leftover]);
    let latest = DepartedKey { last: 2, first: 2, ..row }.key(ANNA);
    put(&house, DEPARTED_PAGES, latest, keys::departed_value(&pages)).await;
    assert_eq!(
        faults(&house).await,
        [SnapshotFault::ListedWrongly],
        "leftovers are not judged then"
    );
}
