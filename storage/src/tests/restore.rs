//! Rows that a snapshot shows come back: shared where the message still stands, appended again
//! where it departed, all of them or none.

use trust::digest::Sha256Digest;

use super::{
    capture::{expunge, forget, take},
    house::{ANNA, House, message},
};
use crate::{
    account::{Account, erase::EraseRequest, quota::QuotaRule},
    catalog::{
        engine::{Batch, Expected, Family, Reader as _, Scan},
        keys,
    },
    error::StoreError,
    ids::MailboxId,
    mailbox::{
        flags::{FlagChange, Flags},
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::{MailboxView as _, MessageRow},
    },
    octets::ErasureReason,
    pack::index::CHUNK_INDEX,
    summary::Envelope,
};

const INBOX: MailboxId = MailboxId(1);
const TAKEN: Family = Family("taken");

fn restore(destination: MailboxId, rows: &[MessageRow]) -> RestoreRows {
    RestoreRows {
        destination,
        rows: rows.iter().map(RestoredRow::from).collect(),
        quota: QuotaRule::Enforce,
        erased: ErasedRows::Refuse,
        also: Batch::default(),
    }
}

async fn rows(account: &Account, mailbox: MailboxId) -> Vec<MessageRow> {
    account.mailbox(mailbox).await.expect("open").rows().await.expect("rows").1
}

async fn chunks(house: &House) -> usize {
    house.engine.scan(&Scan::prefix(CHUNK_INDEX, &[], 1_000)).await.expect("scan").len()
}

/// INBOX with three messages, in a snapshot, of which the first and the last were expunged since.
async fn house_with_snapshot() -> (House, Account, Vec<MessageRow>) {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let mut uids = Vec::new();
    for number in 1..4 {
        uids.push(house.append(&anna, INBOX, number).await.expect("append").uid);
    }
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    let flags = Flags { seen: true, flagged: true, ..Flags::default() };
    inbox.store_flags(&uids[..1], FlagChange::Add, &flags, None).await.expect("flags");
    let shown = rows(&anna, INBOX).await;
    take(&anna).await;
    house.clock.advance(60_000);
    expunge(&anna, &[uids[0], uids[2]]).await;
    (house, anna, shown)
}

#[tokio::test]
async fn what_departed_is_appended_again_and_what_stands_is_shared() {
    let (house, anna, shown) = house_with_snapshot().await;
    let before = chunks(&house).await;
    let asked = [shown[0].clone(), shown[1].clone(), shown[2].clone(), shown[0].clone()];
    let restored = anna.restore_rows(restore(INBOX, &asked)).await.expect("restore");
    assert_eq!(restored.uids.iter().flatten().count(), 4);
    assert_eq!(chunks(&house).await, before, "no octets are copied");

    let now = rows(&anna, INBOX).await;
    let new: Vec<&MessageRow> = now.iter().filter(|row| row.uid > shown[2].uid).collect();
    let uids: Vec<_> = new.iter().map(|row| Some(row.uid)).collect();
    assert_eq!(uids, restored.uids, "new UIDs, in the order asked");
    for (row, was) in new.iter().zip(&asked) {
        assert_eq!((&row.flags, row.internal_date), (&was.flags, was.internal_date));
        assert_eq!((row.digest, row.charged_octets), (was.digest, was.charged_octets));
        assert!(row.save_date > was.save_date, "it came into this mailbox now");
    }
    assert_eq!(new[1].email_number, shown[1].email_number, "a message that stands is shared");
    assert_eq!(new[0].email_number, new[3].email_number, "one that departed comes back once");
    assert!(new[0].email_number > shown[2].email_number, "and never under its old number");
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    let octets = inbox.read(new[2].email_number, 0..1 << 16).await.expect("read");
    assert_eq!(Sha256Digest::of(&octets), Sha256Digest::of(&message(3)));
    let charged: u64 = now.iter().map(|row| row.charged_octets).sum();
    assert_eq!(anna.quota().await.expect("quota").used_octets, charged);

    // The rows' counts are right: with the last row of each, what was restored goes again.
    let all: Vec<_> = now.iter().map(|row| row.uid).collect();
    expunge(&anna, &all).await;
    assert_eq!(forget(&anna, 1, None).await, (3, 0));
    let left = house.engine.scan(&Scan::prefix(keys::MESSAGES, &keys::account(ANNA), 9)).await;
    assert_eq!(left.expect("scan").len(), 0);
    house.is_sound().await;
}

