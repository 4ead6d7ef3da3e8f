//! Snapshots of accounts, as far as this floor goes: what a state says, and that a message stays as
//! long as a snapshot holds it.

use bytes::Bytes;

use super::house::{ANNA, House, MORNING};
use crate::{
    account::{
        Account,
        capture::{AccountState, Capture, ForgetSnapshot, KeptSnapshot},
    },
    catalog::{
        engine::{Batch, Family, Reader as _, Scan},
        keys,
    },
    error::StoreError,
    ids::{EmailNumber, MailboxId, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

const INBOX: MailboxId = MailboxId(1);
const TAKEN: Family = Family("taken");

/// Keeps a snapshot's number and nothing else.
pub(super) struct Note;

#[async_trait::async_trait]
impl Capture for Note {
    type Outcome = KeptSnapshot;

    async fn capture(
        &self,
        state: &AccountState,
    ) -> Result<(KeptSnapshot, Option<Batch>), StoreError> {
        let kept = KeptSnapshot {
            number: state.next_snapshot(),
            email_numbers_below: state.next_email_number(),
            mod_seq: state.mod_seq(),
        };
        let mut batch = Batch::default();
        batch.put(TAKEN, kept.number.to_be_bytes().to_vec(), Bytes::new());
        Ok((kept, Some(batch)))
    }
}

pub(super) async fn take(anna: &Account) -> KeptSnapshot {
    anna.capture(Note).await.expect("a snapshot")
}

pub(super) async fn forget(
    anna: &Account,
    number: u64,
    previous: Option<KeptSnapshot>,
) -> (u64, u64) {
    let mut also = Batch::default();
    also.delete(TAKEN, number.to_be_bytes().to_vec());
    let request = ForgetSnapshot { number, previous, also };
    let forgotten = anna.forget_snapshot(request).await.expect("forget");
    (forgotten.removed, forgotten.passed_on)
}

pub(super) async fn expunge(anna: &Account, uids: &[Uid]) {
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    let flags = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(uids, FlagChange::Add, &flags, None).await.expect("flag");
    assert_eq!(inbox.expunge(uids).await.expect("expunge"), uids);
}

async fn stands(anna: &Account, number: EmailNumber) -> bool {
    match (anna.stored(number).await, anna.summary(number).await) {
        (Ok(_), Ok(_)) => true,
        (Err(StoreError::NoSuchMessage { .. }), Err(StoreError::NoSuchMessage { .. })) => false,
        other => panic!("{other:?}"),
    }
}

async fn departed(house: &House) -> usize {
    let scan = Scan::prefix(keys::DEPARTED_MESSAGES, &keys::account(ANNA), 10_000);
    house.engine.scan(&scan).await.expect("scan").len()
}

#[tokio::test]
async fn a_message_stays_until_the_last_snapshot_that_holds_it_is_forgotten() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let first = house.append(&anna, INBOX, 1).await.expect("append");
    let one = take(&anna).await;
    let second = house.append(&anna, INBOX, 2).await.expect("append");
    let two = take(&anna).await;
    let third = house.append(&anna, INBOX, 3).await.expect("append");
    assert_eq!((one.number, two.number), (1, 2));

    expunge(&anna, &[first.uid, second.uid, third.uid]).await;
    assert_eq!(anna.quota().await.expect("quota").used_octets, 0, "nobody is charged");
    assert!(stands(&anna, first.email_number).await && stands(&anna, second.email_number).await);
    assert!(!stands(&anna, third.email_number).await, "no snapshot ever held it");

    house.is_sound().await;
    assert_eq!(forget(&anna, 2, Some(one)).await, (1, 1));
    house.is_sound().await;
    assert!(stands(&anna, first.email_number).await, "the first snapshot holds it");
    assert!(!stands(&anna, second.email_number).await, "only the second one held it");
    assert_eq!(forget(&anna, 1, None).await, (1, 0));
    assert!(!stands(&anna, first.email_number).await);
    assert_eq!(departed(&house).await, 0);
    assert!(house.engine.scan(&Scan::prefix(TAKEN, &[], 9)).await.expect("scan").is_empty());

    let fourth = house.append(&anna, INBOX, 4).await.expect("append");
    expunge(&anna, &[fourth.uid]).await;
    assert!(!stands(&anna, fourth.email_number).await, "no snapshot is left that could hold it");
    assert_eq!(take(&anna).await.number, 3, "numbers are never given twice");
    house.is_sound().await;
}

#[tokio::test]
async fn a_snapshot_in_the_middle_goes_without_touching_what_others_hold() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let old = house.append(&anna, INBOX, 1).await.expect("append");
    let one = take(&anna).await;
    let middle = house.append(&anna, INBOX, 2).await.expect("append");
    take(&anna).await;
    expunge(&anna, &[old.uid, middle.uid]).await;
    let late = house.append(&anna, INBOX, 3).await.expect("append");
    let three = take(&anna).await;
    expunge(&anna, &[late.uid]).await;

    house.is_sound().await;
    assert_eq!(forget(&anna, 2, Some(one)).await, (1, 1));
    house.is_sound().await;
    let stand = [old, middle, late].map(|appended| appended.email_number);
    let mut standing = Vec::new();
    for number in stand {
        standing.push(stands(&anna, number).await);
    }
    assert_eq!(standing, [true, false, true]);
    assert_eq!(forget(&anna, 1, None).await, (1, 0), "what the first one alone held goes");
    assert!(stands(&anna, late.email_number).await);
    assert_eq!(forget(&anna, three.number, None).await, (1, 0));
    assert_eq!(departed(&house).await, 0);
    house.is_sound().await;
}

