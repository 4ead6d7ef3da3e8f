//! Messages in mailboxes: append, flags, expunge, copy, move, and what a session is told.

use std::sync::Arc;

use trust::digest::Sha256Digest;

use super::house::{ANNA, House, MORNING, message, request, uid};
use crate::{
    account::Account,
    error::StoreError,
    ids::{MailboxId, ModSeq},
    mailbox::{
        flags::{FlagChange, Flags, Keyword},
        live::LiveMailbox,
        view::{MailboxView, MessageRow},
    },
};

async fn inbox(account: &Account) -> Arc<LiveMailbox> {
    account.mailbox_by_name("inbox").await.expect("INBOX")
}

async fn rows(mailbox: &LiveMailbox) -> Vec<MessageRow> {
    mailbox.rows().await.expect("rows").1
}

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

fn deleted() -> Flags {
    Flags { deleted: true, ..Flags::default() }
}

#[tokio::test]
async fn an_appended_message_is_read_back_octet_for_octet_with_its_row_and_summary() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let staged = house.stage(&message(1)).await;
    let mut wanted = request(inbox.id(), &staged);
    wanted.flags =
        Flags { keywords: [Keyword::new("$Phishing").expect("an atom")].into(), ..seen() };
    wanted.charged_octets = Some(9);
    let flags = wanted.flags.clone();
    let appended = anna.append(wanted).await.expect("append");
    let rows = rows(&inbox).await;
    let size = message(1).len() as u64;
    assert_eq!(
        rows,
        [MessageRow {
            uid: uid(1),
            email_number: appended.email_number,
            flags,
            mod_seq: appended.mod_seq,
            internal_date: MORNING,
            save_date: MORNING,
            size,
            charged_octets: 9,
            digest: Sha256Digest::of(&message(1)),
            origin: None,
        }]
    );
    let read = inbox.read(appended.email_number, 0..size).await.expect("read");
    assert_eq!(read, message(1));
    let summary = inbox.summary(appended.email_number).await.expect("summary");
    assert_eq!(summary.size, size);
    let state = inbox.state().await.expect("state");
    assert_eq!(state.uid_validity, appended.uid_validity);
    assert_eq!((state.exists, state.unseen, state.deleted, state.octets), (1, 0, 0, size));
    assert_eq!(state.uid_next, Some(uid(2)));
    assert_eq!(anna.quota().await.expect("quota").used_octets, 9);
    house.is_sound().await;
}

#[tokio::test]
async fn an_append_to_a_missing_mailbox_changes_nothing() {
    let (house, anna) = House::with_anna().await;
    let before = anna.quota().await.expect("quota");
    let outcome = house.append(&anna, MailboxId(99), 1).await;
    assert!(matches!(
        outcome,
        Err(StoreError::NoSuchMailbox { account: ANNA, mailbox: MailboxId(99) })
    ));
    assert_eq!(anna.quota().await.expect("quota"), before);
    assert_eq!(inbox(&anna).await.state().await.expect("state").exists, 0);
    house.is_sound().await;
}

#[tokio::test]
async fn a_uid_never_comes_back_after_its_message_is_expunged() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let uids = house.fill(&anna, &inbox, 2).await;
    inbox.store_flags(&uids, FlagChange::Add, &deleted(), None).await.expect("store");
    assert_eq!(inbox.expunge(&uids).await.expect("expunge"), uids);
    let next = house.append(&anna, inbox.id(), 3).await.expect("append");
    assert_eq!(next.uid, uid(3));
    assert_eq!(next.email_number.0, 3, "nor does an EmailNumber");
    house.is_sound().await;
}