#[tokio::test]
async fn a_restore_that_is_refused_changes_nothing() {
    let (house, anna, shown) = house_with_snapshot().await;
    let (before, quota) = (rows(&anna, INBOX).await, anna.quota().await.expect("quota"));
    let mut other = shown.clone();
    other[2].digest = shown[1].digest;
    let refused = anna.restore_rows(restore(INBOX, &other)).await;
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");

    let mut also = Batch::default();
    also.expect(TAKEN, "nothing", Expected::Value("something".into()));
    let refused = anna.restore_rows(RestoreRows { also, ..restore(INBOX, &shown) }).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");

    let many = vec![shown[0].clone(); 21];
    let refused = anna.restore_rows(restore(INBOX, &many)).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { .. })), "{refused:?}");

    let refused = anna.restore_rows(restore(MailboxId(99), &shown)).await;
    assert!(matches!(refused, Err(StoreError::NoSuchMailbox { .. })), "{refused:?}");

    let limit = quota.used_octets + 2 * shown[0].charged_octets;
    let settings = super::house::settings("anna@pec.example", Some(limit));
    house.store.apply_account(ANNA, 2, settings).await.expect("less space");
    let refused = anna.restore_rows(restore(INBOX, &shown)).await;
    assert!(matches!(refused, Err(StoreError::OverQuota { .. })), "{refused:?}");
    let exempt = RestoreRows { quota: QuotaRule::Exempt, ..restore(INBOX, &[]) };
    assert_eq!(anna.restore_rows(exempt).await.expect("nothing").uids, []);
    assert_eq!(rows(&anna, INBOX).await, before);
    let exempt = RestoreRows { quota: QuotaRule::Exempt, ..restore(INBOX, &shown) };
    anna.restore_rows(exempt).await.expect("space was all that lacked");

    forget(&anna, 1, None).await;
    let refused = anna.restore_rows(restore(INBOX, &shown)).await;
    assert!(matches!(refused, Err(StoreError::NoSuchMessage { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_message_stands_as_long_as_some_mailbox_has_a_row_of_it() {
    let (_house, anna, shown) = house_with_snapshot().await;
    let mut asked: std::collections::BTreeSet<_> =
        shown.iter().map(|row| row.email_number).collect();
    asked.insert(crate::ids::EmailNumber(9_999));
    let standing = anna.standing(&asked).await.expect("standing");
    assert_eq!(standing.into_iter().collect::<Vec<_>>(), [shown[1].email_number]);
    let other = anna.create_mailbox("Pratiche", None).await.expect("create");
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    inbox.move_to(&[shown[1].uid], other).await.expect("move");
    assert_eq!(anna.standing(&asked).await.expect("standing").len(), 1);
    anna.delete_mailbox("Pratiche").await.expect("delete");
    assert_eq!(anna.standing(&asked).await.expect("standing").len(), 0);
}

#[tokio::test]
async fn an_erased_message_is_refused_or_left_out() {
    let (_house, anna, shown) = house_with_snapshot().await;
    for row in &shown[..2] {
        let request = EraseRequest {
            email_number: row.email_number,
            reason: ErasureReason::DataSubject,
            envelope: Envelope::default(),
            also: Batch::default(),
        };
        anna.erase(request).await.expect("erase");
    }
    let refused = anna.restore_rows(restore(INBOX, &shown)).await;
    assert!(matches!(refused, Err(StoreError::Erased { .. })), "{refused:?}");
    let request = RestoreRows { erased: ErasedRows::Skip, ..restore(INBOX, &shown) };
    let restored = anna.restore_rows(request).await.expect("restore");
    let came_back: Vec<bool> = restored.uids.iter().map(Option::is_some).collect();
    assert_eq!(came_back, [false, false, true]);
    assert_eq!(rows(&anna, INBOX).await.len(), 2);
}

#[tokio::test]
async fn messages_that_lie_far_apart_are_found_in_whichever_list_they_departed_to() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    for number in 1..31 {
        house.append(&anna, INBOX, number).await.expect("append");
    }
    let shown = rows(&anna, INBOX).await;
    take(&anna).await;
    let some = |from: usize, step: usize| -> Vec<_> {
        shown.iter().skip(from).step_by(step).map(|row| row.uid).collect()
    };
    // Every third departs to the list of the first snapshot, as many to that of the second.
    expunge(&anna, &some(1, 3)).await;
    take(&anna).await;
    expunge(&anna, &some(2, 3)).await;
    let asked: Vec<MessageRow> = [0, 1, 2, 15, 16, 27, 28, 29].map(|at| shown[at].clone()).into();
    let restored = anna.restore_rows(restore(INBOX, &asked)).await.expect("restore");
    let new = restored.uids.into_iter().flatten().collect::<Vec<_>>();
    let now = rows(&anna, INBOX).await;
    for (at, (row, uid)) in asked.iter().zip(&new).enumerate() {
        let is = now.iter().find(|one| one.uid == *uid).expect("its row");
        let stands = [0, 3, 5].contains(&at);
        assert_eq!(is.email_number == row.email_number, stands, "{at}");
    }
    assert_eq!(new.len(), asked.len());
    house.is_sound().await;
}
