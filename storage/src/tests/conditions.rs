//! What a floor above puts into the batch of an append: applied with it or not at all, and never
//! to the harm of others whose changes were merged.

use std::sync::Arc;

use bytes::Bytes;

use super::house::{House, message, request};
use crate::{
    account::Account,
    catalog::engine::{Batch, Expected, Family, Reader as _},
    error::StoreError,
    held::HeldId,
    ids::MailboxId,
    mailbox::{append::Appended, view::MailboxView as _},
};

const INBOX: MailboxId = MailboxId(1);
const TRANSMISSIONS: Family = Family("transmissions");

async fn append_also(
    house: &House,
    account: &Account,
    number: usize,
    also: Batch,
) -> Result<Appended, StoreError> {
    let staged = house.stage(&message(number)).await;
    let mut request = request(INBOX, &staged);
    request.also = also;
    account.append(request).await
}

/// Puts `key` and expects it absent, as a delivery marks what it has seen.
fn once(key: &'static str) -> Batch {
    let mut batch = Batch::default();
    batch.expect(TRANSMISSIONS, key, Expected::Absent).put(TRANSMISSIONS, key, "seen");
    batch
}

async fn house() -> (House, Account) {
    House::with_families(&[TRANSMISSIONS]).await
}

#[tokio::test]
async fn the_batch_of_the_floor_above_is_applied_with_the_row_or_not_at_all() {
    let (house, anna) = house().await;
    append_also(&house, &anna, 1, once("a")).await.expect("append");
    let value = house.engine.get(TRANSMISSIONS, b"a").await.expect("read");
    assert_eq!(value, Some(Bytes::from("seen")));
    let again = append_also(&house, &anna, 1, once("a")).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    let mut elsewhere = once("b");
    elsewhere.expect(TRANSMISSIONS, "missing", Expected::Present);
    assert!(append_also(&house, &anna, 1, elsewhere).await.is_err());
    assert_eq!(house.engine.get(TRANSMISSIONS, b"b").await.expect("read"), None);
    assert_eq!(anna.quota().await.expect("quota").used_messages, 1);
    house.is_sound().await;
}

#[tokio::test]
async fn of_many_appends_at_once_only_those_whose_condition_fails_are_refused() {
    let (house, anna) = house().await;
    append_also(&house, &anna, 0, once("taken")).await.expect("append");
    let house = Arc::new(house);
    let mut tasks = Vec::new();
    for number in 1..=20 {
        let (house, anna) = (Arc::clone(&house), anna.clone());
        tasks.push(tokio::spawn(async move {
            let also = if number % 5 == 0 { once("taken") } else { Batch::default() };
            (number, append_also(&house, &anna, number, also).await)
        }));
    }
    let mut uids = Vec::new();
    for task in tasks {
        match task.await.expect("a task") {
            (number, Err(StoreError::Conflict)) => assert_eq!(number % 5, 0),
            (number, Ok(appended)) => {
                assert_ne!(number % 5, 0);
                uids.push(appended.uid.get());
            }
            (number, Err(error)) => panic!("{number}: {error}"),
        }
    }
    uids.sort_unstable();
    assert_eq!(uids, (2..=17).collect::<Vec<_>>(), "no UID is lost to a refused append");
    house.is_sound().await;
}

#[tokio::test]
async fn a_delivery_that_arrives_many_times_at_once_is_stored_once() {
    let (house, anna) = house().await;
    let staged = house.stage(&message(1)).await;
    let appends = (0..16).map(|_| {
        let mut request = request(INBOX, &staged);
        request.also = once("the same delivery");
        anna.append(request)
    });
    let outcomes = futures::future::join_all(appends).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(anna.quota().await.expect("quota").used_messages, 1);
    house.is_sound().await;
}

#[tokio::test]
async fn a_chain_of_conditions_holds_when_its_links_are_queued_together() {
    let (house, anna) = house().await;
    let staged = house.stage(&message(1)).await;
    let link = |from: Option<&'static str>, to: &'static str| {
        let mut request = request(INBOX, &staged);
        let expected = from.map_or(Expected::Absent, |from| Expected::Value(from.into()));
        request.also.expect(TRANSMISSIONS, "state", expected).put(TRANSMISSIONS, "state", to);
        anna.append(request)
    };
    let (one, two, three) =
        tokio::join!(link(None, "one"), link(Some("one"), "two"), link(Some("two"), "three"));
    assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
    let state = house.engine.get(TRANSMISSIONS, b"state").await.expect("read");
    assert_eq!(state, Some(Bytes::from("three")));
    house.is_sound().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_changes_of_others() {
    let (house, anna) = house().await;
    let house = Arc::new(house);
    let mut tasks = Vec::new();
    for number in 0..8 {
        let (house, anna) = (Arc::clone(&house), anna.clone());
        tasks.push(tokio::spawn(async move { house.append(&anna, INBOX, number).await }));
    }
    tokio::task::yield_now().await;
    tasks[0].abort();
    tasks[3].abort();
    for task in tasks {
        if let Ok(outcome) = task.await {
            outcome.expect("append");
        }
    }
    house.append(&anna, INBOX, 9).await.expect("the queue still works");
    house.is_sound().await;
}

#[tokio::test]
async fn a_held_message_is_delivered_into_accounts_and_outlives_its_release() {
    let (house, anna) = house().await;
    let bruno = house.create(crate::ids::AccountId(8), "bruno@pec.example", None).await;
    let id = HeldId([9; 16]);
    let staged = house.stage(&message(1)).await;
    let mut batch = Batch::default();
    house.store.hold(id, &staged, &mut batch);
    house.store.commit(batch.clone()).await.expect("hold");
    assert!(matches!(house.store.commit(batch).await, Err(StoreError::Conflict)), "once");
    let held = house.store.held(id).await.expect("read").expect("held");
    assert_eq!((held.size(), held.digest()), (staged.size(), staged.digest()));
    let octets = house.store.octets().read(held.stored(), 0..held.size()).await.expect("read");
    assert_eq!(octets, message(1));
    for account in [&anna, &bruno] {
        let staged = held.to_staged();
        let mut delivery = request(INBOX, &staged);
        delivery.also = once(if account.id() == bruno.id() { "to bruno" } else { "to anna" });
        account.append(delivery).await.expect("deliver");
    }
    let mut batch = Batch::default();
    house.store.release(id, &mut batch);
    house.store.commit(batch).await.expect("release");
    assert!(house.store.held(id).await.expect("read").is_none());
    let inbox = bruno.mailbox(INBOX).await.expect("open");
    let row = &inbox.rows().await.expect("rows").1[0];
    assert_eq!(inbox.read(row.email_number, 0..9_999).await.expect("read"), message(1));
    house.is_sound().await;
}
