//! The check finds every damage it claims to look for, and names the object.

use bytes::Bytes;
use prost::Message;

use super::house::{ANNA, House, uid};
use crate::{
    account::{
        Account,
        capture::{AccountState, Capture},
    },
    catalog::{
        engine::{Batch, Engine as _, Family, Reader as _, Scan},
        keys,
        records::{self, HeadRecord, MailboxRecord, ReferencesRecord, RowRecord},
    },
    check::{CheckProgress, CheckReport, Invariant},
    error::StoreError,
    held::HeldId,
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    pack::index::{CHUNK_INDEX, STAGED_CHUNKS},
};

const INBOX: MailboxId = MailboxId(1);

type Counter = fn(&mut MailboxRecord) -> &mut u64;

type Break = fn(&mut HeadRecord);

/// An account with five messages, one of them copied, one expunged, and a held message.
async fn furnished() -> (House, Account) {
    let (house, anna) = House::with_anna().await;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let uids = house.fill(&anna, &inbox, 6).await;
    inbox.copy(&uids[..1], trash.id()).await.expect("copy");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids[4..], FlagChange::Add, &deleted, None).await.expect("store");
    inbox.expunge(&uids[5..]).await.expect("expunge");
    let staged = house.stage(b"Subject: trattenuto\r\n\r\nuna trasmissione\r\n").await;
    let mut batch = Batch::default();
    house.store.hold(HeldId([7; 16]), &staged, &mut batch);
    house.store.commit(batch).await.expect("commit");
    (house, anna)
}

async fn checked(house: &House) -> CheckReport {
    house.store.check(&|_| {}).await.expect("check")
}

/// Rewrites the record under `key`.
async fn damage<M: Message + Default>(
    house: &House,
    family: Family,
    key: Bytes,
    change: impl FnOnce(&mut M),
) {
    let octets = house.engine.get(family, &key).await.expect("read").expect("a record");
    let mut record: M = records::decode(family, &key, &octets).expect("decode");
    change(&mut record);
    write(house, family, key, Some(records::encode(&record))).await;
}

async fn write(house: &House, family: Family, key: Bytes, value: Option<Bytes>) {
    let mut batch = Batch::default();
    match value {
        Some(value) => batch.put(family, key, value),
        None => batch.delete(family, key),
    };
    house.engine.commit(batch).await.expect("commit");
}

/// Fails unless some violation of `invariant` names `object` and says `detail`.
async fn expect(house: &House, invariant: Invariant, object: &str, detail: &str) {
    let report = checked(house).await;
    assert!(!report.is_clean());
    let found = report.violations.iter().any(|violation| {
        violation.invariant == invariant
            && violation.object.contains(object)
            && violation.detail().contains(detail)
    });
    assert!(found, "{invariant:?}, {object}, {detail}: {:#?}", report.violations);
}

#[tokio::test]
async fn a_sound_store_is_clean_and_everything_in_it_was_looked_at() {
    let (house, _) = furnished().await;
    let told = std::sync::Mutex::new(Vec::new());
    let report = house
        .store
        .check(&|progress| told.lock().expect("no panic").push(*progress))
        .await
        .expect("check");
    assert_eq!(report.violations, []);
    assert!(report.is_clean());
    let CheckProgress { accounts, mailboxes, rows, messages, octets, .. } = report.seen;
    assert_eq!((accounts, mailboxes, rows, messages), (1, 6, 6, 6), "one of them held");
    assert!(octets > 600 && report.seen.chunks >= 6);
    assert_eq!(report.unnamed_objects, [""; 0]);
    assert_eq!(told.lock().expect("no panic").last(), Some(&report.seen));
}

#[tokio::test]
async fn usage_and_counters_that_differ_from_the_rows_are_found() {
    let (house, _) = furnished().await;
    let head = |change: fn(&mut HeadRecord)| {
        damage(&house, keys::ACCOUNT_HEADS, keys::account(ANNA), change)
    };
    head(|head| head.usage_octets += 1).await;
    expect(&house, Invariant::Exact, "account 7", "octets").await;
    head(|head| head.usage_octets -= 1).await;
    head(|head| head.usage_messages += 1).await;
    expect(&house, Invariant::Exact, "account 7", "messages").await;
    head(|head| head.usage_messages -= 1).await;
    head(|head| head.mailboxes += 1).await;
    expect(&house, Invariant::Exact, "account 7", "mailboxes").await;
    head(|head| head.mailboxes -= 1).await;
    let counters: [(Counter, &str); 5] = [
        (|record| &mut record.exists, "messages,"),
        (|record| &mut record.unseen, "\\Seen"),
        (|record| &mut record.deleted, "\\Deleted"),
        (|record| &mut record.octets, "octets"),
        (|record| &mut record.charged_octets, "charged"),
    ];
    for (counter, detail) in counters {
        let key = keys::mailbox(ANNA, INBOX);
        damage(&house, keys::MAILBOXES, key.clone(), |record| *counter(record) += 1).await;
        expect(&house, Invariant::Exact, "mailbox 1 of account 7", detail).await;
        damage(&house, keys::MAILBOXES, key, |record| *counter(record) -= 1).await;
    }
    assert!(checked(&house).await.is_clean(), "every damage was repaired");
}