#[tokio::test]
async fn flags_change_row_by_row_and_rows_changed_since_are_refused() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let uids = house.fill(&anna, &inbox, 5).await;
    let before = inbox.state().await.expect("state").highest_mod_seq;
    let first = &uids[..1];
    let (changed, refused) =
        inbox.store_flags(first, FlagChange::Add, &seen(), Some(before)).await.expect("store");
    assert!(changed[0].flags.seen && changed[0].mod_seq > before && refused.is_empty());
    let (changed, refused) =
        inbox.store_flags(&uids, FlagChange::Add, &deleted(), Some(before)).await.expect("store");
    assert_eq!(refused, first);
    assert_eq!(changed.iter().map(|row| row.uid).collect::<Vec<_>>(), uids[1..]);
    let state = inbox.state().await.expect("state");
    assert_eq!((state.exists, state.unseen, state.deleted), (5, 4, 4));
    let (again, _) =
        inbox.store_flags(&uids[1..], FlagChange::Add, &deleted(), None).await.expect("store");
    assert_eq!(again, changed, "no new MODSEQ where nothing changed");
    let unknown = inbox.store_flags(&[uid(77)], FlagChange::Add, &seen(), None).await;
    assert_eq!(unknown.expect("store"), (vec![], vec![]), "unknown UIDs are passed over");
    house.is_sound().await;
}

#[tokio::test]
async fn changes_since_tell_new_changed_and_expunged_rows() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let uids = house.fill(&anna, &inbox, 4).await;
    let since = inbox.state().await.expect("state").highest_mod_seq;
    assert_eq!(inbox.changes_since(since).await.expect("changes").changed, []);
    inbox.store_flags(&uids[1..3], FlagChange::Add, &deleted(), None).await.expect("store");
    inbox.expunge(&uids[1..2]).await.expect("expunge");
    house.append(&anna, inbox.id(), 9).await.expect("append");
    let changes = inbox.changes_since(since).await.expect("changes");
    assert_eq!(changes.changed.iter().map(|row| row.uid).collect::<Vec<_>>(), [uid(3), uid(5)]);
    assert_eq!(changes.expunged, [uid(2)]);
    assert!(!changes.incomplete);
    assert_eq!(changes.up_to, inbox.state().await.expect("state").highest_mod_seq);
    house.is_sound().await;
}

#[tokio::test]
async fn a_trimmed_expunge_log_says_that_it_is_incomplete_only_to_those_who_missed_something() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let uids = house.fill(&anna, &inbox, 3).await;
    inbox.store_flags(&uids, FlagChange::Add, &deleted(), None).await.expect("store");
    let early = inbox.state().await.expect("state").highest_mod_seq;
    inbox.expunge(&uids[..1]).await.expect("expunge");
    let between = inbox.state().await.expect("state").highest_mod_seq;
    house.clock.advance(86_400_000);
    inbox.expunge(&uids[1..2]).await.expect("expunge");
    anna.trim_expunge_log(inbox.id(), MORNING.plus_millis(1)).await.expect("trim");
    assert!(inbox.changes_since(early).await.expect("changes").incomplete);
    let changes = inbox.changes_since(between).await.expect("changes");
    assert!(!changes.incomplete);
    assert_eq!(changes.expunged, uids[1..2]);
    assert!(inbox.changes_since(ModSeq(0)).await.expect("changes").incomplete);
    house.is_sound().await;
}

#[tokio::test]
async fn a_copy_shares_the_message_and_is_charged_like_its_source() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let uids = house.fill(&anna, &inbox, 2).await;
    let used = anna.quota().await.expect("quota").used_octets;
    let copied = inbox.copy(&[uids[1], uids[0], uid(55)], trash.id()).await.expect("copy");
    assert_eq!(copied.uids, [(uids[0], uid(1)), (uids[1], uid(2))]);
    assert_eq!(copied.uid_validity, trash.state().await.expect("state").uid_validity);
    let quota = anna.quota().await.expect("quota");
    assert_eq!((quota.used_octets, quota.used_messages), (2 * used, 4));
    let (here, there) = (rows(&inbox).await, rows(&trash).await);
    assert_eq!(here[0].email_number, there[0].email_number);
    inbox.store_flags(&uids, FlagChange::Add, &deleted(), None).await.expect("store");
    inbox.expunge(&uids).await.expect("expunge");
    let number = there[0].email_number;
    assert_eq!(trash.read(number, 0..9_999).await.expect("read"), message(0), "still there");
    let theirs = [uid(1), uid(2)];
    trash.store_flags(&theirs, FlagChange::Add, &deleted(), None).await.expect("store");
    trash.expunge(&theirs).await.expect("expunge");
    assert_eq!(anna.quota().await.expect("quota").used_octets, 0);
    assert!(matches!(trash.summary(number).await, Err(StoreError::NoSuchMessage { .. })));
    house.is_sound().await;
}