#[tokio::test]
async fn many_departed_messages_go_in_steps() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let mut uids = Vec::new();
    for n in 0..1_100 {
        uids.push(house.append(&anna, INBOX, n).await.expect("append").uid);
    }
    let one = take(&anna).await;
    expunge(&anna, &uids).await;
    assert_eq!(departed(&house).await, 1_100);
    assert_eq!(forget(&anna, one.number, None).await, (1_100, 0));
    assert_eq!(departed(&house).await, 0);
    house.is_sound().await;
}

#[tokio::test]
async fn a_state_says_what_changed_since_another() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let mut uids = Vec::new();
    for n in 0..5 {
        uids.push(house.append(&anna, INBOX, n).await.expect("append").uid);
    }
    let before = take(&anna).await;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    let flags = Flags { seen: true, ..Flags::default() };
    inbox.store_flags(&uids[..2], FlagChange::Add, &flags, None).await.expect("flag");
    expunge(&anna, &uids[4..]).await;

    let state = anna.state().await.expect("a state");
    let inbox = state.mailboxes().await.expect("mailboxes").into_iter().next().expect("INBOX");
    assert_eq!((inbox.name.as_str(), inbox.subscribed, inbox.state.exists), ("INBOX", true, 4));
    let changed = state.changed(INBOX, before.mod_seq, 10).await.expect("changed").expect("few");
    let mut changed: Vec<Uid> = changed.into_iter().map(|row| row.uid).collect();
    changed.sort_unstable();
    assert_eq!(changed, &uids[..2]);
    let expunged = async |limit| state.expunged(INBOX, before.mod_seq, limit).await.expect("read");
    assert_eq!(expunged(1).await.as_deref(), Some(&uids[4..]));
    assert_eq!(expunged(0).await, None, "too many");
    assert_eq!(state.changed(INBOX, before.mod_seq, 1).await.expect("changed"), None, "too many");
    let rows = state.rows(INBOX, Some(uids[1]), 1).await.expect("rows");
    assert_eq!(rows.into_iter().map(|row| row.uid).collect::<Vec<_>>(), [uids[2]]);
    house.is_sound().await;
}

#[tokio::test]
async fn the_log_of_what_was_expunged_since_the_latest_snapshot_is_not_forgotten() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    let first = house.append(&anna, INBOX, 1).await.expect("append");
    let second = house.append(&anna, INBOX, 2).await.expect("append");
    expunge(&anna, &[first.uid]).await;
    let before = take(&anna).await;
    expunge(&anna, &[second.uid]).await;
    anna.trim_expunge_log(INBOX, MORNING.plus_millis(1_000_000)).await.expect("trim");
    let state = anna.state().await.expect("a state");
    let inbox = state.mailboxes().await.expect("mailboxes").into_iter().next().expect("INBOX");
    assert!(inbox.expunge_floor <= before.mod_seq && inbox.expunge_floor.0 > 0, "{inbox:?}");
    let expunged = state.expunged(INBOX, before.mod_seq, 9).await.expect("expunged");
    assert_eq!(expunged, Some(vec![second.uid]));
    house.is_sound().await;
}