#[tokio::test]
async fn numbers_that_could_be_given_twice_are_found() {
    let (house, _) = furnished().await;
    let heads: [(Break, &str, &str); 4] = [
        (|head| head.next_mailbox_id = 2, "mailbox 2", "MailboxId"),
        (|head| head.next_mod_seq = 6, "mailbox 1", "MODSEQ"),
        (|head| head.next_uid_validity -= 1, "mailbox 6", "UIDVALIDITY"),
        (|head| head.next_email_number = 2, "message 2", "number"),
    ];
    for (change, object, detail) in heads {
        let (house, _) = furnished().await;
        damage(&house, keys::ACCOUNT_HEADS, keys::account(ANNA), change).await;
        expect(&house, Invariant::Ascending, object, detail).await;
    }
    damage(&house, keys::MAILBOXES, keys::mailbox(ANNA, INBOX), |record: &mut MailboxRecord| {
        record.uid_next = 5;
    })
    .await;
    expect(&house, Invariant::Ascending, "UID 5 of mailbox 1", "UIDNEXT").await;
    expect(&house, Invariant::Ascending, "expunge_log/", "never given").await;
}

#[tokio::test]
async fn indexes_that_disagree_with_rows_are_found() {
    let (house, _) = furnished().await;
    let row = keys::row(ANNA, INBOX, uid(2));
    damage(&house, keys::MAILBOX_ROWS, row, |row: &mut RowRecord| row.mod_seq += 1).await;
    expect(&house, Invariant::Ascending, "mailbox_changes/", "no entry").await;

    let (house, _) = furnished().await;
    let extra = keys::change(ANNA, INBOX, crate::ids::ModSeq(1), uid(1));
    write(&house, keys::MAILBOX_CHANGES, extra, Some(Bytes::new())).await;
    expect(&house, Invariant::Ascending, "mailbox 1", "index entries").await;

    let (house, anna) = furnished().await;
    write(&house, keys::MAILBOX_NAMES, keys::mailbox_name(ANNA, "INBOX"), None).await;
    expect(&house, Invariant::Ascending, "mailbox 1", "does not lead").await;
    assert!(anna.mailbox_by_name("INBOX").await.is_err());

    let (house, _) = furnished().await;
    write(&house, keys::ACCOUNT_ADDRESSES, keys::address("anna@pec.example"), None).await;
    expect(&house, Invariant::Ascending, "account 7", "anna@pec.example").await;

    let (house, _) = furnished().await;
    let index = records::encode(&records::IndexRecord { id: 7 });
    write(&house, keys::ACCOUNT_ADDRESSES, "altro@pec.example".into(), Some(index)).await;
    expect(&house, Invariant::Ascending, "altro@pec.example", "another").await;
}

