//! Erasure of one message: its octets can be read no more, everything else stays right.

use bytes::Bytes;
use trust::digest::Sha256Digest;

use super::house::{ANNA, House, message, request};
use crate::{
    account::{
        capture::{AccountState, Capture, ForgetSnapshot},
        erase::EraseRequest,
    },
    catalog::engine::{Batch, Expected, Family, Reader as _, Scan},
    error::StoreError,
    find::{Found, Holder},
    held::HeldId,
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::ErasureReason,
    summary::Envelope,
};

const INBOX: MailboxId = MailboxId(1);
const LOG: Family = Family("log");

fn envelope() -> Envelope {
    Envelope { subject: Some(b"[erased]".to_vec()), ..Envelope::default() }
}

fn erasure(email_number: EmailNumber, also: Batch) -> EraseRequest {
    EraseRequest { email_number, reason: ErasureReason::DataSubject, envelope: envelope(), also }
}

#[tokio::test]
async fn an_erased_message_cannot_be_read_and_its_rows_and_numbers_stay() {
    let (house, anna) = House::with_families(&[LOG]).await;
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let first = house.append(&anna, INBOX, 1).await.expect("append");
    house.append(&anna, INBOX, 2).await.expect("append");
    inbox.copy(&[first.uid], trash.id()).await.expect("copy");
    inbox.read(first.email_number, 0..10).await.expect("readable, and remembered");
    let (quota, rows) = (anna.quota().await.expect("quota"), inbox.rows().await.expect("rows"));

    let mut also = Batch::default();
    also.append_numbered(LOG, Bytes::new(), "erased for Anna");
    let erased = anna.erase(erasure(first.email_number, also)).await.expect("erase");
    assert_eq!(erased.digest, Sha256Digest::of(&message(1)));
    assert_eq!(erased.size, message(1).len() as u64);
    let log = house.engine.scan(&Scan::prefix(LOG, &[], 10)).await.expect("scan");
    assert_eq!(log.len(), 1, "what the floor above wrote is in the same batch");

    let read = inbox.read(first.email_number, 0..10).await;
    assert!(matches!(read, Err(StoreError::Erased { .. })), "also where it was read before");
    assert!(matches!(anna.stored(first.email_number).await, Err(StoreError::Erased { .. })));
    let summary = anna.summary(first.email_number).await.expect("a summary");
    assert!(summary.erased);
    assert_eq!((summary.size, &summary.envelope), (erased.size, &envelope()));
    assert_eq!(
        anna.erased().await.expect("list").into_iter().collect::<Vec<_>>(),
        [first.email_number]
    );
    assert_eq!(anna.quota().await.expect("quota"), quota);
    assert_eq!(inbox.rows().await.expect("rows"), rows);
    house.is_sound().await;

    let again = anna.erase(erasure(first.email_number, Batch::default())).await;
    assert!(matches!(again, Err(StoreError::Erased { .. })));
    let missing = anna.erase(erasure(EmailNumber(99), Batch::default())).await;
    assert!(matches!(missing, Err(StoreError::NoSuchMessage { .. })));

    // The holder does with the row what he likes; with the last one the record goes.
    inbox.move_to(&[first.uid], trash.id()).await.expect("move");
    let deleted = Flags { deleted: true, ..Flags::default() };
    let uids: Vec<_> = trash.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
    trash.store_flags(&uids, FlagChange::Add, &deleted, None).await.expect("flags");
    house.is_sound().await;
    trash.expunge(&uids).await.expect("expunge");
    assert!(anna.erased().await.expect("list").is_empty());
    assert_eq!(anna.quota().await.expect("quota").used_messages, 1);
    house.is_sound().await;
}

