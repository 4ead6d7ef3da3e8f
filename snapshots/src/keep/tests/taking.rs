//! Taking and reading.

use storage::{
    catalog::engine::{Batch, Engine as _},
    error::StoreError,
    mailbox::{
        flags::Flags,
        view::{Access, MailboxView as _},
    },
};

use trust::clock::Clock as _;

use super::house::{ANNA, House, INBOX, MORNING, message, small, uid, without_mod_seq};
use crate::{
    error::SnapshotError,
    keep::{
        SnapshotLimits,
        keys::{DEPARTED_PAGES, PageKey, SNAPSHOT_PAGES, SNAPSHOTS},
        settings::Retention,
        snapshot::{SnapshotKind, name_of, parse_name},
        take::Taken,
    },
    run::keys::SNAPSHOT_RUN_DUE,
};

#[tokio::test]
async fn a_snapshot_shows_the_mailbox_as_it_was() {
    for limits in [SnapshotLimits::default(), small()] {
        let (house, anna) = House::new(limits).await;
        house.fill(INBOX, 0..120).await;
        let live = anna.mailbox(INBOX).await.expect("INBOX");
        let before = live.rows().await.expect("rows").1;
        let first = house.take().await;
        let seen = Flags { seen: true, ..Flags::default() };
        house.flag(INBOX, &[uid(3), uid(50)], seen).await;
        house.expunge(INBOX, &[uid(7), uid(8)]).await;
        house.fill(INBOX, 120..130).await;
        let after = live.rows().await.expect("rows").1;
        let second = house.take().await;

        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(second.record.previous, Some(first.record.hash()));
        let rows = house.rows(&first, "INBOX").await;
        assert_eq!(without_mod_seq(rows), without_mod_seq(before));
        let rows = house.rows(&second, "INBOX").await;
        assert_eq!(without_mod_seq(rows), without_mod_seq(after));

        let open = house.snapshots.open(ANNA, 1).await.expect("open");
        let inbox = open.mailbox_by_name("INBOX").expect("INBOX");
        assert_eq!(inbox.access(), Access::ReadOnly);
        let gone = inbox.rows().await.expect("rows").1.swap_remove(7);
        let octets = inbox.read(gone.email_number, 0..9_999).await.expect("its octets");
        assert_eq!(octets, message(7), "expunged since");
        let state = inbox.state().await.expect("a state");
        assert_eq!((state.exists, state.unseen, state.highest_mod_seq), (120, 120, first.mod_seq));
        assert!(matches!(inbox.expunge(&[uid(1)]).await, Err(StoreError::ReadOnly)));
    }
}

#[tokio::test]
async fn an_equal_state_writes_nothing_and_one_second_has_one_snapshot() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 0..100).await;
    let first = house.take().await;
    let written = (house.count(SNAPSHOTS).await, house.count(SNAPSHOT_PAGES).await);
    assert!(matches!(house.try_take().await, Ok(Taken::Unchanged(Some(same))) if same == first));
    anna.subscribe("INBOX", false).await.expect("end a subscription");
    assert!(matches!(house.try_take().await, Err(SnapshotError::TooSoon(ANNA))));
    anna.subscribe("INBOX", true).await.expect("subscribe");
    // All flags there and back: pages are written ahead, and removed again.
    let all: Vec<_> = (1..=100).map(uid).collect();
    house.flag(INBOX, &all, Flags { seen: true, ..Flags::default() }).await;
    house.flag(INBOX, &all, Flags::default()).await;
    house.clock.advance(5_000);
    assert!(matches!(house.try_take().await, Ok(Taken::Unchanged(Some(same))) if same == first));
    let now = (house.count(SNAPSHOTS).await, house.count(SNAPSHOT_PAGES).await);
    assert_eq!(now, written);
    assert_eq!(house.count(DEPARTED_PAGES).await, 0);
}

#[tokio::test]
async fn one_asked_for_of_an_unchanged_account_is_kept_as_asked_for() {
    let (house, _anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let first = house.take().await;
    let day = 24 * 3_600_000;
    house.clock.advance(20 * day);
    let asked = house.snapshots.take(ANNA, SnapshotKind::OnDemand, house.clock.now()).await;
    let Ok(Taken::Unchanged(Some(asked))) = asked else { panic!("{asked:?}") };
    assert_eq!((asked.kind, asked.asked_at), (SnapshotKind::Scheduled, Some(house.clock.now())));
    assert!(asked.is_asked_for());
    assert_eq!(asked.record, first.record);
    assert_eq!(house.snapshots.list(ANNA).await.expect("a list"), std::slice::from_ref(&asked));
    assert_eq!(house.count(SNAPSHOT_RUN_DUE).await, 1, "the next run enters it");
    // Its time counts from when it was asked for; a scheduled take takes nothing of that away.
    assert!(matches!(house.try_take().await, Ok(Taken::Unchanged(Some(same))) if same == asked));
    house.append(INBOX, 1).await;
    house.take().await;
    for (days, stay) in [(34, 2), (1, 1)] {
        house.clock.advance(days * day);
        let none =
            Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 35 };
        house.snapshots.thin(ANNA, &none, house.clock.now()).await.expect("thin");
        assert_eq!(house.count(SNAPSHOTS).await, stay, "after {days}");
    }
    house.is_sound().await;
}