#[tokio::test]
async fn rows_and_messages_that_lost_each_other_are_found() {
    let message = |number| keys::message(ANNA, EmailNumber(number));
    let (house, _) = furnished().await;
    write(&house, keys::MESSAGES, message(2), None).await;
    expect(&house, Invariant::Durable, "mailbox_rows/", "message 2 does not exist").await;
    expect(&house, Invariant::Durable, "message 2", "a summary and no record").await;

    let (house, _) = furnished().await;
    write(&house, keys::SUMMARIES, message(3), None).await;
    expect(&house, Invariant::Durable, "message 3", "no summary").await;

    let (house, _) = furnished().await;
    write(&house, keys::MESSAGE_REFERENCES, message(1), None).await;
    expect(&house, Invariant::Durable, "message 1", "2 rows refer to it").await;

    let (house, _) = furnished().await;
    let record = records::encode(&ReferencesRecord { rows: 2 });
    write(&house, keys::MESSAGE_REFERENCES, message(2), Some(record)).await;
    expect(&house, Invariant::Durable, "message 2", "recorded are 2").await;

    let (house, _) = furnished().await;
    let row = keys::row(ANNA, INBOX, uid(3));
    damage(&house, keys::MAILBOX_ROWS, row, |row: &mut RowRecord| row.size += 1).await;
    expect(&house, Invariant::Rebuilt, "mailbox_rows/", "size or digest").await;

    let (house, _) = furnished().await;
    let octets = house.engine.get(keys::MESSAGES, &message(2)).await.expect("read");
    write(&house, keys::MESSAGES, keys::message(AccountId(9), EmailNumber(1)), octets).await;
    expect(&house, Invariant::Durable, "messages/", "account 9 does not exist").await;
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
async fn departed_messages_that_are_listed_wrongly_are_found() {
    let listed = |snapshot, number| keys::departed_message(ANNA, snapshot, EmailNumber(number));
    // Message 5 has departed under snapshot 1, message 6 was removed before it.
    let departed = async || {
        let (house, anna) = furnished().await;
        anna.capture(Whole).await.expect("a snapshot");
        let inbox = anna.mailbox(INBOX).await.expect("INBOX");
        inbox.expunge(&[uid(5)]).await.expect("expunge");
        assert!(checked(&house).await.is_clean());
        house
    };
    let list = async |house: &House, snapshot, number, value| {
        write(house, keys::DEPARTED_MESSAGES, listed(snapshot, number), value).await;
    };

    let house = departed().await;
    list(&house, 1, 5, None).await;
    expect(&house, Invariant::Durable, "message 5", "0 rows refer to it").await;
    list(&house, 2, 5, Some(Bytes::new())).await;
    expect(&house, Invariant::Ascending, "message 5", "snapshot 2, which was never").await;
    list(&house, 0, 5, Some(Bytes::new())).await;
    expect(&house, Invariant::Durable, "message 5", "departed 2 times").await;

    let house = departed().await;
    list(&house, 1, 2, Some(Bytes::new())).await;
    expect(&house, Invariant::Durable, "message 2", "departed and has 1 rows").await;
    list(&house, 1, 6, Some(Bytes::new())).await;
    expect(&house, Invariant::Durable, "message 6", "departed and does not exist").await;
    list(&house, 1, 99, Some(Bytes::new())).await;
    expect(&house, Invariant::Ascending, "message 99", "not below").await;

    let house = departed().await;
    let octets = Some(Bytes::new());
    let key = [keys::account(ANNA).as_ref(), b"short"].concat();
    write(&house, keys::DEPARTED_MESSAGES, key.into(), octets).await;
    expect(&house, Invariant::Durable, "departed_messages/", "").await;

    let record = records::encode(&ReferencesRecord { rows: 2 });
    let house = departed().await;
    let key = keys::message(ANNA, EmailNumber(5));
    write(&house, keys::MESSAGE_REFERENCES, key, Some(record)).await;
    expect(&house, Invariant::Durable, "message 5", "recorded are 2").await;
}

#[tokio::test]
async fn a_head_whose_latest_snapshot_cannot_have_been_is_found() {
    let heads: [Break; 4] = [
        |head| head.snapshot = 2,
        |head| head.snapshot_below = head.next_email_number + 1,
        |head| head.snapshot_mod_seq = head.next_mod_seq,
        |head| head.snapshot = 0,
    ];
    for change in heads {
        let (house, anna) = furnished().await;
        anna.capture(Whole).await.expect("a snapshot");
        assert!(checked(&house).await.is_clean());
        damage(&house, keys::ACCOUNT_HEADS, keys::account(ANNA), change).await;
        expect(&house, Invariant::Ascending, "account 7", "latest snapshot").await;
    }
}

#[tokio::test]
async fn octets_that_are_gone_or_changed_are_found() {
    let (house, _) = furnished().await;
    let staged = house.engine.scan(&Scan::prefix(STAGED_CHUNKS, &[], 100)).await.expect("scan");
    for (key, value) in &staged {
        let mut changed = value.to_vec();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        write(&house, STAGED_CHUNKS, key.clone(), Some(changed.into())).await;
    }
    let reopened = House::open(house.engine.crash(), house.objects.clone()).await;
    for object in ["message 1 of account 7", "held message 0707"] {
        expect(&reopened, Invariant::Rebuilt, object, "").await;
    }
    expect(&reopened, Invariant::Durable, "chunk", "").await;

    let (house, _) = furnished().await;
    let index = house.engine.scan(&Scan::prefix(CHUNK_INDEX, &[], 100)).await.expect("scan");
    for (key, _) in index {
        write(&house, CHUNK_INDEX, key, None).await;
    }
    let reopened = House::open(house.engine.crash(), house.objects.clone()).await;
    expect(&reopened, Invariant::Rebuilt, "message 5 of account 7", "").await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_one_violation_and_the_check_goes_on() {
    let (house, _) = furnished().await;
    let garbage = Some(Bytes::from_static(&[1, 0xff]));
    write(&house, keys::MAILBOX_ROWS, keys::row(ANNA, INBOX, uid(2)), garbage).await;
    house.create(AccountId(8), "bruno@pec.example", None).await;
    let report = checked(&house).await;
    assert_eq!(report.seen.accounts, 2);
    expect(&house, Invariant::Ascending, "mailbox_rows/", "not a record").await;
}