#[tokio::test]
async fn a_condition_of_the_floor_above_can_forbid_an_erasure() {
    let (house, anna) = House::with_families(&[LOG]).await;
    let first = house.append(&anna, INBOX, 1).await.expect("append");
    let mut hold = Batch::default();
    hold.put(LOG, "hold", "until the trial is over");
    house.store.commit(hold).await.expect("hold");
    let mut also = Batch::default();
    also.expect(LOG, "hold", Expected::Absent);
    let refused = anna.erase(erasure(first.email_number, also)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
    anna.stored(first.email_number).await.expect("nothing was changed");
    house.is_sound().await;
}

#[tokio::test]
async fn the_same_octets_are_found_wherever_they_are() {
    let (house, anna) = House::with_anna().await;
    let bruno = house.create(AccountId(8), "bruno@pec.example", None).await;
    let first = house.append(&anna, INBOX, 1).await.expect("append").email_number;
    house.append(&anna, INBOX, 2).await.expect("another message");
    let copy = house.append(&bruno, INBOX, 1).await.expect("append").email_number;
    let held = HeldId([3; 16]);
    let mut batch = Batch::default();
    house.store.hold(held, &house.stage(&message(1)).await, &mut batch);
    house.store.commit(batch).await.expect("hold");

    let stored = anna.stored(first).await.expect("stored");
    let found = house.store.find_octets(&stored).await.expect("find");
    let holders =
        [Holder::Account(ANNA, first), Holder::Account(bruno.id(), copy), Holder::Held(held)];
    assert_eq!(found, holders.map(|holder| Found { holder, same: true }));

    let mut also = Batch::default();
    let (reason, shown) = (ErasureReason::Authority, envelope());
    let erase = house.store.erase_held(held, reason, &shown, &mut also).await;
    assert!(erase.expect("erase"));
    anna.erase(erasure(first, also)).await.expect("both in one batch");
    assert!(matches!(house.store.held(held).await, Err(StoreError::Erased { .. })));
    let found = house.store.find_octets(&stored).await.expect("find");
    assert_eq!(found, [Found { holder: holders[1], same: true }]);
    let mut again = Batch::default();
    let erase = house.store.erase_held(held, reason, &shown, &mut again).await;
    assert!(!erase.expect("nothing left to erase"));
    let octets = bruno.mailbox(INBOX).await.expect("open").read(copy, 0..1 << 16).await;
    assert_eq!(octets.expect("Bruno keeps his copy"), message(1));
    house.is_sound().await;
}

/// A state that a snapshot has, whatever it is kept of it.
struct Whole;

#[async_trait::async_trait]
impl Capture for Whole {
    type Outcome = ();

    async fn capture(&self, _: &AccountState) -> Result<((), Option<Batch>), StoreError> {
        Ok(((), Some(Batch::default())))
    }
}

#[tokio::test]
async fn a_message_that_only_a_snapshot_holds_is_found_and_erased_and_its_tombstone_stays() {
    let (house, anna) = House::with_anna().await;
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let first = house.append(&anna, INBOX, 1).await.expect("append");
    let second = house.append(&anna, INBOX, 2).await.expect("append");
    let stored = anna.stored(first.email_number).await.expect("stored");
    anna.capture(Whole).await.expect("a snapshot");
    let deleted = Flags { deleted: true, ..Flags::default() };
    let both = [first.uid, second.uid];
    inbox.store_flags(&both, FlagChange::Add, &deleted, None).await.expect("flags");
    inbox.expunge(&both).await.expect("expunge");

    let found = house.store.find_octets(&stored).await.expect("find");
    assert_eq!(found, [Found { holder: Holder::Account(ANNA, first.email_number), same: true }]);
    let chunks = stored.stored_ids().collect();
    let concerned = house.store.concerned(&chunks, 10).await.expect("concerned");
    assert_eq!(concerned.messages, [(ANNA, first.email_number)]);

    anna.erase(erasure(first.email_number, Batch::default())).await.expect("erase");
    let gone = anna.stored(first.email_number).await;
    assert!(matches!(gone, Err(StoreError::Erased { .. })), "{gone:?}");
    assert!(anna.summary(first.email_number).await.expect("a tombstone").erased);
    assert!(anna.erased().await.expect("list").contains(&first.email_number));
    anna.stored(second.email_number).await.expect("the other one is kept");
    assert_eq!(house.store.find_octets(&stored).await.expect("find"), []);
    house.is_sound().await;

    let request = ForgetSnapshot { number: 1, previous: None, also: Batch::default() };
    assert_eq!(anna.forget_snapshot(request).await.expect("forget").removed, 2);
    let gone = anna.stored(first.email_number).await;
    assert!(matches!(gone, Err(StoreError::NoSuchMessage { .. })), "{gone:?}");
    assert!(anna.erased().await.expect("list").is_empty());
    house.is_sound().await;
}

#[tokio::test]
async fn a_list_of_erased_messages_that_is_wrong_is_a_violation() {
    let (house, anna) = House::with_anna().await;
    let first = house.append(&anna, INBOX, 1).await.expect("append").email_number;
    let mut batch = Batch::default();
    let key = crate::catalog::keys::message(ANNA, first);
    batch.put(crate::catalog::keys::ERASURES, key, Bytes::new());
    house.store.commit(batch).await.expect("damage");
    let report = house.store.check(&|_| {}).await.expect("check");
    assert_eq!(report.violations.len(), 1, "{:?}", report.violations);
    let staged = house.stage(&message(2)).await;
    anna.append(request(INBOX, &staged)).await.expect("append");
}
