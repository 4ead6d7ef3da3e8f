//! Quota is exact, also under concurrency, and refuses only what it must.

use std::sync::Arc;

use super::house::{ANNA, House, message, request, settings};
use crate::{
    account::quota::{Quota, QuotaRule},
    error::StoreError,
    ids::MailboxId,
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

const INBOX: MailboxId = MailboxId(1);

#[tokio::test]
async fn an_append_that_fills_the_quota_is_stored_and_one_octet_more_is_refused() {
    let size = message(1).len() as u64;
    for (limit, fits) in [(2 * size, true), (2 * size - 1, false)] {
        let house = House::new().await;
        let anna = house.create(ANNA, "anna@pec.example", Some(limit)).await;
        house.append(&anna, INBOX, 1).await.expect("the first");
        let second = house.append(&anna, INBOX, 2).await;
        assert_eq!(second.is_ok(), fits);
        if let Err(error) = second {
            assert!(matches!(
                error,
                StoreError::OverQuota { resource: "octets", used, limit: l } if used == size && l == limit
            ));
            let state = anna.mailbox(INBOX).await.expect("open").state().await.expect("state");
            assert_eq!(state.uid_next, crate::ids::Uid::new(2), "nothing was changed");
        }
        house.is_sound().await;
    }
}

#[tokio::test]
async fn receipts_are_stored_over_quota_and_room_can_always_be_made() {
    let size = message(1).len() as u64;
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", Some(size)).await;
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let first = house.append(&anna, INBOX, 1).await.expect("append").uid;
    let staged = house.stage(&message(2)).await;
    let mut receipt = request(INBOX, &staged);
    receipt.quota = QuotaRule::Exempt;
    let second = anna.append(receipt).await.expect("a receipt").uid;
    let quota = anna.quota().await.expect("quota");
    assert_eq!(quota, Quota { used_octets: 2 * size, limit_octets: Some(size), used_messages: 2 });
    let copy = inbox.copy(&[first], trash.id()).await;
    assert!(matches!(copy, Err(StoreError::OverQuota { .. })));
    assert_eq!(anna.quota().await.expect("quota"), quota);
    inbox.move_to(&[first], trash.id()).await.expect("a move is never refused");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[second], FlagChange::Add, &deleted, None).await.expect("flags");
    inbox.expunge(&[second]).await.expect("expunge");
    house.store.apply_account(ANNA, 2, settings("anna@pec.example", Some(0))).await.expect("lower");
    anna.delete_mailbox("Cestino").await.expect("delete");
    assert_eq!(anna.quota().await.expect("quota").used_octets, 0);
    house.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_together_fill_the_quota_exactly_and_never_exceed_it() {
    const TASKS: usize = 24;
    const EACH: usize = 8;
    // All messages have the same size; 100 of the 192 fit.
    let size = message(100).len() as u64;
    let house = Arc::new(House::new().await);
    let anna = house.create(ANNA, "anna@pec.example", Some(100 * size + size / 2)).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (house, anna) = (Arc::clone(&house), anna.clone());
        tasks.push(tokio::spawn(async move {
            let mut stored = 0_u64;
            for number in 0..EACH {
                match house.append(&anna, INBOX, 100 + task * EACH + number).await {
                    Ok(_) => stored += 1,
                    Err(StoreError::OverQuota { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            stored
        }));
    }
    let mut stored = 0;
    for task in tasks {
        stored += task.await.expect("a task");
    }
    assert_eq!(stored, 100);
    let quota = anna.quota().await.expect("quota");
    assert_eq!((quota.used_octets, quota.used_messages), (100 * size, 100));
    let rows = anna.mailbox(INBOX).await.expect("open").rows().await.expect("rows").1;
    assert_eq!(rows.iter().map(|row| row.charged_octets).sum::<u64>(), quota.used_octets);
    house.is_sound().await;
}