#[tokio::test]
async fn a_move_takes_the_rows_away_and_changes_no_usage() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    let sent = anna.mailbox_by_name("Inviati").await.expect("Inviati");
    let uids = house.fill(&anna, &inbox, 3).await;
    let since = inbox.state().await.expect("state").highest_mod_seq;
    let quota = anna.quota().await.expect("quota");
    let moved = inbox.move_to(&uids[..2], sent.id()).await.expect("move");
    assert_eq!(moved.uids.len(), 2);
    assert_eq!(anna.quota().await.expect("quota"), quota);
    assert_eq!(inbox.changes_since(since).await.expect("changes").expunged, uids[..2]);
    assert_eq!((rows(&inbox).await.len(), rows(&sent).await.len()), (1, 2));
    let within = inbox.move_to(&uids[2..], inbox.id()).await.expect("move within");
    assert_eq!(within.uids, [(uid(3), uid(4))]);
    assert_eq!(rows(&inbox).await.len(), 1);
    let missing = inbox.move_to(&[uid(4)], MailboxId(99)).await;
    assert!(matches!(missing, Err(StoreError::NoSuchMailbox { .. })));
    assert_eq!(rows(&inbox).await.len(), 1, "nothing was moved");
    house.is_sound().await;
}

#[tokio::test]
async fn messages_are_recent_for_the_first_session_only() {
    let (house, anna) = House::with_anna().await;
    let inbox = inbox(&anna).await;
    house.fill(&anna, &inbox, 2).await;
    assert_eq!(inbox.claim_recent().await.expect("claim"), Some(uid(1)));
    assert_eq!(inbox.claim_recent().await.expect("claim"), Some(uid(3)));
    house.fill(&anna, &inbox, 1).await;
    assert_eq!(inbox.claim_recent().await.expect("claim"), Some(uid(3)));
    house.is_sound().await;
}

#[tokio::test]
async fn every_committed_change_wakes_those_who_watch_the_account() {
    let (house, anna) = House::with_anna().await;
    let mut changes = anna.changes();
    changes.mark_unchanged();
    let other = house.store.account(ANNA).await.expect("another handle");
    let inbox = inbox(&other).await;
    house.append(&other, inbox.id(), 1).await.expect("append");
    assert!(changes.has_changed().expect("a sender"));
    let told = *changes.borrow_and_update();
    assert_eq!(told, inbox.state().await.expect("state").highest_mod_seq.0);
    let _ = house.append(&other, MailboxId(99), 1).await;
    assert!(!changes.has_changed().expect("a sender"), "nothing was committed");
    house.is_sound().await;
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_crash() {
    let (house, anna) = House::with_anna().await;
    let before = inbox(&anna).await;
    let uids = house.fill(&anna, &before, 3).await;
    before.store_flags(&uids[..1], FlagChange::Add, &seen(), None).await.expect("store");
    let (rows_before, quota) = (rows(&before).await, anna.quota().await.expect("quota"));
    let restarted = House::open(house.engine.crash(), house.objects.clone()).await;
    let anna = restarted.store.account(ANNA).await.expect("the account");
    let after = inbox(&anna).await;
    assert_eq!(rows(&after).await, rows_before);
    assert_eq!(anna.quota().await.expect("quota"), quota);
    let read = after.read(rows_before[2].email_number, 0..9_999).await.expect("read");
    assert_eq!(read, message(2));
    restarted.is_sound().await;
}
