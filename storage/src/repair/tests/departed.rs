//! What snapshots hold stays, whatever is damaged around it.

use super::*;
use crate::{
    account::capture::{AccountState, Capture, ForgetSnapshot, KeptSnapshot},
    ids::{EmailNumber, Uid},
};

const TAKEN: Family = Family("taken");

/// Keeps a snapshot's number, under the keys that a floor above would have.
struct Note;

#[async_trait::async_trait]
impl Capture for Note {
    type Outcome = KeptSnapshot;

    async fn capture(
        &self,
        state: &AccountState,
    ) -> Result<(KeptSnapshot, Option<Batch>), StoreError> {
        let number = state.next_snapshot();
        let (email_numbers_below, mod_seq) = (state.next_email_number(), state.mod_seq());
        let mut batch = Batch::default();
        let key = [state.account().0.to_be_bytes(), number.to_be_bytes()].concat();
        batch.put(TAKEN, key, Bytes::new());
        Ok((KeptSnapshot { number, email_numbers_below, mod_seq }, Some(batch)))
    }
}

/// Knows Anna and where her snapshots are.
struct WithSnapshots;

#[async_trait::async_trait]
impl SettingsSource for WithSnapshots {
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Registry.settings(id).await
    }

    fn snapshots(&self) -> Option<Family> {
        Some(TAKEN)
    }
}

async fn repair(house: &House) -> RepairReport {
    let report = house.store.repair(&WithSnapshots, true, &|_| {}).await.unwrap();
    let check = house.store.check(&|_| {}).await.unwrap();
    assert_eq!(check.violations, [], "{report:#?}");
    let again = house.store.repair(&WithSnapshots, true, &|_| {}).await.unwrap();
    assert_eq!(again.first_changes, [], "the second run");
    report
}

async fn expunge(anna: &Account, uids: &[Uid]) {
    let inbox = anna.mailbox(INBOX).await.unwrap();
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(uids, FlagChange::Add, &deleted, None).await.unwrap();
    inbox.expunge(uids).await.unwrap();
}

/// Messages 1 to 4: the first snapshot holds 1 and 2, the second 2 and 3, 4 came later. 1 has departed
/// under the first, 2 under the second.
async fn departed() -> (House, Account, [KeptSnapshot; 2]) {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let mut uids = Vec::new();
    for number in 1..3 {
        uids.push(house.append(&anna, INBOX, number).await.unwrap().uid);
    }
    let one = anna.capture(Note).await.unwrap();
    expunge(&anna, &uids[..1]).await;
    house.append(&anna, INBOX, 3).await.unwrap();
    let two = anna.capture(Note).await.unwrap();
    expunge(&anna, &uids[1..]).await;
    house.append(&anna, INBOX, 4).await.unwrap();
    house.is_sound().await;
    assert_eq!(super::repair(&house, true).await.first_changes, [], "departed is not damaged");
    (house, anna, [one, two])
}

async fn stands(anna: &Account, number: u64) -> bool {
    anna.stored(EmailNumber(number)).await.is_ok()
}

async fn head(house: &House) -> HeadRecord {
    let key = keys::account(ANNA);
    let octets = house.engine.get(keys::ACCOUNT_HEADS, &key).await.unwrap().unwrap();
    records::decode(keys::ACCOUNT_HEADS, &key, &octets).unwrap()
}

#[tokio::test]
async fn after_a_head_was_lost_no_message_goes_that_a_snapshot_holds() {
    for kind in [Damage::Lost, Damage::Nonsense] {
        let (house, anna, [one, two]) = departed().await;
        damage(&house, keys::ACCOUNT_HEADS, kind).await;
        repair(&house).await;
        let head = head(&house).await;
        assert_eq!((head.snapshot, head.snapshot_below), (2, head.next_email_number));
        assert!(head.next_snapshot > 1_000, "the number may have been given: {head:?}");
        let due = house.store.accounts_to_capture(None, 10).await.unwrap();
        assert_eq!(due.accounts, [ANNA]);

        // The second snapshot holds 3, which departs; 4 stays too long, until that one goes.
        let uids: Vec<Uid> = anna
            .mailbox(INBOX)
            .await
            .unwrap()
            .rows()
            .await
            .unwrap()
            .1
            .iter()
            .map(|row| row.uid)
            .collect();
        expunge(&anna, &uids).await;
        for number in 1..5 {
            assert!(stands(&anna, number).await, "{number}");
        }
        house.is_sound().await;
        let forget = |number, previous| {
            anna.forget_snapshot(ForgetSnapshot { number, previous, also: Batch::default() })
        };
        assert_eq!(forget(two.number, Some(one)).await.unwrap().removed, 2);
        assert!(stands(&anna, 2).await && !stands(&anna, 3).await && !stands(&anna, 4).await);
        assert_eq!(forget(one.number, None).await.unwrap().removed, 2);
        house.is_sound().await;
    }
}

