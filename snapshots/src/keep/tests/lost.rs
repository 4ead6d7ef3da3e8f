//! An account whose latest snapshot cannot be read gets the next one all the same.

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine as _, Family, Reader as _, Scan},
        keys::{ACCOUNT_HEADS, DEPARTED_MESSAGES},
    },
    ids::AccountId,
    mailbox::{
        flags::Flags,
        view::{MailboxView as _, MessageRow},
    },
};
use trust::clock::Clock as _;

use super::house::{ANNA, House, INBOX, message, settings, small, uid, without_mod_seq};
use crate::{
    check,
    error::SnapshotError,
    keep::{
        keys::{self, DEPARTED_PAGES, SNAPSHOT_PAGES, SNAPSHOTS},
        mend::MendedPages,
        settings::Hold,
        snapshot::Snapshot,
    },
};

/// Two snapshots, and messages that departed after each.
async fn damaged_house() -> (House, [Snapshot; 2]) {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 0..100).await;
    anna.create_mailbox("Altra", None).await.expect("create");
    let first = house.take().await;
    house.expunge(INBOX, &[uid(7), uid(50)]).await;
    house.fill(INBOX, 100..150).await;
    let all: Vec<_> = (1..=150).step_by(9).map(uid).collect();
    house.flag(INBOX, &all, Flags { seen: true, ..Flags::default() }).await;
    let second = house.take().await;
    house.expunge(INBOX, &[uid(9), uid(120)]).await;
    (house, [first, second])
}

async fn live(house: &House) -> Vec<MessageRow> {
    let inbox = house.anna().await.mailbox(INBOX).await.expect("INBOX");
    without_mod_seq(inbox.rows().await.expect("rows").1)
}

async fn put(house: &House, family: Family, key: &Bytes, value: Option<Bytes>) {
    let mut batch = Batch::default();
    match value {
        Some(value) => batch.put(family, key.clone(), value),
        None => batch.delete(family, key.clone()),
    };
    house.engine.commit(batch).await.expect("commit");
}

/// Everything that the second snapshot wrote.
async fn written(house: &House) -> Vec<(Family, Bytes, Bytes)> {
    let second = keys::snapshot(ANNA, 2);
    let mut all = Vec::new();
    for family in [SNAPSHOTS, SNAPSHOT_PAGES] {
        let entries = house.engine.scan(&Scan::prefix(family, &second, 999)).await.expect("scan");
        all.extend(entries.into_iter().map(|(key, value)| (family, key, value)));
    }
    all
}

/// The first snapshot is as it was, with the octets of what was expunged.
async fn first_is_whole(house: &House, first: &Snapshot, rows: &[MessageRow]) {
    assert_eq!(without_mod_seq(house.rows(first, "INBOX").await), rows);
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let inbox = open.mailbox_by_name("INBOX").expect("INBOX");
    for at in [6, 8, 49] {
        let octets = inbox.read(rows[at].email_number, 0..9_999).await.expect("octets");
        assert_eq!(octets, message(at));
    }
}

#[tokio::test]
async fn whatever_of_the_latest_is_lost_or_damaged_the_next_one_is_taken_and_nothing_goes_early() {
    let count = written(&damaged_house().await.0).await.len();
    assert!(count > 10, "{count}");
    for (at, is_lost) in (0..count).flat_map(|at| [(at, true), (at, false)]) {
        let (house, [first, second]) = damaged_house().await;
        let (family, key, value) = written(&house).await.swap_remove(at);
        let rows = without_mod_seq(house.rows(&first, "INBOX").await);
        // The first octet is a version, and what is newer is not damaged.
        let mut damaged = value.to_vec();
        damaged[1..].iter_mut().for_each(|octet| *octet ^= 0x55);
        let damaged = Bytes::from(damaged);
        put(&house, family, &key, (!is_lost).then_some(damaged)).await;
        let what = format!("{at} of {}, lost: {is_lost}", family.0);
        // Every page is read.
        let third: Vec<_> = (3..150).step_by(3).map(uid).collect();
        house.expunge(INBOX, &third).await;
        let next = house.take().await;
        assert_eq!(next.number, 3, "{what}");
        let is_record = family == SNAPSHOTS;
        let previous = if is_record { &first } else { &second };
        assert_eq!(next.record.previous, Some(previous.record.hash()), "{what}");
        assert_eq!(without_mod_seq(house.rows(&next, "INBOX").await), live(&house).await, "{what}");
        first_is_whole(&house, &first, &rows).await;
        let report = check::run(&house.store, &|_| {}).await.expect("check");
        assert_eq!(report.is_clean(), is_record && is_lost, "{what}: {:?}", report.violations);

        if !(is_record && is_lost) {
            house.snapshots.forget(ANNA, 2).await.expect("forget");
        }
        house.is_sound().await;
        first_is_whole(&house, &first, &rows).await;
        house.append(INBOX, 500).await;
        house.take().await;
        house.is_sound().await;
        for number in [1, 4, 3] {
            house.snapshots.forget(ANNA, number).await.expect("forget");
            house.is_sound().await;
        }
        let left = (house.count(SNAPSHOT_PAGES).await, house.count(DEPARTED_PAGES).await);
        assert_eq!(left, (0, 0), "{what}");
    }
}

