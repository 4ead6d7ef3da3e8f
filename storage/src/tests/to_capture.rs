//! Which accounts a run that takes snapshots looks at.

use bytes::Bytes;

use super::house::{ANNA, House, uid};
use crate::{
    account::{
        Account,
        capture::{AccountState, Capture, ForgetSnapshot},
        to_capture::ToCapture,
    },
    catalog::{
        engine::{Batch, Engine as _, Family, Reader as _},
        keys,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

const INBOX: MailboxId = MailboxId(1);
const TAKEN: Family = Family("taken");
const BRUNO: AccountId = AccountId(9);

/// Takes a snapshot when the account's MODSEQ moved since the latest one.
struct WhenMoved;

#[async_trait::async_trait]
impl Capture for WhenMoved {
    type Outcome = bool;

    async fn capture(&self, state: &AccountState) -> Result<(bool, Option<Batch>), StoreError> {
        let key = state.account().0.to_be_bytes().to_vec();
        let latest = state.reader().get(TAKEN, &key).await?;
        let now = Bytes::copy_from_slice(&state.mod_seq().0.to_be_bytes());
        if latest.as_ref() == Some(&now) {
            return Ok((false, None));
        }
        let mut batch = Batch::default();
        batch.put(TAKEN, key, now);
        Ok((true, Some(batch)))
    }
}

async fn due(house: &House) -> Vec<AccountId> {
    let found = house.store.accounts_to_capture(None, 10).await.expect("accounts");
    assert_eq!(found.next, None);
    found.accounts
}

/// Anna is named, and once a snapshot is taken, no more.
async fn is_due_once(house: &House, anna: &Account, why: &str) {
    assert_eq!(due(house).await, [ANNA], "{why}");
    assert!(anna.capture(WhenMoved).await.expect("capture"), "{why}");
    assert_eq!(due(house).await, [], "{why}");
}

#[tokio::test]
async fn an_account_is_looked_at_after_every_kind_of_change_and_only_then() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    is_due_once(&house, &anna, "it has no snapshot").await;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    house.append(&anna, INBOX, 1).await.expect("append");
    is_due_once(&house, &anna, "append").await;
    let flags = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[uid(1)], FlagChange::Add, &flags, None).await.expect("flag");
    is_due_once(&house, &anna, "flags").await;
    inbox.expunge(&[uid(1)]).await.expect("expunge");
    is_due_once(&house, &anna, "expunge").await;
    anna.create_mailbox("Clienti", None).await.expect("create");
    is_due_once(&house, &anna, "create").await;
    anna.rename_mailbox("Clienti", "Fornitori").await.expect("rename");
    is_due_once(&house, &anna, "rename").await;
    anna.subscribe("Clienti", true).await.expect("subscribe");
    assert_eq!(due(&house).await, [ANNA], "subscribe");
    house.is_sound().await;
}

#[tokio::test]
async fn that_nothing_changed_is_noted_without_a_sync_and_wakes_nobody() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    house.append(&anna, INBOX, 1).await.expect("append");
    assert!(anna.capture(WhenMoved).await.expect("capture"));
    // The first session that sees a message takes \Recent: no snapshot shows that.
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    inbox.claim_recent().await.expect("claim");
    assert_eq!(due(&house).await, [ANNA]);
    let mod_seq = anna.state().await.expect("state").mod_seq();
    let (mut changes, unsynced) = (anna.changes(), house.engine.unsynced());
    changes.borrow_and_update();

    assert!(!anna.capture(WhenMoved).await.expect("capture"));
    assert_eq!(due(&house).await, []);
    let head = house.engine.get(keys::ACCOUNT_HEADS, &keys::account(ANNA)).await.expect("head");
    assert!(!anna.capture(WhenMoved).await.expect("capture"));
    let again = house.engine.get(keys::ACCOUNT_HEADS, &keys::account(ANNA)).await.expect("head");
    assert_eq!(head, again, "what is noted is not noted again");
    assert!(!changes.has_changed().expect("a queue"), "nobody is woken");
    assert_eq!(anna.state().await.expect("state").mod_seq(), mod_seq);
    assert_eq!(house.engine.unsynced(), unsynced + 1, "one batch, without a sync");
    house.is_sound().await;
}

#[tokio::test]
async fn an_old_snapshot_that_goes_leaves_the_account_captured_and_the_latest_does_not() {
    let (house, anna) = House::with_families(&[TAKEN]).await;
    house.append(&anna, INBOX, 1).await.expect("append");
    assert!(anna.capture(WhenMoved).await.expect("capture"));
    house.append(&anna, INBOX, 2).await.expect("append");
    assert!(anna.capture(WhenMoved).await.expect("capture"));
    let forget = |number| ForgetSnapshot { number, previous: None, also: Batch::default() };
    anna.forget_snapshot(forget(1)).await.expect("forget");
    assert_eq!(due(&house).await, []);
    anna.forget_snapshot(forget(2)).await.expect("forget");
    assert_eq!(due(&house).await, [ANNA]);
    house.is_sound().await;
}

#[tokio::test]
async fn accounts_are_looked_at_in_parts_and_damage_of_one_hides_no_other() {
    let (house, _) = House::with_families(&[TAKEN]).await;
    house.create(BRUNO, "bruno@pec.example", None).await;
    let mut batch = Batch::default();
    batch.put(keys::ACCOUNT_HEADS, keys::account(ANNA), "no head");
    // Neither these are anybody's.
    for family in [keys::ACCOUNT_HEADS, keys::ACCOUNTS] {
        let behind = [&keys::account(ANNA)[..], &[0]].concat();
        batch.put(family, vec![0], "").put(family, behind, "");
    }
    house.engine.commit(batch).await.expect("damage");
    let part = |account| ToCapture { accounts: vec![account], looked_at: 1, next: Some(account) };
    let store = &house.store;
    assert_eq!(store.account_ids(None, 9).await.expect("accounts"), [ANNA, BRUNO]);
    assert_eq!(store.account_ids(None, 1).await.expect("accounts"), [ANNA]);
    assert_eq!(store.account_ids(Some(ANNA), 1).await.expect("accounts"), [BRUNO]);
    let first = ToCapture { looked_at: 2, ..part(ANNA) };
    assert_eq!(store.accounts_to_capture(None, 1).await.expect("part"), first);
    assert_eq!(store.accounts_to_capture(Some(ANNA), 1).await.expect("part"), part(BRUNO));
    let rest = store.accounts_to_capture(Some(BRUNO), 1).await.expect("part");
    assert_eq!(rest, ToCapture::default());
    let none = store.accounts_to_capture(Some(AccountId(u64::MAX)), 1).await.expect("part");
    assert_eq!(none, ToCapture::default());
}