#[tokio::test]
async fn a_snapshot_that_only_the_floor_above_knows_is_the_latest() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let first = house.append(&anna, INBOX, 1).await.unwrap();
    anna.capture(Note).await.unwrap();
    damage(&house, keys::ACCOUNT_HEADS, Damage::Lost).await;
    repair(&house).await;
    expunge(&anna, &[first.uid]).await;
    assert!(stands(&anna, 1).await);
    house.is_sound().await;
}

#[tokio::test]
async fn a_sound_head_keeps_what_it_notes_and_a_wrong_one_is_put_on_the_safe_side() {
    let (house, _, _) = departed().await;
    let before = head(&house).await;
    damage(&house, keys::MAILBOX_CHANGES, Damage::Lost).await;
    repair(&house).await;
    let noted = |head: HeadRecord| {
        (head.next_snapshot, head.snapshot, head.snapshot_below, head.snapshot_mod_seq)
    };
    assert_eq!(noted(head(&house).await), noted(before));
    assert_ne!(head(&house).await.captured_version, head(&house).await.version);

    let wrong = [HeadRecord { snapshot: 1, ..before }, HeadRecord { snapshot_below: 99, ..before }];
    for wrong in wrong {
        let mut batch = Batch::default();
        batch.put(keys::ACCOUNT_HEADS, keys::account(ANNA), records::encode(&wrong));
        house.engine.commit(batch).await.unwrap();
        repair(&house).await;
        let head = head(&house).await;
        assert_eq!(noted(head), (3, 2, head.next_email_number, 0));
    }
}

#[tokio::test]
async fn departed_messages_stay_departed_and_wrong_entries_go_to_the_repair_log() {
    let (house, anna, _) = departed().await;
    let listed = |snapshot, number| keys::departed_message(ANNA, snapshot, EmailNumber(number));
    let right = entries(&house, keys::DEPARTED_MESSAGES).await;
    let mut batch = Batch::default();
    for key in [listed(1, 2), listed(0, 2), listed(1, 4), listed(1, 77)] {
        batch.put(keys::DEPARTED_MESSAGES, key, Bytes::new());
    }
    house.engine.commit(batch).await.unwrap();
    damage(&house, keys::DEPARTED_MESSAGES, Damage::Stray).await;
    let report = repair(&house).await;
    assert_eq!(report.recovered, 0);
    assert_eq!(entries(&house, keys::DEPARTED_MESSAGES).await, right);
    let logged = entries(&house, keys::REPAIR_LOG).await;
    let logged = logged.iter().map(|(key, value)| {
        records::decode::<RepairLogRecord>(keys::REPAIR_LOG, key, value).unwrap().family
    });
    assert_eq!(logged.filter(|family| family == "departed_messages").count(), 6);

    // Where the list is lost nobody knows who holds the messages: they get rows.
    damage(&house, keys::DEPARTED_MESSAGES, Damage::Lost).await;
    assert_eq!(repair(&house).await.recovered, 2);
    assert!(anna.mailbox_by_name(RECOVERED).await.is_ok());
}

#[tokio::test]
async fn a_departed_message_gets_its_summary_again_and_no_row() {
    let (house, anna, _) = departed().await;
    damage(&house, keys::SUMMARIES, Damage::Lost).await;
    assert_eq!(repair(&house).await.recovered, 0);
    anna.summary(EmailNumber(1)).await.unwrap();
}