#[tokio::test]
async fn the_instant_is_that_of_the_state_however_long_it_was_waited_for() {
    let (house, anna) = House::new(small()).await;
    house.append(INBOX, 0).await;
    let place = house.snapshots.place(ANNA).await;
    let (snapshots, asked) = (house.snapshots.clone(), house.clock.now());
    let take = snapshots.take(ANNA, SnapshotKind::OnDemand, asked);
    let meanwhile = async {
        // It has begun, and waits.
        tokio::task::yield_now().await;
        house.clock.advance(40_000);
        house.append(INBOX, 1).await;
        drop(place);
    };
    let (taken, ()) = futures::future::join(take, meanwhile).await;
    let Ok(Taken::New(taken)) = taken else { panic!("{taken:?}") };
    let (_, rows) = anna.mailbox(INBOX).await.expect("INBOX").rows().await.expect("rows");
    let last = rows.last().expect("a message").save_date;
    assert_eq!((taken.record.messages, taken.record.instant), (2, last));
    assert_eq!((taken.record.instant, taken.clock), (asked.plus_millis(40_000), None));
}

#[tokio::test]
async fn pages_written_ahead_under_any_number_are_removed() {
    let (house, _anna) = House::new(small()).await;
    house.fill(INBOX, 0..30).await;
    house.take().await;
    // A back-up was restored: the account goes on with other numbers.
    for (birth, names) in [(2, 1), (5, 10), (1 << 20, 1)] {
        for name in 0..names {
            let mut batch = Batch::default();
            let page = PageKey { birth, name: [name; 16] };
            batch.put(SNAPSHOT_PAGES, page.stored(ANNA), "");
            house.engine.commit(batch).await.expect("commit");
        }
    }
    house.append(INBOX, 30).await;
    house.take().await;
    house.is_sound().await;
}

#[test]
fn a_name_is_read_back_and_has_one_spelling() {
    assert_eq!(name_of(MORNING.plus_millis(17_999)), "2026-11-21T06:00:17Z");
    assert_eq!(parse_name("2026-11-21T06:00:17Z"), Some(MORNING.plus_millis(17_000)));
    for other in ["2026-11-21T06:00:17", "2026-11-21T6:00:17Z", "2026-13-21T06:00:17Z", ""] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_take_looks_at_what_changed_and_at_nothing_else() {
    // Were all rows looked at, pages would have to be written ahead, and none may be.
    let limits = SnapshotLimits { rows_in_queue_max: 4, rounds_max: 0, ..small() };
    let (house, _anna) = House::new(limits).await;
    for first in (0..30).step_by(3) {
        house.fill(INBOX, first..first + 3).await;
        house.take().await;
    }
    house.flag(INBOX, &[uid(3), uid(20)], Flags { seen: true, ..Flags::default() }).await;
    house.take().await;
    house.expunge(INBOX, &[uid(4), uid(30)]).await;
    house.append(INBOX, 30).await;
    house.take().await;
    house.is_sound().await;
}

#[tokio::test]
async fn pages_of_a_large_mailbox_that_is_gone_are_listed_before_the_accounts_mail_waits() {
    for rounds_max in [0, 2] {
        let limits = SnapshotLimits { rounds_max, ..small() };
        let (house, anna) = House::new(SnapshotLimits { rounds_max: 8, ..limits }).await;
        let large = anna.create_mailbox("Grande", None).await.expect("create");
        house.fill(large, 0..200).await;
        let first = house.take().await;
        let house = House { limits, ..house };
        let snapshots = crate::keep::Snapshots::new(
            house.store.clone(),
            std::sync::Arc::new(trust::random::SeededRandom::new(4)),
            limits,
        );
        let house = House { snapshots, ..house };
        anna.delete_mailbox("Grande").await.expect("delete");
        house.clock.advance(1_000);
        let taken = house.try_take().await;
        if rounds_max == 0 {
            assert!(matches!(taken, Err(SnapshotError::TooBusy(ANNA))), "{taken:?}");
            house.is_sound().await;
            continue;
        }
        assert!(matches!(taken, Ok(Taken::New(_))), "{taken:?}");
        house.is_sound().await;
        assert_eq!(house.rows(&first, "Grande").await.len(), 200);
        house.snapshots.forget(ANNA, 1).await.expect("forget");
        house.is_sound().await;
    }
}