#[tokio::test]
async fn a_head_that_is_damaged_or_lost_ends_no_check() {
    let other = AccountId(ANNA.0 + 1);
    for head in [Some(Bytes::from_static(b"\x01\xff")), Some(Bytes::from_static(b"\x09")), None] {
        let (house, _) = damaged_house().await;
        house.store.apply_account(other, 1, settings(other)).await.expect("another account");
        let is_lost = head.is_none();
        put(&house, ACCOUNT_HEADS, &keys::account(ANNA), head).await;
        let report = check::run(&house.store, &|_| {}).await.expect("check");
        assert_eq!(report.seen.accounts, 2, "the others are looked at");
        let told = report.violations.iter().any(|one| one.object.contains("account_heads"));
        assert_eq!(told, !is_lost, "{:?}", report.violations);
        let report = house.store.check(&|_| {}).await.expect("check");
        assert!(!report.violations.is_empty(), "the store tells of both");
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_taken_again_though_nothing_changed() {
    let (house, _anna) = House::new(small()).await;
    house.fill(INBOX, 0..20).await;
    let first = house.take().await;
    let key = keys::state(ANNA, 1, first.record.state_root.0);
    put(&house, SNAPSHOT_PAGES, &key, None).await;
    let second = house.take().await;
    assert_eq!(second.record.state_root, first.record.state_root);
    assert_eq!(without_mod_seq(house.rows(&second, "INBOX").await), live(&house).await);
    house.snapshots.forget(ANNA, 1).await.expect("forget");
    house.is_sound().await;
}

#[tokio::test]
async fn a_damaged_record_hides_no_other_snapshot_and_keeps_none_from_going() {
    let (house, [first, _]) = damaged_house().await;
    let rows = without_mod_seq(house.rows(&first, "INBOX").await);
    house.append(INBOX, 300).await;
    let third = house.take().await;
    put(&house, SNAPSHOTS, &keys::snapshot(ANNA, 2), Some("\u{1}garbage".into())).await;
    assert_eq!(house.snapshots.list(ANNA).await.expect("a list"), [first.clone(), third.clone()]);
    house.append(INBOX, 301).await;
    house.take().await;
    // What passes from the third one passes to the damaged one, which may have had it.
    house.snapshots.forget(ANNA, 3).await.expect("forget");
    first_is_whole(&house, &first, &rows).await;
    let next = house.snapshots.latest(ANNA).await.expect("read").expect("one");
    assert_eq!((next.number, next.record.previous), (4, Some(third.record.hash())));
}

#[tokio::test]
async fn an_older_damaged_record_goes_with_its_state() {
    let (house, [first, _]) = damaged_house().await;
    let rows = without_mod_seq(house.rows(&first, "INBOX").await);
    house.append(INBOX, 300).await;
    house.take().await;
    put(&house, SNAPSHOTS, &keys::snapshot(ANNA, 2), Some("\u{1}garbage".into())).await;
    house.snapshots.forget(ANNA, 2).await.expect("forget");
    first_is_whole(&house, &first, &rows).await;
    house.is_sound().await;
}

#[tokio::test]
async fn one_whose_record_cannot_be_read_is_forgotten_on_request_and_gives_messages_back() {
    let key = keys::snapshot(ANNA, 2);
    // A version octet that is not known is damage like any other.
    for value in ["\u{1}garbage", "\u{3}"] {
        let (house, [first, second]) = damaged_house().await;
        let rows = without_mod_seq(house.rows(&first, "INBOX").await);
        let forget = |number| house.snapshots.forget_unreadable(ANNA, number, Batch::default());
        assert_eq!(forget(2).await.expect("asked"), None, "it can be read");
        assert!(matches!(forget(9).await, Err(SnapshotError::NoSuchSnapshot { .. })));
        assert_eq!(house.snapshots.get(ANNA, 2).await.expect("read"), Some(second));
        put(&house, SNAPSHOTS, &key, Some(value.into())).await;
        house.append(INBOX, 300).await;
        house.take().await;
        house.expunge(INBOX, &[uid(151)]).await;
        house.take().await;
        // Only the third had the message that was expunged since.
        house.snapshots.forget(ANNA, 3).await.expect("forget");
        let hold = async |hold| {
            let held = house.snapshots.hold(ANNA, None, hold, Batch::default()).await;
            held.expect("changed");
        };
        let reason = "causa 12/2026".to_owned();
        hold(Some(Hold { reason, since: house.clock.now() })).await;
        assert!(matches!(forget(2).await, Err(SnapshotError::Held { number: 2, .. })));
        hold(None).await;
        let before = house.count(DEPARTED_MESSAGES).await;
        let thinned = forget(2).await.expect("forgotten").expect("it cannot be read");
        assert_eq!((thinned.forgotten, thinned.messages_removed), (1, 2), "{thinned:?}");
        assert!(before > house.count(DEPARTED_MESSAGES).await);
        assert!(matches!(forget(2).await, Err(SnapshotError::NoSuchSnapshot { .. })));
        first_is_whole(&house, &first, &rows).await;
        house.is_sound().await;
    }
}

#[tokio::test]
async fn a_damaged_list_of_departed_pages_stops_nothing_and_is_made_anew() {
    let lists = async |house: &House| {
        house.engine.scan(&Scan::prefix(DEPARTED_PAGES, &[], 999)).await.expect("scan")
    };
    let count = lists(&damaged_house().await.0).await.len();
    assert!(count > 1, "{count}");
    for at in 0..count {
        let (house, [first, second]) = damaged_house().await;
        let rows = without_mod_seq(house.rows(&first, "INBOX").await);
        let (key, _) = lists(&house).await.swap_remove(at);
        put(&house, DEPARTED_PAGES, &key, Some("?".into())).await;
        // The latest cannot be read either, so the next one asks for all lists.
        let state = keys::state(ANNA, 2, second.record.state_root.0);
        put(&house, SNAPSHOT_PAGES, &state, None).await;
        let third = house.take().await;
        assert_eq!(third.number, 3);
        let mend = |apply| house.snapshots.mend_pages(ANNA, apply);
        assert!(mend(true).await.expect("mended").unreadable, "nobody knows what the second has");
        house.snapshots.forget(ANNA, 2).await.expect("forget");
        assert!(!check::run(&house.store, &|_| {}).await.expect("check").is_clean());
        let foretold = mend(false).await.expect("foretold");
        assert!(foretold.lists + foretold.pages > 0 && !foretold.unreadable, "{foretold:?}");
        assert!(!check::run(&house.store, &|_| {}).await.expect("check").is_clean());
        assert_eq!(mend(true).await.expect("mended"), foretold);
        house.is_sound().await;
        assert_eq!(mend(true).await.expect("mended"), MendedPages::default());
        first_is_whole(&house, &first, &rows).await;
        house.append(INBOX, 500).await;
        house.take().await;
        for number in [1, 4, 3] {
            house.snapshots.forget(ANNA, number).await.expect("forget");
            house.is_sound().await;
        }
        let left = (house.count(SNAPSHOT_PAGES).await, house.count(DEPARTED_PAGES).await);
        assert_eq!(left, (0, 0), "list {at}");
    }
}

#[tokio::test]
async fn a_damaged_list_keeps_no_snapshot_from_going() {
    let (house, _) = damaged_house().await;
    house.append(INBOX, 300).await;
    house.take().await;
    for (key, _) in house.engine.scan(&Scan::prefix(DEPARTED_PAGES, &[], 999)).await.expect("scan")
    {
        put(&house, DEPARTED_PAGES, &key, Some("?".into())).await;
    }
    house.snapshots.forget(ANNA, 2).await.expect("forget");
    house.snapshots.forget(ANNA, 1).await.expect("forget");
    house.snapshots.mend_pages(ANNA, true).await.expect("mended");
    house.is_sound().await;
}
